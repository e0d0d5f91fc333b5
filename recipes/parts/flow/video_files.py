"""Frames out of video files, by OpenCV, which is installed by those alone who ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from recipes.parts.data_error import DataError

try:
    import cv2
except ImportError:
    cv2 = None  # type: ignore[assignment]

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")


def video_length(path: Path) -> int:
    """The number of frames of a video, as the file tells it.

    Raises:
        DataError: OpenCV is missing, or the file is no video that it can read.
    """
    film = _open(path)
    try:
        return int(film.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        film.release()


def read_video(path: Path, numbers: tuple[int, ...]) -> list[torch.Tensor]:
    """Frames of these ``numbers`` (rising, from 0) of a video: uint8 [3,H,W] each, red green blue.

    It goes to the first one and reads on from there, so that two neighbours are neighbours in the file whatever it says
    of its times; in a video without a fixed number of frames a second the first may be another one than counted.

    Raises:
        DataError: as `video_length`; or a frame is missing or broken.
    """
    film = _open(path)
    try:
        film.set(cv2.CAP_PROP_POS_FRAMES, numbers[0])
        found = []
        for number in range(numbers[0], numbers[-1] + 1):
            if not film.grab():
                raise DataError(f"cannot read {path}: frame {number} is missing or broken")
            if number in numbers:
                there, frame = film.retrieve()
                if not there:
                    raise DataError(f"cannot read {path}: frame {number} is broken")
                found.append(torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1).contiguous())
        return found
    finally:
        film.release()


def _open(path: Path) -> Any:
    if cv2 is None:
        raise DataError(
            f"reading {path} takes OpenCV: pip install opencv-python-headless; or make a folder of frames of it "
            f"('ffmpeg -i {path.name} frames/%05d.png') and use data set 'frames'"
        )
    film = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not film.isOpened():
        raise DataError(f"cannot read {path}: OpenCV finds no video in it")
    return film

"""Frames of videos: the right ones, in their colours; what is missing, broken or not installed is said."""

import numpy as np
import pytest

from recipes.parts.data_error import DataError
from recipes.parts.flow import video_files
from recipes.parts.flow.datasets import flow_dataset
from recipes.parts.flow.video_files import read_video, video_length

CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v", ".webm": "VP80"}


def write_video(path, pictures):
    """Pictures uint8 [H,W,3] as a video of 25 a second."""
    cv2 = pytest.importorskip("cv2")
    height, width = pictures[0].shape[:2]
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*CODECS[path.suffix]), 25, (width, height))
    if not film.isOpened():
        pytest.skip(f"this OpenCV writes no {path.suffix}")
    for picture in pictures:
        film.write(np.ascontiguousarray(picture[..., ::-1]))
    film.release()
    return path


def fading(count=21):
    """Frames that get brighter by 12 a time, always a little redder than blue."""
    return [np.broadcast_to(np.array([12, 6, 0]) + 12 * k, (32, 48, 3)).astype(np.uint8) for k in range(count)]


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_every_frame_is_found_by_its_number(tmp_path, suffix):
    film = write_video(tmp_path / f"film{suffix}", fading(20))

    assert video_length(film) == 20
    for numbers in ((0, 1), (11, 12, 13), (18, 19), (5, 7, 9)):
        frames = read_video(film, numbers)
        assert [frame.shape for frame in frames] == [(3, 32, 48)] * len(numbers)
        found = [(frame[1].float().mean().item() - 6) / 12 for frame in frames]
        assert found == pytest.approx(numbers, abs=0.4)
        assert all(frame[0].float().mean() > frame[2].float().mean() + 6 for frame in frames)


def test_a_folder_of_videos_is_a_data_set_and_one_file_too(tmp_path):
    for name in ("a.mp4", "b.avi"):
        write_video(tmp_path / name, fading(5))
    data = flow_dataset("video", tmp_path, training=True)
    assert len(data) == 8 and [data.sources[k].recording for k in (0, 7)] == ["a", "b"]
    assert data[0]["frames"].shape == (2, 3, 32, 48) and not data[0]["valid"].any()
    assert len(flow_dataset("video", tmp_path / "a.mp4", training=True)) == 4


def test_a_frame_beyond_the_end_and_a_file_that_is_none_are_named(tmp_path):
    film = write_video(tmp_path / "film.avi", fading(5))
    with pytest.raises(DataError, match=r"film\.avi: frame 5 is missing or broken"):
        read_video(film, (4, 5))
    (tmp_path / "film.mp4").write_bytes(b"not a film")
    with pytest.raises(DataError, match=r"film\.mp4: OpenCV finds no video in it"):
        video_length(tmp_path / "film.mp4")


def test_a_truncated_video_is_an_error_of_the_clip_and_not_of_the_program(tmp_path):
    film = write_video(tmp_path / "film.mkv", fading())
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    with pytest.raises(DataError, match=r"film\.mkv"):
        read_video(film, (15, 20))


def test_without_opencv_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(video_files, "cv2", None)
    (tmp_path / "film.mp4").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"pip install opencv-python-headless; or .*'ffmpeg -i film.mp4 frames/%05d.png"
    ):
        flow_dataset("video", tmp_path, training=True)

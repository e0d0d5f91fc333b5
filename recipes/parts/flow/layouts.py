"""Where each flow data set keeps its files.

AnimeRun, Middlebury pairs, folders of frames, films and videos are read here; Sintel, KITTI, FlyingThings3D,
FlyingChairs and HD1K by torchvision, in the layouts that its pages describe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torchvision import datasets

from recipes.parts.data_error import DataError
from recipes.parts.flow.clip import AnyClip, FilmClip, FlowClip, TorchvisionPair
from recipes.parts.flow.files import film_length, read_film
from recipes.parts.flow.video_files import VIDEOS, read_video, video_length

PICTURES = (".png", ".jpg", ".jpeg", ".ppm", ".bmp")
FILMS = (".gif", ".webp", ".apng", *VIDEOS)  # videos to be told where they are read
ANIMERUN_LIMIT = 1000.0  # px: its evaluator's, for one component


class Window(NamedTuple):
    """Which frames make a clip: how many, and the largest step from one to the next; a clip draws its own each time."""

    frames: int = 2
    max_stride: int = 1


class Layout(NamedTuple):
    """How to find a data set's clips under a folder, and in words how they should lie there.

    ``find(root, training, window)``; ``split`` says whether training and validation data are kept apart by its authors.
    """

    find: Callable[[Path, bool, Window], Sequence[Any]]
    expected: str
    split: bool = False


def _animerun(root: Path, training: bool, window: Window) -> list[Any]:
    """AnimeRun (Siyao et al., 2022): clips of every scene, in all colourings to train on, in the original to validate.

    ``Unmatched`` is 1 where a pixel is seen again, whatever its name says, and ``LineArea`` 0 on lines: so its
    evaluator reads them. Maps of segments may also stand beside the frames, as 0001.npy or 0001_segments.png; they go
    before the data set's own.
    """
    part = root / ("train" if training else "test")
    if not (part / "Frame_Anime").is_dir():
        part = root if (root / "Frame_Anime").is_dir() else part
    clips: list[Any] = []
    for scene in _folders(part / "Frame_Anime"):
        coloured = [folder for folder in _folders(scene) if folder.name.startswith("color_")]
        original = scene / "original"
        chosen = coloured if training and coloured else [original] if original.is_dir() else coloured[:1]
        maps = {
            "flow": _by_number(part / "Flow" / scene.name / "forward", (".flo",)),
            "seen": _by_number(_either(part, ("UnMatched", "Unmatched"), scene.name), (".npy",)),
            "flat": _by_number(part / "LineArea" / scene.name, (".npy",)),
            "own": _by_number(part / "Segment" / scene.name, (".npy", ".png")),
        }
        for folder in chosen:
            pictures = _by_number(folder, PICTURES)
            windows = _windows(folder, sorted(pictures), window)
            make = partial(_animerun_clip, scene.name, pictures, maps)
            clips += [_any([make(numbers) for numbers in choices]) for choices in windows]
    return clips


def _animerun_clip(
    scene: str, pictures: dict[int, Path], maps: dict[str, dict[int, Path]], numbers: Sequence[int]
) -> FlowClip:
    """A clip with those of its maps that are there for all of its frames; flow leads to the very next one only."""

    def all_of(found: dict[int, Path], wanted: Sequence[int]) -> tuple[Path, ...]:
        return tuple(found[number] for number in wanted) if all(number in found for number in wanted) else ()

    order = list(pictures)
    near = order.index(numbers[1]) - order.index(numbers[0]) == 1
    beside = {number: path for number in numbers if (path := _labels_beside(pictures[number])) is not None}
    return FlowClip(
        tuple(pictures[number] for number in numbers),
        recording=scene,
        flows=all_of(maps["flow"], numbers[:-1]) if near else (),
        limit=ANIMERUN_LIMIT,
        unmatched=all_of(maps["seen"], numbers[:-1]) if near else (),
        line_area=all_of(maps["flat"], numbers),
        segments=all_of(beside, numbers) or all_of(maps["own"], numbers),
    )


def _labels_beside(picture: Path) -> Path | None:
    names = (picture.with_suffix(".npy"), picture.with_name(f"{picture.stem}_segments.png"))
    return next((path for path in names if path.is_file()), None)


def _middlebury(root: Path, training: bool, window: Window) -> list[FlowClip]:
    """Pairs frame1, frame2 (or frame10, frame11), with flow_gt.flo (or flow10.flo) or without, in any folder."""
    clips = []
    for folder in (root, *_folders(root)):
        for one, two, flow in (("frame1", "frame2", "flow_gt.flo"), ("frame10", "frame11", "flow10.flo")):
            first, second = (_picture(folder / name) for name in (one, two))
            if first is None:
                continue
            if second is None:
                raise DataError(f"{first} has no second frame '{two}' (.png, .jpg ...) beside it")
            truth = folder / flow
            clips.append(FlowClip((first, second), folder.name, (truth,) if truth.is_file() else ()))
    return clips


def _frames(root: Path, training: bool, window: Window) -> list[Any]:
    """Frames in the order of the numbers in their names, in the folder itself or in folders of it; no truth."""
    clips: list[Any] = []
    for folder in (root, *_folders(root)):
        pictures = _by_number(folder, PICTURES)
        if len(pictures) == 1:
            raise DataError(f"{next(iter(pictures.values()))} is the only frame in {folder}; flow needs two")
        windows = _windows(folder, sorted(pictures), window, shorter=True)
        clips += [
            _any([FlowClip(tuple(pictures[number] for number in numbers), folder.name) for numbers in choices])
            for choices in windows
        ]
    return clips


def _film(
    root: Path,
    training: bool,
    window: Window,
    *,
    suffixes: Sequence[str] = FILMS,
    length_of: Callable[[Path], int] = film_length,
    frames_of: Callable[[Path, tuple[int, ...]], list[torch.Tensor]] = read_film,
) -> list[Any]:
    """Animated pictures, or other films that are read frame by frame: the file itself, or those of a folder."""
    clips: list[Any] = []
    for film in (
        [root] if root.is_file() else sorted(path for path in root.iterdir() if path.suffix.lower() in suffixes)
    ):
        length = length_of(film)
        if length < 2:
            raise DataError(f"{film} has one frame; flow needs two")
        windows = _windows(film, range(length), window, shorter=True)
        clips += [_any([FilmClip(film, numbers, frames_of) for numbers in choices]) for choices in windows]
    return clips


def _torchvision(
    root: Path, training: bool, window: Window, *, make: Callable[[Path, bool], Any]
) -> list[TorchvisionPair]:
    try:
        found = make(root, training)
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        raise DataError(f"torchvision cannot read {root}: {error}") from error
    if len(found._image_list) != len(found._flow_list):
        raise DataError(f"{len(found._image_list)} pairs of frames and {len(found._flow_list)} flows under {root}")
    pairs = (tuple(map(str, files)) for files in found._image_list)
    return [TorchvisionPair(found, number, files, Path(files[0]).parent.name) for number, files in enumerate(pairs)]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _either(root: Path, names: Sequence[str], scene: str) -> Path:
    """The scene's folder under whichever of ``names`` is there; in its folder forward where it has one."""
    folder = next((root / name / scene for name in names if (root / name / scene).is_dir()), root / names[0] / scene)
    return folder / "forward" if (folder / "forward").is_dir() else folder


def _by_number(folder: Path, suffixes: Sequence[str]) -> dict[int, Path]:
    """Files by the last number in their names, in rising order."""
    if not folder.is_dir():
        return {}
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.stem.endswith("_segments"):
            continue
        digits = re.findall(r"\d+", path.stem)
        if not digits:
            raise DataError(f"{path}: its name has no number; frames are told apart by the last number in their names")
        if int(digits[-1]) in found:
            raise DataError(f"{found[int(digits[-1])]} and {path} have the same number")
        found[int(digits[-1])] = path
    return dict(sorted(found.items()))


def _windows(
    folder: Path, numbers: Sequence[int], window: Window, *, shorter: bool = False
) -> list[list[tuple[int, ...]]]:
    """For each place where a clip can begin the clips that can, the one of neighbours first.

    With ``shorter`` fewer frames than asked for are one clip. Raises `DataError` where a number in between is missing.
    """
    steps = {after - before for before, after in pairwise(numbers)}
    if len(steps) > 1:
        gap = next(before for before, after in pairwise(numbers) if after - before != min(steps))
        raise DataError(f"{folder}: frame {gap + min(steps)} is missing, between {gap} and the next")
    frames, max_stride = window
    frames = min(frames, len(numbers)) if shorter else frames
    if frames < 2:
        return []
    strides = range(1, max_stride + 1)
    return [
        [
            tuple(numbers[start + stride * place] for place in range(frames))
            for stride in strides
            if start + stride * (frames - 1) < len(numbers)
        ]
        for start in range(len(numbers) - frames + 1)
    ]


def _any(choices: Sequence[Any]) -> Any:
    return choices[0] if len(choices) == 1 else AnyClip(tuple(choices))


def _picture(stem: Path) -> Path | None:
    return next((path for path in (stem.with_suffix(suffix) for suffix in PICTURES) if path.is_file()), None)


def _sintel(root: Path, training: bool, *, name: str) -> Any:
    return datasets.Sintel(root, split="train", pass_name=name)


def _kitti(root: Path, training: bool) -> Any:
    return datasets.KittiFlow(root, split="train")


def _things(root: Path, training: bool) -> Any:
    return datasets.FlyingThings3D(root, split="train" if training else "test", pass_name="clean")  # nosec B106


def _chairs(root: Path, training: bool) -> Any:
    return datasets.FlyingChairs(root, split="train" if training else "val")


def _hd1k(root: Path, training: bool) -> Any:
    return datasets.HD1K(root, split="train")


LAYOUTS = {
    "animerun": Layout(_animerun, "{train,test}/Frame_Anime/SCENE/{original,color_*}/0001.png, "
                       "Flow/SCENE/forward/*.flo, and if there are any UnMatched (or Unmatched), LineArea and "
                       "Segment, each /SCENE/*.npy", split=True),
    "sintel": Layout(partial(_torchvision, make=partial(_sintel, name="clean")),
                     "Sintel/training/{clean,flow}/SCENE/frame_0001.{png,flo}"),
    "sintel_final": Layout(partial(_torchvision, make=partial(_sintel, name="final")),
                           "Sintel/training/{final,flow}/SCENE/frame_0001.{png,flo}"),
    "kitti2015": Layout(partial(_torchvision, make=_kitti),
                        "KittiFlow/training/{image_2,flow_occ}/000000_{10,11}.png"),
    "flyingthings3d": Layout(partial(_torchvision, make=_things),
                             "FlyingThings3D/{frames_cleanpass,optical_flow}/{TRAIN,TEST}/A/0000/...", split=True),
    "flyingchairs": Layout(partial(_torchvision, make=_chairs),
                           "FlyingChairs/data/00001_{img1.ppm,img2.ppm,flow.flo}, FlyingChairs_train_val.txt",
                           split=True),
    "hd1k": Layout(partial(_torchvision, make=_hd1k),
                   "hd1k/{hd1k_input/image_2,hd1k_flow_gt/flow_occ}/000000_0000.png"),
    "middlebury": Layout(_middlebury, "frame1.png, frame2.png, flow_gt.flo (or frame10, frame11, flow10.flo; the flow "
                         "may be missing), or folders of them"),
    "frames": Layout(_frames, "0001.png, 0002.png ..., or folders of them; no truth is needed"),
    "film": Layout(_film, "an animated GIF, WebP or PNG file, or a folder of them; no truth is needed"),
    "video": Layout(partial(_film, suffixes=VIDEOS, length_of=video_length, frames_of=read_video),
                    "an mp4, avi, mov, mkv or webm file, or a folder of them; no truth is needed"),
}  # fmt: skip

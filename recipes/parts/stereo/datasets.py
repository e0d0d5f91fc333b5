"""Public stereo data sets and own recordings, by name, as samples of the depth recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import Dataset

from recipes.parts.data_error import DataError
from recipes.parts.recordings import split_by_recording
from recipes.parts.stereo.layouts import LAYOUTS
from recipes.parts.stereo.realsense import REALSENSE
from recipes.parts.stereo.sample import Sample, StereoMaps

KNOWN = {**LAYOUTS, "realsense": REALSENSE}


class StereoSource(Protocol):
    """One pair on disk."""

    @property
    def recording(self) -> str: ...

    def read(self) -> StereoMaps: ...


class StereoDataset(Dataset[Sample]):
    """Samples read from disk when asked for.

    A sample has left, right float32 [3,H,W] in 0..1; disparity float32 [1,H,W] in px of the left view, 0 where unknown;
    valid and visible bool [1,H,W]; focal_baseline float32, px m, NaN where unknown.

    Args:
        sources: the pairs.
        name: of the data set, for error messages.
        crop: (height, width) of the random crop; None is the whole picture.
    """

    def __init__(self, sources: Sequence[StereoSource], *, name: str, crop: tuple[int, int] | None = None):
        if crop is not None and min(crop) < 1:
            raise ValueError(f"crop is {crop}; it is (height, width) in px, both at least 1")
        self.sources, self.name, self.crop = list(sources), name, crop

    @property
    def recordings(self) -> list[str]:
        """The recording of each sample."""
        return [source.recording for source in self.sources]

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Sample:
        try:
            return self.sources[index].read().sample(self.crop)
        except DataError as error:
            raise DataError(f"sample {index} of {self.name}: {error}") from error


def stereo_dataset(
    name: str,
    root: str | Path,
    *,
    split: str = "train",
    val_share: float = 0.2,
    crop: tuple[int, int] | None = None,
    scale: float | None = None,
    calibration: str | Path | None = None,
) -> StereoDataset:
    """The stereo data set ``name`` in the folder ``root``.

    Args:
        name: a key of ``KNOWN``; each one's ``expected`` says how the files lie. ``pairs`` is for any folder of pairs.
        split: ``train`` and ``val`` share out what is there to train on by recording (run folder, scene), never by
            frame, see `recipes.parts.recordings`; ``all`` is both; ``test`` is the part that its authors keep for
            testing (Scene Flow's FlyingThings3D, InStereo2k), which the others leave out.
        val_share: of the recordings.
        crop: (height, width) of a random crop, for training on pictures of several sizes; None is the whole picture.
        scale: what stored disparities are divided by, where it differs from the data set's own rule.
        calibration: ``realsense``: the ``.npz``, where it is not in ``root``.

    Raises:
        ValueError: an unknown name or split, or an option this data set does not have.
        DataError: no such folder, nothing in it, or a split that it cannot make.
    """
    if name not in KNOWN:
        raise ValueError(f"no stereo data set {name!r} (known: {', '.join(sorted(KNOWN))})")
    if split not in ("train", "val", "all", "test"):
        raise ValueError(f"split is {split!r}; it can be 'train', 'val', 'all' or 'test'")
    root, layout = Path(root), KNOWN[name]
    if not root.is_dir():
        raise DataError(f"no folder {root}. {name} wants: {layout.expected}")
    found = layout.find(root)
    if not found:
        raise DataError(f"no pairs under {root}. {name} wants: {layout.expected}")
    parts = Counter(source.part for source in found)
    part = "test" if split == "test" else "train"
    if not parts[part]:
        there = "split 'test'" if parts["test"] else "split 'train', 'val' or 'all'"
        raise DataError(f"{name} has no {part} part under {root}; all {len(found)} pairs are those of {there}")
    sources = [_with_options(name, source, scale, calibration) for source in found if source.part == part]
    if split != "test":
        try:
            chosen = split_by_recording([source.recording for source in sources], split, val_share=val_share)
        except DataError as error:
            raise DataError(f"{name} under {root} has {error}") from error
        sources = [sources[index] for index in chosen]
    return StereoDataset(sources, name=f"{name} '{split}'", crop=crop)


def _with_options(name: str, source: Any, scale: float | None, calibration: str | Path | None) -> Any:
    given: dict[str, Any] = {} if scale is None else {"scale": scale}
    if calibration is not None:
        given["calibration"] = Path(calibration)
    surplus = [option for option in given if option not in source.options]
    if surplus:
        raise ValueError(f"{name} has no option {surplus[0]!r} (it has: {', '.join(source.options) or 'none'})")
    return replace(source, **given)

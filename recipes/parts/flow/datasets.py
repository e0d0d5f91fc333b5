"""Public flow data sets and frames of one's own, by name, as samples of the flow recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import Dataset

from recipes.parts.data_error import DataError
from recipes.parts.flow.clip import FlowSource
from recipes.parts.flow.layouts import LAYOUTS, Window
from recipes.parts.flow.sample import Sample
from recipes.parts.recordings import split_by_recording


class FlowDataset(Dataset[Sample]):
    """Samples read from disk when asked for, after the contract of `recipes.parts.flow.procedural_cartoons`.

    Args:
        sources: the clips.
        name: of the data set, for error messages.
        crop: (height, width) of the random crop; None is the whole picture.
        count: samples of an epoch; more than there are clips: each of them several times, with a crop of its own.
    """

    def __init__(
        self,
        sources: Sequence[FlowSource],
        *,
        name: str,
        crop: tuple[int, int] | None = None,
        count: int | None = None,
    ):
        self.sources, self.name, self.crop = list(sources), name, crop
        self.count = max(count or 0, len(self.sources))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"sample {index} of {self.count}")
        try:
            return self.sources[index % len(self.sources)].read().sample(self.crop)
        except DataError as error:
            raise DataError(f"sample {index} of {self.name}: {error}") from error


def flow_dataset(
    name: str,
    root: str | Path,
    *,
    training: bool,
    shared: bool = False,
    window: Window = Window(),
    crop: tuple[int, int] | None = None,
    count: int | None = None,
) -> FlowDataset:
    """The flow data set ``name`` in the folder ``root``.

    Args:
        name: a key of ``LAYOUTS``; each one's ``expected`` says how the files lie.
        training: the part that is for training, where the authors keep two apart.
        shared: one folder is for both, and the authors do not divide it: recordings (scenes) are shared out, see
            `recipes.parts.recordings`. Where there is one recording alone, it is for both: without labels, training on
            the very frames whose flow is wanted is fair.
        window: frames of a clip and the largest step between them, where the data set has more than pairs. A clip whose
            step is more than one has no truth.
        crop, count: as `FlowDataset`.

    Raises:
        ValueError: an unknown name.
        DataError: no such folder, or nothing in it.
    """
    if name not in LAYOUTS:
        raise ValueError(f"no flow data set {name!r} (known: procedural, {', '.join(sorted(LAYOUTS))})")
    root, layout = Path(root), LAYOUTS[name]
    if not root.exists():
        raise DataError(f"no folder {root}. {name} wants: {layout.expected}")
    sources = list(layout.find(root, training, window))
    if not sources:
        raise DataError(f"no frames under {root}. {name} wants: {layout.expected}")
    recordings = [source.recording for source in sources]
    if shared and not layout.split and len(set(recordings)) > 1:
        sources = [sources[index] for index in split_by_recording(recordings, "train" if training else "val")]
    return FlowDataset(sources, name=name, crop=crop, count=count)

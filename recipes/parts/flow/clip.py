"""The files of one clip and of what is known of its flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from recipes.parts.data_error import DataError
from recipes.parts.flow.colour_segments import colour_segments, largest_first
from recipes.parts.flow.files import UNKNOWN_FLOW, known_flow, read_film, read_flo, read_labels, read_numbers
from recipes.parts.flow.sample import FlowMaps
from recipes.parts.image_files import UNREADABLE, read_image, require_one_size


class FlowSource(Protocol):
    """One clip on disk."""

    @property
    def recording(self) -> str: ...

    def read(self) -> FlowMaps: ...


@dataclass(frozen=True)
class FlowClip:
    """Where a clip's files are.

    Args:
        frames: T pictures.
        recording: clips of one recording look alike.
        flows: ``.flo`` files, from each frame to the next; none where there is no truth.
        limit: px; a flow with a larger component is unknown.
        unmatched: a map for each flow, 1 where the next frame shows the pixel too (AnimeRun), or none.
        line_area: a map for each frame, above 0 off the lines, 0 on them (AnimeRun), or none.
        segments: a map of labels for each frame; none: regions of one colour.
    """

    frames: tuple[Path, ...]
    recording: str
    flows: tuple[Path, ...] = ()
    limit: float = UNKNOWN_FLOW
    unmatched: tuple[Path, ...] = ()
    line_area: tuple[Path, ...] = ()
    segments: tuple[Path, ...] = ()

    def read(self) -> FlowMaps:
        """The maps. Raises `DataError` for a file that is broken, of another size, or without any flow."""
        frames = [read_image(path) for path in self.frames]
        flows = [read_flo(path) for path in self.flows]
        sized: dict[Path, torch.Tensor] = dict(zip(self.frames, frames))
        sized |= {path: flow for path, (flow, _) in zip(self.flows, flows)}
        unmatched, lines = ([read_numbers(path) for path in paths] for paths in (self.unmatched, self.line_area))
        labels = [read_labels(path) for path in self.segments]
        for paths, maps in ((self.unmatched, unmatched), (self.line_area, lines), (self.segments, labels)):
            sized |= dict(zip(paths, maps))
        require_one_size(sized)
        known = [valid & known_flow(flow, limit=self.limit)[1] for flow, valid in flows]
        for path, valid in zip(self.flows, known):
            if not valid.any():
                raise DataError(f"{path} has no valid flow: every pixel is unknown")
        return FlowMaps(
            torch.stack(frames),
            torch.stack([flow for flow, _ in flows]) if flows else None,
            torch.stack(known) if known else None,
            torch.stack([numbers == 1 for numbers in unmatched]) if unmatched else None,
            torch.stack([largest_first(label) for label in labels] or [colour_segments(frame) for frame in frames]),
            torch.stack([numbers > 0 for numbers in lines]) if lines else None,
        )


@dataclass(frozen=True)
class FilmClip:
    """Some frames of one file: an animated picture, or a video.

    Args:
        film: the file.
        numbers: of the frames, rising, from 0.
        frames_of: reads them: uint8 [3,H,W] each.
    """

    film: Path
    numbers: tuple[int, ...]
    frames_of: Callable[[Path, tuple[int, ...]], list[torch.Tensor]] = read_film

    @property
    def recording(self) -> str:
        return self.film.stem

    def read(self) -> FlowMaps:
        """The frames, and their regions of one colour."""
        frames = self.frames_of(self.film, self.numbers)
        return FlowMaps(torch.stack(frames), segments=torch.stack([colour_segments(frame) for frame in frames]))


@dataclass(frozen=True)
class AnyClip:
    """One of several clips of a recording, drawn from torch's global generator whenever it is read."""

    choices: tuple[FlowSource, ...]

    @property
    def recording(self) -> str:
        return self.choices[0].recording

    def read(self) -> FlowMaps:
        """The maps of one of them."""
        return self.choices[int(torch.randint(len(self.choices), ()))].read()


@dataclass(frozen=True, eq=False)
class TorchvisionPair:
    """One pair of a torchvision flow data set, which reads it.

    Args:
        dataset: gives (picture, picture, flow [2,H,W]) and perhaps bool [H,W], where that is known.
        number: of the pair.
        files: of the pictures, for error messages.
    """

    dataset: Sequence[Any]
    number: int
    files: tuple[str, ...]
    recording: str

    def read(self) -> FlowMaps:
        """The maps. Raises `DataError` for a file that is broken, or without any flow."""
        try:
            first, second, flow, *mask = self.dataset[self.number]
        except (*UNREADABLE, AssertionError, RuntimeError) as error:
            raise DataError(f"cannot read the pair of {', '.join(self.files)}: {error}") from error
        frames = [torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) for image in (first, second)]
        moved, valid = known_flow(torch.from_numpy(np.array(flow, dtype=np.float32)))
        valid = valid & torch.from_numpy(np.array(mask[0], dtype=bool))[None] if mask and mask[0] is not None else valid
        sizes = {tuple(part.shape[-2:]) for part in (*frames, moved)}
        if len(sizes) > 1:
            raise DataError(f"frames and flow of {', '.join(self.files)} are of several sizes: {sorted(sizes)}")
        if not valid.any():
            raise DataError(f"the flow of {', '.join(self.files)} is unknown at every pixel")
        moved = torch.where(valid, moved, 0.0)
        segments = torch.stack([colour_segments(frame) for frame in frames])
        return FlowMaps(torch.stack(frames), moved[None], valid[None], segments=segments)

"""Procedural cartoon clips with exact flow, occlusion, segments and lines."""

from __future__ import annotations

import numpy as np
import torch

from recipes.parts.drawn import DrawnDataset
from recipes.parts.flow.cartoon_scene import Cartoon, Look, draw_cartoon, look


class ProceduralCartoons(DrawnDataset):
    """``count`` clips of T frames, drawn when asked for, after the batch contract of the flow recipe.

    A sample is a dict: ``frames`` [T,3,H,W] in 0..1; ``flow`` [T-1,2,H,W], (x, y) in px, from each frame to the next;
    ``valid``, ``visible``, ``occluded`` bool [T-1,1,H,W]: where the flow is known, and whether what stands there is
    seen in the next frame; ``segments`` int64 [T,1,H,W], the same number in all frames; ``line``, ``flat`` bool
    [T,1,H,W]: an outline or not.

    Flow, segments and occlusion are computed from the layers and not measured in the pictures. Half of the segments
    have one colour without texture, as drawn ones do: only their outlines say how they move.

    Args:
        size: (H, W) in px.
        frames: T, at least 2.
        max_speed: px a frame, of a thing before the background.
        seed, fixed: see `DrawnDataset`.

    >>> clip = ProceduralCartoons(4, size=(32, 48), frames=3, fixed=True)[0]
    >>> clip["frames"].shape, clip["flow"].shape, clip["segments"].shape
    (torch.Size([3, 3, 32, 48]), torch.Size([2, 2, 32, 48]), torch.Size([3, 1, 32, 48]))
    """

    def __init__(
        self,
        count: int,
        *,
        size: tuple[int, int] = (64, 96),
        frames: int = 2,
        max_speed: float = 8.0,
        seed: int = 0,
        fixed: bool = False,
    ) -> None:
        if frames < 2:
            raise ValueError(f"frames is {frames}; a clip has at least 2")
        if max_speed <= 0:
            raise ValueError(f"max_speed is {max_speed} px; it must be above 0")
        super().__init__(count, seed=seed, fixed=fixed)
        self.size, self.frames, self.max_speed = size, frames, float(max_speed)

    def draw(self, generator: np.random.Generator) -> dict[str, torch.Tensor]:
        cartoon = draw_cartoon(generator, self.size, max_speed=self.max_speed)
        return film(cartoon, self.size, frames=self.frames)


def film(cartoon: Cartoon, size: tuple[int, int], *, frames: int) -> dict[str, torch.Tensor]:
    """The first ``frames`` frames of ``cartoon`` as a sample, see `ProceduralCartoons`."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    looks = [look(cartoon, x, y, time) for time in range(frames)]
    flows = [flow_of(cartoon, seen, time) for time, seen in enumerate(looks[:-1])]
    visible = [_is_seen(cartoon, seen, x + flow[0], y + flow[1], time + 1)
               for time, (seen, flow) in enumerate(zip(looks, flows))]  # fmt: skip
    line = torch.from_numpy(np.stack([seen.line for seen in looks]))[:, None]
    shown = torch.from_numpy(np.stack(visible))[:, None]
    return {
        "frames": torch.from_numpy(np.stack([seen.colour for seen in looks])),
        "flow": torch.from_numpy(np.stack(flows)),
        "valid": torch.ones_like(shown),
        "visible": shown,
        "occluded": ~shown,
        "segments": torch.from_numpy(np.stack([seen.owner for seen in looks]))[:, None],
        "line": line,
        "flat": ~line,
    }


def flow_of(cartoon: Cartoon, seen: Look, time: int) -> np.ndarray:
    """The motion [2,H,W] of what is ``seen`` in frame ``time``, to the next frame, px."""
    change, velocity = (part.astype(np.float32)[seen.owner] for part in cartoon.motion(time))
    (xx, xy), (yx, yy) = change.transpose(2, 3, 0, 1)
    x, y = seen.coordinates
    return np.stack([xx * x + xy * y, yx * x + yy * y]) + velocity.transpose(2, 0, 1)


def _is_seen(cartoon: Cartoon, seen: Look, x: np.ndarray, y: np.ndarray, time: int) -> np.ndarray:
    """Whether the points ``x``, ``y`` [H,W] lie in frame ``time`` with nothing before the layer that is ``seen``."""
    depths = cartoon.depths(cartoon.coordinates(x, y, time))
    before = (depths >= 0) & (np.arange(len(depths))[:, None, None] > seen.owner)
    inside = (x >= 0) & (x <= x.shape[1] - 1) & (y >= 0) & (y <= x.shape[0] - 1)
    return inside & ~before.any(axis=0)

"""Procedural stereo pairs with exact truth, clean or as a cheap sensor sees them."""

from __future__ import annotations

import numpy as np
import torch

from recipes.parts.drawn import DrawnDataset
from recipes.parts.stereo.rendering import render_pair
from recipes.parts.stereo.scene import draw_scene


class ProceduralStereo(DrawnDataset):
    """``count`` stereo pairs, rendered when asked for, after the batch contract of the depth recipe.

    A sample is a dict: ``left``, ``right`` [3,H,W] in 0..1, ``disparity`` [1,H,W] in px, ``valid`` and ``visible``
    bool [1,H,W], ``focal_baseline`` in px m, and for a flip of the eyes the truth of the right view as well:
    ``disparity_right``, ``valid_right``, ``visible_right`` (a point at x is at x + d in the left image).

    Domain "clean" has a wide range of disparities, many surfaces and perfect truth. "noisy" has other statistics
    (fewer, darker, paler surfaces) and a sensor: noise, a gain and gamma of each eye, up to 0.7 px of vertical
    misalignment, holes in the truth at depth edges and elsewhere.

    Args:
        size: (H, W) in px.
        domain: "clean" or "noisy".
        max_disparity: px; every disparity is in 0.5 .. max_disparity.
        seed, fixed: see `DrawnDataset`.

    >>> pair = ProceduralStereo(8, size=(32, 64), max_disparity=16.0, fixed=True)[3]
    >>> pair["left"].shape, pair["disparity"].shape, bool(pair["valid"].all())
    (torch.Size([3, 32, 64]), torch.Size([1, 32, 64]), True)
    """

    def __init__(
        self,
        count: int,
        *,
        size: tuple[int, int] = (128, 256),
        domain: str = "clean",
        max_disparity: float = 64.0,
        seed: int = 0,
        fixed: bool = False,
    ) -> None:
        if domain not in ("clean", "noisy"):
            raise ValueError(f"domain is {domain!r}; it must be 'clean' or 'noisy'")
        if max_disparity < 4:
            raise ValueError(f"max_disparity is {max_disparity} px; it must be at least 4")
        super().__init__(count, seed=seed, fixed=fixed, kind=int(domain == "noisy"))
        self.size, self.domain, self.max_disparity = size, domain, float(max_disparity)

    def draw(self, generator: np.random.Generator) -> dict[str, torch.Tensor]:
        sheets = draw_scene(generator, self.size, domain=self.domain, max_disparity=self.max_disparity)
        noisy = self.domain == "noisy"
        shift = float(generator.uniform(-0.7, 0.7)) if noisy else 0.0
        sample = render_pair(sheets, self.size, vertical_shift=shift)
        if noisy:
            _sense(generator, sample)
        # The rig of the recipe: a 640 px wide image has a focal length of 719.5 px; "clean" has twice the baseline.
        sample["focal_baseline"] = np.array(1.1242 * self.size[1] * (0.1371 if noisy else 0.2742), np.float32)
        return {name: torch.as_tensor(value) for name, value in sample.items()}


def _sense(generator: np.random.Generator, sample: dict[str, np.ndarray]) -> None:
    """Change a sample in place as a cheap sensor would: gain, gamma and noise of each eye, holes in the truth."""
    noise = generator.uniform(0.005, 0.03)
    for eye in ("left", "right"):
        image = sample[eye]
        image = generator.uniform(0.8, 1.2) * image ** np.float32(generator.uniform(0.85, 1.18))
        image = image + noise * generator.standard_normal(image.shape, dtype=np.float32)
        sample[eye] = np.clip(image, 0, 1).astype(np.float32)
    for side in ("", "_right"):
        _lose_truth(generator, sample, side)


def _lose_truth(generator: np.random.Generator, sample: dict[str, np.ndarray], side: str) -> None:
    """Holes at depth edges, where matching and structured light fail, and round ones elsewhere."""
    disparity = sample["disparity" + side][0]
    edge = np.zeros(disparity.shape, bool)
    jump = np.abs(np.diff(disparity, axis=1)) > 1
    for reach in range(int(generator.integers(1, 4))):
        edge[:, : -1 - reach] |= jump[:, reach:]
        edge[:, 1 + reach :] |= jump[:, : jump.shape[1] - reach]
    height, width = disparity.shape
    y, x = np.mgrid[:height, :width]
    for _ in range(generator.integers(0, 5)):
        row, column, radius = (
            generator.uniform(0, height),
            generator.uniform(0, width),
            generator.uniform(2, 0.12 * height),
        )
        edge |= (y - row) ** 2 + (x - column) ** 2 < radius**2
    known = ~edge[None]
    sample["valid" + side] &= known
    sample["visible" + side] &= known
    sample["disparity" + side] = np.where(known, sample["disparity" + side], np.float32(0))

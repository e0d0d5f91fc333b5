"""Cores that are drawn: H&E by Beer-Lambert, markers as functions of the kind of cell."""

from __future__ import annotations

import numpy as np
import torch

from recipes.parts.staining.core import Sample, Window
from recipes.parts.staining.stain_space import stain_matrix, stained
from recipes.parts.staining.tissue import PANEL, draw_tissue

# What a marker of full strength reads in 16 bits, and what is read where there is none: dim antibodies and bright ones.
STRENGTH = np.array([9000, 5200, 1600, 4000, 2600, 3400, 7000, 300], dtype=np.float32)
FLOOR = np.array([400, 250, 180, 300, 220, 150, 90, 260], dtype=np.float32)


class ProceduralCore:
    """A core that is drawn when first asked for, and kept: 1 MB at 160 px. It is a function of (seed, number) alone.

    Stains and gains are the core's own, as those of a slide are: directions of both stains, how much of them was
    taken, how much light came through, and how bright each antibody is.

    Args:
        shift: how much stains and light differ from core to core; 1 for slides of one laboratory.

    >>> core = ProceduralCore(0, side=64)
    >>> {name: tuple(value.shape) for name, value in core.read(Window(0, 8, 32, 48)).items()}
    {'he': (3, 32, 48), 'target': (8, 32, 48), 'valid': (1, 32, 48)}
    """

    def __init__(self, number: int, *, side: int = 160, seed: int = 0, shift: float = 1.0):
        self.id, self.side, self.shift = f"procedural-{seed}-{number}", side, shift
        self._entropy = (seed, number)
        self._drawn: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.side, self.side

    def read(self, window: Window) -> Sample:
        """The window's ``he``, ``target`` (as 16 bits would hold it) and ``valid``, which is true everywhere."""
        if self._drawn is None:
            self._drawn = self._draw()
        top, left, height, width = window
        he, target = (part[:, top : top + height, left : left + width] for part in self._drawn)
        valid = torch.ones(1, *he.shape[1:], dtype=torch.bool)
        return {"he": he.float() / 255, "target": target.float(), "valid": valid}

    def _draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """H&E as uint8 [3,S,S] and markers as int32 [8,S,S]."""
        generator = np.random.default_rng([*self._entropy, len(PANEL)])
        tissue = draw_tissue(generator, self.side)
        matrix = stain_matrix().numpy() + generator.normal(0, 0.03 * self.shift, (3, 3)).astype(np.float32)
        taken = np.exp(generator.normal(0, 0.08 * self.shift, 2)).astype(np.float32)
        light = 1 - generator.uniform(0.0, 0.06 * self.shift)
        densities = np.concatenate([tissue.stains * taken[:, None, None], np.zeros_like(tissue.stains[:1])])
        picture = light * stained(torch.from_numpy(densities)[None], torch.from_numpy(np.abs(matrix))[None])[0].numpy()
        picture = picture + generator.normal(0, 0.012, picture.shape)
        gain = np.exp(generator.normal(0, 0.05, len(PANEL)))[:, None, None]
        signal = FLOOR[:, None, None] + STRENGTH[:, None, None] * gain * tissue.markers.clip(0)
        noisy = signal + generator.normal(0, 1, signal.shape) * (0.02 * STRENGTH[:, None, None] + np.sqrt(signal))
        target = noisy.clip(0, 65535).round().astype(np.int32)
        return torch.from_numpy((picture * 255).clip(0, 255).round().astype(np.uint8)), torch.from_numpy(target)

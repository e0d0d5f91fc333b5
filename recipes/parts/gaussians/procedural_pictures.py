"""Small abstract pictures: soft shapes over a ground that changes from one colour to another."""

from __future__ import annotations

import torch


def draw_pictures(count: int, *, side: int = 64, shapes: int = 5, generator: torch.Generator) -> torch.Tensor:
    """``count`` pictures [count,3,side,side] in 0..1, always the same for the same ``generator``.

    Each has a ground of two colours, and over it up to ``shapes`` ellipses, rounded boxes and bands of any size, angle
    and colour, with edges of 1 to 3 px, shaded from one side to the other.

    >>> draw_pictures(2, side=16, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 16, 16])
    """

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, *shape, 1, 1, generator=generator)

    place = (torch.arange(side) + 0.5) / side - 0.5
    y, x = torch.meshgrid(place, place, indexing="ij")
    turn = uniform(0, 2 * torch.pi, 1)
    share = (0.5 + x * turn.cos() + y * turn.sin()).clamp(0, 1)
    pictures = torch.lerp(uniform(0, 1, 3), uniform(0, 1, 3), share)
    for number in range(shapes):
        angle, far, near = uniform(0, torch.pi, 1), uniform(0.12, 0.35, 1), uniform(0.12, 0.35, 1)
        dx, dy = x - uniform(-0.4, 0.4, 1), y - uniform(-0.4, 0.4, 1)
        along, across = dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()
        u, v = (along / far).abs(), (across / near).abs()
        kind = uniform(0, 1, 1)
        distance = torch.where(kind < 0.5, (u * u + v * v).sqrt(), (u**6 + v**6).clamp_min(1e-12) ** (1 / 6))
        distance = torch.where(kind > 0.85, 2 * v, distance)  # a band through the whole picture
        softness = uniform(1, 3, 1) / side / torch.minimum(far, near)
        inside = torch.sigmoid((1 - distance) / softness * 4)
        shown = (uniform(0, 1, 1) < 0.8) if number else torch.ones(count, 1, 1, 1, dtype=torch.bool)
        colour = (uniform(0, 1, 3) * (1 + uniform(-0.5, 0.5, 1) * along / far.clamp_min(0.1))).clamp(0, 1)
        pictures = torch.where(shown, torch.lerp(pictures, colour, inside), pictures)
    return pictures

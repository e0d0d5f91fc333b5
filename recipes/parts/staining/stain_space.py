"""Light through stained tissue: colours of a picture as densities of hematoxylin and eosin, and back (Beer-Lambert)."""

from __future__ import annotations

import torch

# Optical density of one unit of each stain in red, green and blue (Ruifrok and Johnston, 2001), each of length one;
# the third row is orthogonal to both, and holds what neither explains.
HEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)
FAINTEST = 1.0 / 255.0  # of the light: below it 8 bits say nothing


def stain_matrix() -> torch.Tensor:
    """Float32 [3,3]: a row a stain (hematoxylin, eosin, the rest), a column a colour.

    >>> matrix = stain_matrix()
    >>> torch.allclose(matrix.norm(dim=1), torch.ones(3))
    True
    """
    two = torch.nn.functional.normalize(torch.tensor([HEMATOXYLIN, EOSIN]), dim=1)
    rest = torch.linalg.cross(two[0], two[1])
    return torch.cat([two, torch.nn.functional.normalize(rest, dim=0)[None]])


def optical_density(picture: torch.Tensor) -> torch.Tensor:
    """-ln of ``picture`` in 0..1, of any shape; 0 for white, 5.54 for black.

    >>> optical_density(torch.tensor([0.5, 0.0]))
    tensor([0.6931, 5.5413])
    """
    return -picture.clamp(FAINTEST, 1.0).log()


def stained(densities: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """The picture [B,3,H,W] in 0..1 of densities [B,3,H,W] of the stains in ``matrix`` [3,3] or [B,3,3].

    >>> matrix = stain_matrix()[None]
    >>> picture = torch.rand(1, 3, 2, 2) * 0.8 + 0.1
    >>> bool((stained(stain_densities(picture, matrix), matrix) - picture).abs().max() < 1e-5)
    True
    """
    return (-_mixed(densities, matrix)).exp().clamp(0.0, 1.0)


def stain_densities(picture: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """The densities [B,3,H,W] of the stains in ``matrix`` that colour ``picture`` [B,3,H,W] in 0..1."""
    return _mixed(optical_density(picture), torch.linalg.inv(matrix))


def _mixed(values: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """``values`` [B,3,H,W] as rows times ``matrix``."""
    return torch.matmul(matrix.transpose(-1, -2), values.flatten(2)).view_as(values)

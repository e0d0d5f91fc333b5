"""3D Gaussian splats (Kerbl et al., 2023) from ``.ply`` files, cut into blocks and seen from the side as 2D ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from recipes.parts.data_error import DataError
from recipes.parts.gaussians.order import morton_order

COLUMNS = (
    *("x", "y", "z"),
    *("f_dc_0", "f_dc_1", "f_dc_2"),
    "opacity",
    *("scale_0", "scale_1", "scale_2"),
    *("rot_0", "rot_1", "rot_2", "rot_3"),
)
TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "<i2", "ushort": "<u2", "int": "<i4", "uint": "<u4"},
    **{"float": "<f4", "double": "<f8", "int8": "i1", "uint8": "u1", "int16": "<i2", "uint16": "<u2"},
    **{"int32": "<i4", "uint32": "<u4", "float32": "<f4", "float64": "<f8"},
}
FORMAT = "binary_little_endian"
HARMONIC = 0.28209479177387814  # of degree 0: colour = 0.5 + this * f_dc


def read_splats(path: Path) -> torch.Tensor:
    """The 14 numbers of each Gaussian in a ``.ply`` file, float32 [N,14], in the order of `COLUMNS`, as stored.

    x, y, z; three harmonics of degree 0; logit of the opacity; log of three standard deviations; quaternion w, x, y, z
    of any length. Whatever else the table has (normals, ``f_rest_*``) is passed over.

    Raises:
        DataError: missing, damaged, not a binary little-endian table of splats, or rows that are not finite.
    """
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error
    count, row, begin = _header(path, stored)
    if len(stored) - begin < count * row.itemsize:
        whole = (len(stored) - begin) // row.itemsize
        raise DataError(f"cannot read {path}: truncated, {whole} of {count} Gaussians are there")
    table = np.frombuffer(stored, row, count, begin)
    splats = np.stack([table[name].astype(np.float32) for name in COLUMNS], 1)
    bad = np.flatnonzero(~np.isfinite(splats).all(1))
    if len(bad):
        raise DataError(f"{path}: {len(bad)} of {count} Gaussians are not finite, the first in row {bad[0]}")
    return torch.from_numpy(splats)


def _header(path: Path, stored: bytes) -> tuple[int, np.dtype, int]:
    """How many rows, what a row is, and where the first begins."""
    end = stored.find(b"end_header\n")
    if not stored.startswith(b"ply") or end < 0:
        raise DataError(f"{path} does not begin like a ply file ('ply' ... 'end_header')")
    lines = [line.split() for line in stored[:end].decode("ascii", "replace").splitlines()[1:]]
    count, fields, first = -1, [], True
    for line in lines:
        match line:
            case ["format", kind, *_] if kind != FORMAT:
                raise DataError(f"{path} is a ply file of format {kind}; only {FORMAT} is read")
            case ["element", "vertex", number] if number.isdigit() and first:
                count, first = int(number), False
            case ["element", name, *_]:
                if first:
                    raise DataError(f"{path}: its first element is '{name}'; expected 'vertex'")
                break  # what comes after the table of vertices
            case ["property", kind, name] if kind in TYPES:
                fields.append((name, TYPES[kind]))
            case ["property", *rest]:
                raise DataError(f"{path}: property '{' '.join(rest)}' of a vertex is not a number")
    missing = [name for name in COLUMNS if name not in dict(fields)]
    if count < 0 or missing:
        raise DataError(f"{path} is no table of 3D Gaussians: it has no {', no '.join(missing or ['vertex'])}")
    return count, np.dtype(fields), end + len(b"end_header\n")


def cut_into_blocks(splats: torch.Tensor, count: int, *, least_opacity: float = 0.05) -> torch.Tensor:
    """Blocks [K,count,14] of Gaussians that lie together in space, of ``splats`` [N,14]; a rest is left out.

    Gaussians that can hardly be seen are left out as well. The others are cut up along the Z-curve.
    """
    splats = splats[splats[:, 6].sigmoid() >= least_opacity]
    blocks = len(splats) // count
    if blocks == 0:
        return splats.new_zeros(0, count, splats.shape[1])
    low, high = splats[:, :3].amin(0), splats[:, :3].amax(0)
    extent = (high - low).max().clamp_min(1e-12)
    order = morton_order((splats[:, :3] - low) / extent, bits=20)
    return splats[order][: blocks * count].reshape(blocks, count, -1)


def seen_along(blocks: torch.Tensor, axis: int, *, side: int = 64) -> torch.Tensor:
    """Blocks [K,N,14] seen along an axis (0: x, 1: y, 2: z) from far away: 2D Gaussians [K,N,8], as stored.

    A block fills a picture of ``side`` px but for a border of a twentieth. What a 2D form has no number for is lost:
    depth, opacity, and colours that change with the direction. Standard deviations are at least 0.3 px.
    """
    across, down = ((1, 2), (0, 2), (0, 1))[axis]
    places = blocks[..., [across, down]]
    low, high = places.amin(1, keepdim=True), places.amax(1, keepdim=True)
    extent = (high - low).amax(-1, keepdim=True).clamp_min(1e-12) / 0.9
    xy = 0.5 + (places - (low + high) / 2) / extent
    covariance = _covariance(blocks) * (side / extent.unsqueeze(-1)).square()
    xx, xy_, yy = covariance[..., across, across], covariance[..., across, down], covariance[..., down, down]
    middle, spread = (xx + yy) / 2, (((xx - yy) / 2).square() + xy_.square()).sqrt()
    angle = torch.atan2(2 * xy_, xx - yy) / 2
    variances = torch.stack([middle + spread, middle - spread], -1).clamp_min(0.3**2)
    colours = (0.5 + HARMONIC * blocks[..., 3:6]).clamp(0, 1)
    return torch.cat([xy, variances.rsqrt(), angle.unsqueeze(-1), colours], -1)


def _covariance(splats: torch.Tensor) -> torch.Tensor:
    """[...,3,3] of splats [...,14]: R S S R^T."""
    w, x, y, z = torch.nn.functional.normalize(splats[..., 10:14], dim=-1).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    rotation = torch.stack(rows, -1).unflatten(-1, (3, 3))
    stretched = rotation * splats[..., 7:10].exp().unsqueeze(-2)
    return stretched @ stretched.transpose(-1, -2)

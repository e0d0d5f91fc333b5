"""3D splats from ply files: any columns around the fourteen; blocks; the view from one side."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.parts.data_error import DataError
from recipes.parts.gaussians.splat_files import COLUMNS, cut_into_blocks, read_splats, seen_along

DONUT = Path(__file__).resolve().parents[4] / "../shared/data/vae/donut_3dgs/point_cloud.ply"
FULL = (
    *COLUMNS[:3], "nx", "ny", "nz", *COLUMNS[3:6], *(f"f_rest_{i}" for i in range(45)), *COLUMNS[6:],
)  # fmt: skip


def write(path, values, names=COLUMNS, *, count=None, form="binary_little_endian 1.0", kind="float"):
    properties = "".join(f"property {kind} {name}\n" for name in names)
    header = f"ply\nformat {form}\ncomment made here\nelement vertex {count or len(values)}\n{properties}end_header\n"
    path.write_bytes(header.encode() + np.asarray(values).astype({"float": "<f4", "double": "<f8"}[kind]).tobytes())
    return path


def draw(count=20, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 14)).astype(np.float32)


def test_fourteen_columns_come_back(tmp_path):
    values = draw()

    assert torch.equal(read_splats(write(tmp_path / "a.ply", values)), torch.from_numpy(values))
    assert torch.equal(read_splats(write(tmp_path / "b.ply", values, kind="double")), torch.from_numpy(values))


def test_normals_and_higher_harmonics_are_passed_over(tmp_path):
    values = np.random.default_rng(1).normal(size=(7, len(FULL))).astype(np.float32)
    found = read_splats(write(tmp_path / "a.ply", values, FULL))

    assert len(FULL) == 62
    assert torch.equal(found, torch.from_numpy(values[:, [FULL.index(name) for name in COLUMNS]]))


def test_columns_of_other_types_and_in_another_order(tmp_path):
    values = draw(3)
    row = np.dtype([("seen", "u1"), *((name, "<f4") for name in reversed(COLUMNS))])
    table = np.zeros(3, row)
    for number, name in enumerate(COLUMNS):
        table[name] = values[:, number]
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 3\nproperty uchar seen\n"
    header += "".join(f"property float {name}\n" for name in reversed(COLUMNS))
    header += "element face 0\nproperty list uchar int vertex_indices\nend_header\n"
    (tmp_path / "a.ply").write_bytes(header.encode() + table.tobytes())

    assert torch.equal(read_splats(tmp_path / "a.ply"), torch.from_numpy(values))


@pytest.mark.skipif(not DONUT.is_file(), reason=f"needs {DONUT}")
def test_a_real_splat():
    splats = read_splats(DONUT)
    assert splats.shape == (45624, 14)
    blocks = cut_into_blocks(splats, 512)
    assert blocks.shape[1:] == (512, 14) and 60 < len(blocks) <= 89
    seen = seen_along(blocks, 2)
    assert seen.isfinite().all() and seen.shape == (len(blocks), 512, 8)
    # Blocks are places: they are small beside the whole.
    whole = splats[:, :3].std(0).norm()
    assert blocks[..., :3].std(1).norm(dim=-1).mean() < 0.35 * whole


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"names": COLUMNS[:6] + COLUMNS[7:]}, "no table of 3D Gaussians: it has no opacity"),
        ({"count": 40}, "truncated, 20 of 40 Gaussians are there"),
        ({"form": "ascii 1.0"}, "ply file of format ascii; only binary_little_endian is read"),
        ({"form": "binary_big_endian 1.0"}, "format binary_big_endian"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, keywords, said):
    path = write(tmp_path / "bad.ply", draw()[:, : len(keywords.get("names", COLUMNS))], **keywords)
    with pytest.raises(DataError, match=said) as told:
        read_splats(path)
    assert str(path) in str(told.value)


def test_rows_that_are_not_finite_are_named(tmp_path):
    values = draw()
    values[4, 7] = np.inf
    with pytest.raises(DataError, match="1 of 20 Gaussians are not finite, the first in row 4"):
        read_splats(write(tmp_path / "bad.ply", values))


def test_other_files_and_none_are_named(tmp_path):
    (tmp_path / "text.ply").write_text("plywood")
    with pytest.raises(DataError, match=r"text\.ply does not begin like a ply file"):
        read_splats(tmp_path / "text.ply")
    with pytest.raises(DataError, match=r"cannot read .*none\.ply"):
        read_splats(tmp_path / "none.ply")
    (tmp_path / "list.ply").write_bytes(
        b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty list uchar int x\nend_header\n"
    )
    with pytest.raises(DataError, match="property 'list uchar int x' of a vertex is not a number"):
        read_splats(tmp_path / "list.ply")


def test_blocks_are_whole_and_leave_out_what_cannot_be_seen():
    splats = torch.from_numpy(draw(100))
    splats[:, 6] = 3.0
    splats[:30, 6] = -5.0  # opacity 0.7 %

    blocks = cut_into_blocks(splats, 32)
    assert blocks.shape == (2, 32, 14)
    assert (blocks[..., 6] == 3.0).all()
    assert cut_into_blocks(splats[:30], 16).shape == (0, 16, 14)


def one(scale, quaternion, place=(0.0, 0.0, 0.0)):
    return [*place, 1.0, 0.0, -1.0, 4.0, *np.log(scale), *quaternion]


def test_a_view_by_hand():
    # Two splats 2 apart along x; the first is long along x, turned by 30° about z. Seen along z, over 64 px of which
    # nine tenths are filled: 1 unit is 28.8 px.
    half = math.radians(15)
    far = one((0.1, 0.1, 0.1), (1, 0, 0, 0), (2.0, 0, 0))
    block = torch.tensor([[one((0.2, 0.05, 0.1), (2 * math.cos(half), 0, 0, 2 * math.sin(half))), far]])
    first, second = seen_along(block.float(), 2)[0]

    assert first[:2].tolist() == pytest.approx([0.05, 0.5]) and second[0].item() == pytest.approx(0.95)
    assert (1 / first[2:4]).tolist() == pytest.approx([0.2 * 28.8, 0.05 * 28.8], rel=1e-4)
    assert math.degrees(first[4].item()) == pytest.approx(30, abs=1e-3)
    assert first[5:].tolist() == pytest.approx([0.5 + 0.28209479, 0.5, 0.5 - 0.28209479])


def test_a_needle_seen_from_its_end_is_no_thinner_than_a_third_of_a_pixel():
    block = torch.tensor([[one((1.0, 1e-6, 1e-6), (1, 0, 0, 0)), one((0.1, 0.1, 0.1), (1, 0, 0, 0), (0, 1.0, 1.0))]])

    assert (1 / seen_along(block.float(), 0)[0, 0, 2:4]).tolist() == pytest.approx([0.3, 0.3], rel=1e-3)

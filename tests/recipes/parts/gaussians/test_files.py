"""Files of fitted Gaussians: what is read, and what is said about those that cannot be."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.parts.data_error import DataError
from recipes.parts.gaussians.files import read_gaussians

FITS = Path(__file__).resolve().parents[4] / "../shared/data/vae/image_gs_fits"


def image_gs(count=5):
    return {
        "xy": torch.rand(count, 2),
        "scale": torch.rand(count, 2),
        "rot": torch.rand(count, 1),
        "feat": torch.rand(count, 3),
        "vis_feat": torch.rand(count, 3),
    }


def test_an_npz_comes_back_as_it_was_saved(tmp_path):
    numbers = np.random.default_rng(0).random((6, 8))
    np.savez(tmp_path / "a.npz", gaussians=numbers, psnr=30.0)

    assert torch.equal(read_gaussians(tmp_path / "a.npz"), torch.from_numpy(numbers).float())


@pytest.mark.parametrize("nested", [False, True])
def test_image_gs_s_parts_become_eight_columns(tmp_path, nested):
    parts = image_gs()
    torch.save({"state_dict": parts, "step": 3} if nested else parts, tmp_path / "ckpt.pt")
    found = read_gaussians(tmp_path / "ckpt.pt")

    assert torch.equal(found, torch.cat([parts["xy"], parts["scale"], parts["rot"], parts["feat"]], 1))


def test_a_flat_rotation_is_one_column(tmp_path):
    parts = image_gs()
    torch.save({**parts, "rot": parts["rot"][:, 0]}, tmp_path / "ckpt.pt")

    assert torch.equal(read_gaussians(tmp_path / "ckpt.pt")[:, 4], parts["rot"][:, 0])


@pytest.mark.skipif(not FITS.is_dir(), reason=f"needs {FITS}")
def test_real_fits_are_read():
    found = [read_gaussians(path) for path in sorted(FITS.glob("*.npz"))]

    assert {tuple(one.shape) for one in found} == {(512, 8)} and len(found) == 10


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"points": np.zeros((2, 8))}, r"no array 'gaussians' \(it has: points\)"),
        ({"gaussians": np.zeros((2, 7))}, r"shape \(2, 7\); expected \(count, 8\)"),
        ({"gaussians": np.full((2, 8), np.nan)}, "2 of 2 Gaussians are not finite, the first in row 0"),
        ({"gaussians": np.array([["a"] * 8])}, "expected numbers"),
    ],
)
def test_a_bad_npz_is_named(tmp_path, arrays, said):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=said) as told:
        read_gaussians(tmp_path / "bad.npz")
    assert str(tmp_path / "bad.npz") in str(told.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"xy": torch.zeros(3, 2), "rot": torch.zeros(3)}, r"has no scale, no feat \(it has: xy, rot\)"),
        ([1, 2], "holds a list; expected a dict with xy, scale, rot, feat"),
        ({**image_gs(4), "scale": torch.zeros(3, 2)}, r"'scale' is \(3, 2\); expected \(4, 2\)"),
        ({**image_gs(4), "feat": torch.zeros(4, 4)}, r"'feat' is \(4, 4\); expected \(4, 3\)"),
    ],
)
def test_a_bad_checkpoint_is_named(tmp_path, content, said):
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(DataError, match=said) as told:
        read_gaussians(tmp_path / "bad.pt")
    assert str(tmp_path / "bad.pt") in str(told.value)


@pytest.mark.parametrize("name", ["broken.npz", "broken.pt", "missing.npz", "missing.pt", "text.txt"])
def test_damaged_missing_and_other_files_are_named(tmp_path, name):
    if name.startswith("broken"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError) as told:
        read_gaussians(tmp_path / name)
    assert str(tmp_path / name) in str(told.value)


class Code:
    def __reduce__(self):
        return (print, ("run",))


def test_a_checkpoint_cannot_run_code(tmp_path, capsys):
    torch.save({"xy": Code()}, tmp_path / "evil.pt")
    with pytest.raises(DataError, match="cannot read"):
        read_gaussians(tmp_path / "evil.pt")
    assert capsys.readouterr().out == ""

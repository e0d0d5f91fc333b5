"""Data sets of Gaussians by name: what is found, how it is shared out, what is said when there is nothing."""

import numpy as np
import pytest
import torch

from recipes.parts.data_error import DataError
from recipes.parts.gaussians.datasets import gaussian_dataset
from recipes.parts.gaussians.splat_files import COLUMNS


def fits(folder, count=10, rows=64):
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        np.savez(folder / f"img_{number}.npz", gaussians=generator.random((rows, 8)))
    return folder


def splats(path, count=300):
    values = np.random.default_rng(0).normal(size=(count, 14)).astype("<f4")
    values[:, 6] = 4
    names = "".join(f"property float {name}\n" for name in COLUMNS)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n{names}end_header\n"
    path.write_bytes(header.encode() + values.tobytes())
    return path


def test_fits_are_found_wherever_they_lie_below(tmp_path):
    fits(tmp_path / "a", 2)
    fits(tmp_path / "b" / "c", 1)
    parts = {"xy": torch.rand(64, 2), "scale": torch.rand(64, 2), "rot": torch.rand(64, 1), "feat": torch.rand(64, 3)}
    torch.save(parts, tmp_path / "b" / "fit.pt")

    found = gaussian_dataset("fits", tmp_path, gaussians=64)
    assert len(found) == 4
    assert found[3]["gaussians"].shape == (64, 8) and found[3]["gaussians"].dtype == torch.float32


def test_train_and_val_share_out_the_pictures_wherever_the_folder_lies(tmp_path):
    first, second = fits(tmp_path / "here"), fits(tmp_path / "there")
    train, val = (gaussian_dataset("fits", first, split=split, gaussians=64) for split in ("train", "val"))

    assert (len(train), len(val)) == (8, 2)
    keys = [{tuple(sample["gaussians"][0].tolist()) for sample in (data[i] for i in range(len(data)))}
            for data in (train, val)]  # fmt: skip
    assert not keys[0] & keys[1]
    again = gaussian_dataset("fits", second, split="val", gaussians=64)
    assert torch.equal(again[0]["gaussians"], val[0]["gaussians"])


def test_a_splat_becomes_three_views_of_each_block_on_one_side(tmp_path):
    path = splats(tmp_path / "cloud.ply")

    assert len(gaussian_dataset("splats", path, gaussians=64)) == 4 * 3
    assert len(gaussian_dataset("splats", tmp_path, gaussians=64)) == 4 * 3
    train, val = (gaussian_dataset("splats", path, split=split, gaussians=64) for split in ("train", "val"))
    assert (len(train), len(val)) == (9, 3)


def test_what_cannot_be_used_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"no data set 'fit' of Gaussians \(known: procedural, fits, splats\)"):
        gaussian_dataset("fit", tmp_path)
    with pytest.raises(DataError, match=r"there is no .*nowhere\. fits wants: any folder with \.npz"):
        gaussian_dataset("fits", tmp_path / "nowhere")
    with pytest.raises(DataError, match="no Gaussians under"):
        gaussian_dataset("splats", tmp_path)
    folder = fits(tmp_path / "one", 1)
    with pytest.raises(DataError, match=r"img_0\.npz has 64 Gaussians; recipe\.gaussians is 512"):
        gaussian_dataset("fits", folder)
    with pytest.raises(DataError, match=r"one picture alone, img_0\.npz; name another folder"):
        gaussian_dataset("fits", folder, gaussians=64, split="val")
    with pytest.raises(DataError, match=r"cloud\.ply has too few Gaussians that can be seen for one block of 512"):
        gaussian_dataset("splats", splats(tmp_path / "cloud.ply"))

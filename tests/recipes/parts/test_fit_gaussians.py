"""Fitting a folder of pictures: better than by construction, taken up where it stopped, bad files named."""

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.parts import fit_gaussians
from recipes.parts.fit_gaussians import fit, main, read_square
from recipes.parts.gaussians.construction import construct_gaussians
from recipes.parts.gaussians.datasets import gaussian_dataset
from recipes.parts.gaussians.procedural_pictures import draw_pictures
from recipes.parts.gaussians.render import render

SMALL = ["--count", "64", "--size", "16", "--steps", "3", "--batch", "2"]


def save_pictures(folder, count=3, size=(24, 20)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        values = np.random.default_rng(number).integers(0, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"p{number}.png")
    return folder


def psnr(picture, truth):
    return -10 * (picture.clamp(0, 1) - truth).square().mean((1, 2, 3)).log10()


def test_a_fit_looks_more_like_the_picture_than_what_it_began_with():
    images = draw_pictures(2, side=32, generator=torch.Generator().manual_seed(0))
    gaussians, ratio = fit(images, 64, steps=40)
    began = psnr(render(construct_gaussians(images, 64), size=32, side=32), images)

    assert (ratio > began + 0.5).all()
    assert torch.allclose(psnr(render(gaussians, size=32, side=32), images), ratio, atol=1e-3)


def test_no_step_at_all_is_the_construction():
    images = draw_pictures(1, side=16, generator=torch.Generator().manual_seed(0))

    assert torch.equal(fit(images, 16, steps=0)[0], construct_gaussians(images, 16))


def test_pictures_fitted_together_are_fitted_as_each_alone():
    images = draw_pictures(2, side=16, generator=torch.Generator().manual_seed(0))
    together, alone = fit(images, 16, steps=5)[0], fit(images[1:], 16, steps=5)[0]

    assert torch.allclose(together[1:], alone, atol=1e-3)


def test_a_folder_becomes_a_data_set(tmp_path):
    images = save_pictures(tmp_path / "in")
    save_pictures(tmp_path / "in" / "below", 1)

    assert main([str(images), str(tmp_path / "out"), *SMALL]) == 0
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")) == [
        "below/p0.npz", "p0.npz", "p1.npz", "p2.npz",
    ]  # fmt: skip
    assert len(gaussian_dataset("fits", tmp_path / "out", gaussians=64)) == 4
    with np.load(tmp_path / "out" / "p1.npz") as arrays:
        assert 5 < float(arrays["psnr"]) < 60


def test_what_is_done_is_passed_over_and_what_is_half_done_is_not(tmp_path, monkeypatch):
    images, out = save_pictures(tmp_path / "in"), tmp_path / "out"
    assert main([str(images), str(out), *SMALL]) == 0
    kept = (out / "p0.npz").read_bytes()
    (out / "p1.npz").write_bytes(b"half")
    (out / "p2.npz").unlink()
    fitted = []
    real = fit_gaussians.fit
    monkeypatch.setattr(
        fit_gaussians, "fit", lambda images, *a, **k: fitted.append(len(images)) or real(images, *a, **k)
    )

    assert main([str(images), str(out), *SMALL]) == 0
    assert sum(fitted) == 2
    assert (out / "p0.npz").read_bytes() == kept
    assert main([str(images), str(out), *SMALL]) == 0 and sum(fitted) == 2


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_fitted(tmp_path, capsys):
    images = save_pictures(tmp_path / "in")
    (images / "p1.png").write_bytes(b"no picture")

    assert main([str(images), str(tmp_path / "out"), *SMALL]) == 1
    assert str(images / "p1.png") in capsys.readouterr().err.replace("\n", "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["p0.npz", "p2.npz"]


def test_what_cannot_be_done_is_told(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere"), str(tmp_path)]) == 2
    assert f"there is no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err.replace("\n", "")
    assert main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert "no pictures in" in capsys.readouterr().err
    images = save_pictures(tmp_path / "in", 1)
    (images / "p0.jpg").write_bytes((images / "p0.png").read_bytes())
    assert main([str(images), str(tmp_path / "out"), *SMALL]) == 2
    assert "differ in nothing but their endings" in capsys.readouterr().err.replace("\n", " ")
    for words in (["--count", "100"], ["--steps", "-1"]):
        with pytest.raises(SystemExit, match="2"):
            main([str(images), str(tmp_path / "out"), *words])


def test_the_middle_square_is_taken(tmp_path):
    values = np.zeros((20, 40, 3), dtype=np.uint8)
    values[:, 10:30, 0] = 255
    Image.fromarray(values).save(tmp_path / "wide.png")

    assert torch.equal(
        read_square(tmp_path / "wide.png", 10), torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, 10, 10)
    )

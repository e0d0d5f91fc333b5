"""The VAE recipe as a whole: its configs, short trainings, real data, resuming, and what is said of bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ignition.config import load_config
from ignition.evaluate import main as evaluate
from ignition.recipe import Progress, load_recipe
from ignition.run import main
from recipes.parts.gaussians.datasets import KNOWN
from recipes.vae import Recipe
from tests.recipes.runs import assert_resumed_is_whole, rows, values

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "../shared/data/vae"
RECIPE = str(ROOT / "recipes" / "vae.py")
PLAIN = {
    "conv1d_base": (256, 1.0),
    "conv1d_beta0.5": (256, 0.5),
    "conv1d_512d": (512, 1.0),
    "conv1d_512d_beta0.5": (512, 0.5),
    "conv1d_512d_beta0.1": (512, 0.1),
    "conv1d_512d_beta0": (512, 0.0),
    "resnet_conv1d_512d": (512, 0.0),
}
CONFIGS = sorted([*(ROOT / "configs").glob("vae*.yaml"), *(ROOT / "configs").glob("*conv1d*.yaml")])
TINY = [
    "recipe.gaussians=64", "recipe.latent=16", "recipe.render_size=16", "recipe.train_samples=32",
    "recipe.val_samples=8", "data.batch_size=8", "trainer.threads=1", "logging.every=2", "logging.tensorboard=false",
    "trainer.evaluate_every=1",
]  # fmt: skip


def loaded(name):
    return load_config(ROOT / "configs" / f"{name}.yaml", task="vae", recipe_settings=load_recipe(RECIPE).Settings)


def test_the_configs_are_there():
    assert {config.stem for config in CONFIGS} == {"vae", *PLAIN}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_valid_and_says_what_it_tests(config):
    found = loaded(config.stem)

    assert len(found.hypothesis) > 40
    assert set(found.loss) == {"xy", "scale", "rotation", "colour", "kl", "render_l1", "render_ssim"}


@pytest.mark.parametrize("name", PLAIN)
def test_the_plain_configs_differ_by_code_and_divergence(name):
    found, (latent, beta) = loaded(name), PLAIN[name]

    assert found.recipe.latent == latent
    assert [found.loss["kl"].value(epoch) for epoch in (0, 25, 50, 99)] == [0.0, beta / 2, beta, beta]
    assert (found.data.batch_size, found.trainer.epochs) == (32, 100)
    assert (found.optimizer.name, found.optimizer.lr) == ("Adam", 1e-3)
    assert (found.recipe.form, found.recipe.order, found.recipe.keep_position) == ("stored", "morton", False)
    assert found.recipe.model == ("resnet" if name.startswith("resnet") else "conv1d")
    assert [found.loss[term].value(0) for term in ("xy", "scale", "rotation", "colour")] == [1.0] * 4


@pytest.mark.parametrize("model", ["conv1d", "resnet", "grid"])
def test_every_network_passes_the_check(model, capsys):
    groups = [] if model == "grid" else ["optimizer.groups=[]"]
    assert main([RECIPE, *TINY, f"recipe.model={model}", *groups, "--check"]) == 0
    out = capsys.readouterr().out
    assert "every trained parameter received a gradient" in out
    assert "64x8 float32" in out
    assert not Path("runs").exists()


def test_a_short_training_learns_and_draws(capsys):
    words = ["recipe.train_samples=256", "trainer.epochs=3", "optimizer.lr=1e-3", "recipe.latent=32"]
    assert main([RECIPE, *TINY, *words]) == 0
    run = "runs/vae/vae-001"
    # A code of 32 for 64 Gaussians has room for what shows most; the angle is last.
    for group, limit in {"xy": 0.05, "scale": 0.8, "rotation": 0.99, "colour": 0.4}.items():
        assert values(run, f"baseline/{group}") == [pytest.approx(1.0, abs=1e-6)]
        assert values(run, f"val/{group}")[-1] < limit
    assert values(run, "val/render_psnr")[-1] > values(run, "baseline/render_psnr")[0] + 5
    assert values(run, "val/std_ratio")[-1] > 0.6 > values(run, "baseline/std_ratio")[0] == 0.0
    assert 0.25 <= values(run, "val/active_units")[-1] <= 1.0
    row = rows(run)[-1]
    assert {"val/kl", "val/ssim", "val/diversity", "val/loss/render_l1", "val/signal/std_ratio",
            "val/signal/active_units", "val/signal/kl_per_dim", "val/signal/batch_std_ratio"} <= set(row)  # fmt: skip
    pictures = sorted(path.name for path in Path(run, "pictures").iterdir())
    assert len(pictures) == 3 * 4 and "walk" in "".join(pictures)
    assert Image.open(Path(run, "pictures", pictures[0])).width > 4 * 240
    assert "trivial" in capsys.readouterr().out


def test_statistics_are_of_the_training_data_and_in_the_checkpoint(capsys):
    assert main([RECIPE, *TINY, "trainer.epochs=1"]) == 0
    saved = torch.load("runs/vae/vae-001/checkpoints/last.pt", weights_only=True)["model"]
    recipe = Recipe(Recipe.Settings(gaussians=64, latent=16, train_samples=32), load_config(None).data)
    model = recipe.model()
    recipe.initialize(model)

    assert torch.equal(saved["statistics.mean"], model.statistics.mean)
    assert torch.equal(saved["statistics.std"], model.statistics.std)
    assert model.statistics.mean[0].item() == pytest.approx(0.5, abs=0.05)
    capsys.readouterr()
    assert evaluate(["runs/vae/vae-001", "--checkpoint", "last", "--json"]) == 0  # needs no training data
    found = json.loads(capsys.readouterr().out)
    assert found["val/xy"] == pytest.approx(values("runs/vae/vae-001", "val/xy")[-1], rel=1e-4)


def test_a_run_that_is_resumed_ends_as_one_that_was_not():
    assert_resumed_is_whole(RECIPE, [*TINY, "schedule.name=constant", "logging.progress=false"])


def test_initialising_takes_no_random_numbers():
    recipe = Recipe(Recipe.Settings(gaussians=64, latent=16, train_samples=16), load_config(None).data)
    model = recipe.model()
    state = torch.get_rng_state()
    recipe.initialize(model)

    assert torch.equal(torch.get_rng_state(), state)


def test_terms_of_the_picture_are_computed_where_they_count():
    recipe = Recipe(Recipe.Settings(gaussians=64, latent=16, render_samples=2), load_config(None).data)
    model, batch = recipe.model(), {"gaussians": torch.rand(3, 64, 8)}
    numbers = {"xy", "scale", "rotation", "colour", "kl"}

    off = {"render_l1": 0.0, "render_ssim": 0.0}
    assert set(recipe.losses(model, batch, Progress(weights=off))) == numbers
    assert set(recipe.losses(model, batch, Progress())) == numbers | set(off)
    assert all(term.ndim == 0 and term.isfinite() for term in recipe.losses(model, batch, Progress()).values())


def test_a_code_that_is_not_used_is_told():
    heavy = [
        "recipe.model=conv1d", "optimizer.groups=[]",
        "loss={xy: 1, scale: 1, rotation: 1, colour: 1, kl: 100, render_l1: 0, render_ssim: 0}",
    ]  # fmt: skip
    assert main([RECIPE, *TINY, *heavy, "trainer.epochs=8", "recipe.train_samples=96", "--output", "run"]) == 0
    incidents = [json.loads(line) for line in Path("run/incidents.jsonl").read_text().splitlines()]

    assert "posterior_collapse" in {incident["subject"] for incident in incidents}
    assert values("run", "val/active_units")[-1] == 0.0


def test_signals_have_the_names_that_collapse_is_told_by():
    recipe = Recipe(Recipe.Settings(gaussians=64, latent=16, image_size=16), load_config(None).data)
    model, batch = recipe.model().eval(), {"gaussians": torch.rand(4, 64, 8)}
    flat = recipe.signals(batch, recipe.baseline(recipe.datasets())(model, batch))
    one = {"gaussians": batch["gaussians"][:1]}

    assert {name: round(value.item(), 6) for name, value in flat.items()} == {
        "std_ratio": 0.0, "kl_per_dim": 0.0, "batch_std_ratio": 0.0, "active_units": 0.0,
    }  # fmt: skip
    assert set(recipe.signals(one, recipe.predict(model, one))) == {"std_ratio", "kl_per_dim"}  # of one, no spread


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs {DATA}")
@pytest.mark.parametrize(("name", "root"), [("fits", "image_gs_fits"), ("splats", "donut_3dgs")])
def test_real_gaussians_are_trained_on(name, root):
    source = f"{{name: {name}, root: {DATA / root}}}"
    words = [
        "recipe.gaussians=512", "recipe.latent=16", f"data.train={source}", f"data.val={source}", "trainer.epochs=1",
        "recipe.render_samples=2", "checkpoint.metric=val/loss",
    ]  # fmt: skip
    assert main([RECIPE, *TINY, *words]) == 0
    run = "runs/vae/vae-001"
    assert values(run, "val/render_psnr")[-1] > values(run, "baseline/render_psnr")[0]


# ------------------------------------------------------------------------------------------------------ bad input


def fits(folder, damage=None):
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(5):
        np.savez(folder / f"fit_{number}.npz", gaussians=generator.random((64, 8)))
    if damage == "not finite":
        np.savez(folder / "fit_3.npz", gaussians=np.full((64, 8), np.nan))
    elif damage == "truncated":
        (folder / "fit_3.npz").write_bytes((folder / "fit_3.npz").read_bytes()[:100])
    elif damage == "another count":
        np.savez(folder / "fit_3.npz", gaussians=generator.random((63, 8)))
    return folder


@pytest.mark.parametrize("damage", ["not finite", "truncated", "another count"])
def test_a_bad_file_is_named(tmp_path, capsys, damage):
    folder = fits(tmp_path / "fits", damage)
    source = f"{{name: fits, root: {folder}}}"
    assert main([RECIPE, *TINY, f"data.train={source}", f"data.val={source}", "--output", "run"]) == 2
    error = capsys.readouterr().err
    assert str(folder / "fit_3.npz") in error
    assert "Traceback" not in error


def test_missing_folders_and_unknown_names_are_told(tmp_path, capsys):
    for source, word in (
        ("{name: fits}", "data.train.root=FOLDER"),
        (f"{{name: fits, root: {tmp_path / 'nowhere'}}}", str(tmp_path / "nowhere")),
        ("{name: splat, root: .}", "known: procedural, fits, splats"),
    ):
        assert main([RECIPE, *TINY, f"data.train={source}", "--output", "run"]) == 2
        assert word in capsys.readouterr().err
        shutil.rmtree("run", ignore_errors=True)


def test_networks_that_do_not_go_with_the_order_are_told(capsys):
    assert main([RECIPE, *TINY, "recipe.order=morton", "--output", "run"]) == 2
    assert "the network 'grid' needs the order 'balanced'" in capsys.readouterr().err


def test_the_page_names_every_data_set_and_config():
    page = (ROOT / "docs" / "vae.md").read_text()
    assert [name for name in KNOWN if f"| `{name}` | {KNOWN[name].expected} |" not in page] == []
    assert [config.name for config in CONFIGS if f"`{config.name}`" not in page] == []

"""The spatial recipe as a whole: its configs, short trainings, a real core, resuming, and what is said of bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet34

from ignition.config import load_config
from ignition.evaluate import main as evaluate
from ignition.recipe import Progress, load_recipe
from ignition.run import main
from recipes.parts.staining.datasets import PROCEDURAL
from recipes.parts.staining.layouts import KNOWN
from recipes.parts.staining.tissue import PANEL
from recipes.spatial import Recipe
from tests.recipes.runs import assert_resumed_is_whole, rows, values

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "../shared/data/spatial"
RECIPE = str(ROOT / "recipes" / "spatial.py")
CONFIGS = sorted((ROOT / "configs").glob("spatial*.yaml"))
TERMS = {"mse", "l1", "boundary", "ssim", "spread", "focal", "variance_exponential", "variance_square"}
TINY = [
    "recipe.base=8", "recipe.depth=2", "recipe.cores=6", "recipe.side=64", "recipe.patch=32",
    "recipe.patches_per_core=8", "data.batch_size=8", "trainer.threads=1", "logging.every=2",
    "logging.tensorboard=false", "logging.progress=false", "schedule.name=constant",
]  # fmt: skip
REAL = ["recipe.channels=[Hematoxylin, DAPI, Lap2, Ki67]", "recipe.blank=[]"]


def loaded(name):
    return load_config(ROOT / "configs" / f"{name}.yaml", task="spatial", recipe_settings=load_recipe(RECIPE).Settings)


def weights(config):
    return {name: weight.value(0) for name, weight in config.loss.items()}


# -------------------------------------------------------------------------------------------------------- configs


def test_the_configs_are_there():
    names = {"", "_before", "_orion", "_small", "_regularised", "_core"}
    assert {config.stem for config in CONFIGS} == {f"spatial{name}" for name in names}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_valid_and_says_what_it_tests(config):
    found = loaded(config.stem)

    assert len(found.hypothesis) > 40
    assert set(found.loss) == TERMS


def test_the_full_config_has_the_improved_values_to_the_letter():
    found = loaded("spatial_orion")

    assert (found.recipe.base, found.recipe.depth, found.recipe.boundary_input) == (32, 4, True)
    assert (found.optimizer.lr, found.data.batch_size, found.recipe.val_share, found.trainer.epochs) == (
        1e-4,
        12,
        0.2,
        30,
    )
    assert (found.schedule.name, found.schedule.factor, found.schedule.patience) == ("plateau", 0.5, 5)
    assert found.early_stop.patience == 10
    assert weights(found) == dict.fromkeys(TERMS, 0.0) | {
        "mse": 0.8, "l1": 0.3, "boundary": 0.1, "variance_square": 0.1,
    }  # fmt: skip
    model = Recipe(found.recipe, found.data).model()
    assert sum(p.numel() for p in model.parameters()) == 7_766_900
    assert len(found.recipe.channels) == 20 and len(found.recipe.blank) == 3


def test_before_differs_from_the_default_by_the_factors_of_the_repair():
    before, default = loaded("spatial_before"), loaded("spatial")

    assert before.optimizer.lr == pytest.approx(5 * default.optimizer.lr)
    assert before.data.batch_size == 2 / 3 * default.data.batch_size
    assert (default.recipe.val_share, before.recipe.val_share) == (0.2, 0.15)
    assert (before.schedule.name, before.schedule.factor, before.schedule.patience) == ("plateau", 0.7, 3)
    assert default.early_stop.patience == 10 and before.early_stop is None
    assert before.trainer.epochs == round(2 / 3 * default.trainer.epochs)
    assert weights(before)["variance_exponential"] == 0.5 and weights(before)["focal"] > 0
    assert weights(default)["variance_exponential"] == weights(default)["focal"] == 0
    only_before = [c.stem for c in CONFIGS if weights(loaded(c.stem))["variance_exponential"]]
    assert only_before == ["spatial_before"]


def test_the_smaller_and_the_regularised_network():
    orion, small, regularised = (loaded(f"spatial_{name}") for name in ("orion", "small", "regularised"))

    assert (orion.recipe.base, small.recipe.base, regularised.recipe.base) == (32, 24, 24)
    assert regularised.recipe.val_share == 0.25
    assert regularised.optimizer.weight_decay > orion.optimizer.weight_decay == small.optimizer.weight_decay


# ----------------------------------------------------------------------------------------------------- trainings


@pytest.mark.parametrize("extra", [[], ["recipe.boundary_input=true"], ["recipe.model=resnet34"]])
def test_every_network_passes_the_check(extra, capsys):
    assert main([RECIPE, *TINY, "recipe.patches_per_core=2", *extra, "--check"]) == 0
    out = capsys.readouterr().out
    assert "every trained parameter received a gradient" in out
    assert "8x32x32 float32" in out and "8x64x64 float32" in out
    assert not Path("runs").exists()


def test_a_short_training_learns_and_draws(capsys):
    words = ["trainer.epochs=8", "recipe.patches_per_core=24", "optimizer.lr=5e-3"]
    assert main([RECIPE, *TINY, *words]) == 0
    run = "runs/spatial/spatial-001"
    assert values(run, "baseline/pearson") == [0.0] and values(run, "baseline/std_ratio")[0] < 1e-3
    assert values(run, "val/pearson/DNA")[-1] > 0.85
    assert values(run, "val/pearson/PanCK")[-1] > 0.7
    assert values(run, "val/pearson")[-1] > 0.4
    assert values(run, "val/loss")[-1] < 0.8 * values(run, "baseline/loss")[0]
    row = rows(run)[-1]
    shown = {"val/ssim", "val/psnr", "val/mae", "val/f1", "val/auroc", "val/std_ratio", "val/apart/mae/blank",
             "val/signal/std_ratio", "val/signal/least_std_ratio", "val/loss/ssim"}  # fmt: skip
    assert shown <= row.keys() and "val/pearson/blank" not in row
    assert {f"val/pearson/{name}" for name in PANEL[:-1]} <= row.keys()
    assert values(run, "train/epoch_avg_loss")  # with val/loss, the gap
    pictures = sorted(Path(run, "pictures").iterdir())
    assert pictures and Image.open(pictures[0]).width > 9 * 240
    assert "trivial" in capsys.readouterr().out


def test_scales_are_those_of_the_training_cores_and_in_the_checkpoint(capsys):
    assert main([RECIPE, *TINY, "trainer.epochs=1", "--output", "run"]) == 0
    saved = torch.load("run/checkpoints/last.pt", weights_only=True)["model"]
    recipe = Recipe(Recipe.Settings(base=8, depth=2, cores=6, side=64, patch=32), load_config(None).data)
    model = recipe.model()
    recipe.initialize(model)

    for name in ("low", "high", "weights"):
        assert torch.equal(saved[f"scaler.{name}"], model.scaler.get_buffer(name))
    assert saved["scaler.weights"].tolist() == [1.0] * 7 + [0.0]
    capsys.readouterr()
    assert evaluate(["run", "--checkpoint", "last", "--json"]) == 0  # needs no training data
    found = json.loads(capsys.readouterr().out)
    assert found["val/pearson"] == pytest.approx(values("run", "val/pearson")[-1], abs=1e-4)
    assert found["baseline/pearson"] == 0.0


def test_a_run_is_evaluated_on_other_data(capsys):
    assert main([RECIPE, *TINY, "trainer.epochs=1", "--output", "run"]) == 0
    capsys.readouterr()
    assert evaluate(["run", "--json", "data.val.name=procedural_shifted"]) == 0
    shifted = json.loads(capsys.readouterr().out)

    assert shifted["val/loss"] != pytest.approx(values("run", "val/loss")[-1], rel=1e-3)
    assert {"val/pearson/DNA", "baseline/mae", "baseline/loss"} <= shifted.keys()
    assert evaluate(["run", "--json", "recipe.tile=40", "recipe.halo=8"]) == 0  # in tiles, nearly the same
    tiled = json.loads(capsys.readouterr().out)
    assert tiled["val/loss"] == pytest.approx(values("run", "val/loss")[-1], rel=2e-2)


def test_a_run_that_is_resumed_ends_as_one_that_was_not():
    assert_resumed_is_whole(RECIPE, [*TINY, "recipe.patches_per_core=4"])


def test_terms_without_a_weight_are_not_computed():
    recipe = Recipe(Recipe.Settings(base=8, depth=2), load_config(None).data)
    model = recipe.model()
    batch = {
        "he": torch.rand(2, 3, 32, 32), "target": torch.rand(2, 8, 32, 32),
        "valid": torch.ones(2, 1, 32, 32, dtype=torch.bool),
    }  # fmt: skip
    some = recipe.losses(model, batch, Progress(weights=dict.fromkeys(TERMS, 0.0) | {"l1": 1.0}))
    every = recipe.losses(model, batch, Progress())

    assert set(some) == set(every) == TERMS
    assert some["l1"] > 0 and all(some[name] == 0 and not some[name].requires_grad for name in TERMS - {"l1"})
    assert all(term.ndim == 0 and term.isfinite() and term.requires_grad for term in every.values())


def test_a_file_of_torchvision_starts_the_encoder():
    torch.manual_seed(0)
    torch.save(resnet34(weights=None).state_dict(), "resnet34.pth")
    settings = Recipe.Settings(model="resnet34", pretrained="resnet34.pth", cores=3, side=64)
    recipe = Recipe(settings, load_config(None).data)
    model = recipe.model()
    recipe.initialize(model)

    assert torch.equal(model.network.encoder.conv1.weight, torch.load("resnet34.pth")["conv1.weight"])
    assert model.scaler.high[0] > 1000  # fitted, whatever the file


def test_weights_of_another_run_keep_the_scales_of_these_cores():
    assert main([RECIPE, *TINY, "trainer.epochs=1", "--output", "run"]) == 0
    settings = Recipe.Settings(base=8, depth=2, pretrained="run", cores=3, side=64)
    recipe = Recipe(settings, load_config(None).data)
    model = recipe.model()
    recipe.initialize(model)
    saved = torch.load("run/checkpoints/best.pt", weights_only=True)["model"]

    assert torch.equal(model.network.head.weight, saved["network.head.weight"])
    assert not torch.equal(model.scaler.high, saved["scaler.high"])


@pytest.mark.skipif(not CORE.is_dir(), reason=f"needs {CORE}")
def test_a_real_core_is_trained_on_by_region(capsys):
    source = f"{{name: cores, root: {CORE}}}"
    words = [f"data.train={source}", f"data.val={source}", "trainer.epochs=1", "recipe.patches_per_core=160",
             "optimizer.lr=5e-3"]  # fmt: skip
    assert main([RECIPE, *TINY, *REAL, *words, "--output", "run"]) == 0

    assert values("run", "val/pearson/Hematoxylin")[-1] > 0.5
    assert values("run", "val/loss")[-1] < values("run", "baseline/loss")[0]
    capsys.readouterr()
    assert evaluate(["run", "--json", "recipe.tile=128", "recipe.halo=16"]) == 0
    assert json.loads(capsys.readouterr().out)["val/loss"] == pytest.approx(values("run", "val/loss")[-1], rel=1e-2)


# ------------------------------------------------------------------------------------------------------ bad input


def cores(folder, damage=None):
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(5):
        np.save(folder / f"core_{number}_HE.npy", generator.integers(0, 256, (48, 48, 3), dtype=np.uint8))
        np.save(folder / f"core_{number}_ORION.npy", generator.random((4, 48, 48), dtype=np.float32))
    bad = folder / "core_3_ORION.npy"
    if damage == "not finite":
        np.save(bad, np.full((4, 48, 48), np.nan, np.float32))
    elif damage == "truncated":
        bad.write_bytes(bad.read_bytes()[:-100])
    elif damage == "another count":
        np.save(bad, np.zeros((3, 48, 48), np.float32))
    elif damage == "another size":
        np.save(bad, np.zeros((4, 48, 50), np.float32))
    elif damage == "no partner":
        bad.unlink()
    return folder


@pytest.mark.parametrize("damage", ["not finite", "truncated", "another count", "another size", "no partner"])
def test_a_bad_file_is_named_before_anything_is_trained(tmp_path, capsys, damage):
    folder = cores(tmp_path / "cores", damage)
    source = f"{{name: cores, root: {folder}}}"
    assert main([RECIPE, *TINY, *REAL, f"data.train={source}", f"data.val={source}", "--output", "run"]) == 2
    error = capsys.readouterr().err
    assert "core_3_ORION.npy" in error
    assert "Traceback" not in error


def test_cores_of_several_sizes_are_trained_on(tmp_path):
    folder = cores(tmp_path / "cores")
    for number in (0, 1):
        np.save(folder / f"core_{number}_HE.npy", np.zeros((40, 64, 3), np.uint8))
        np.save(folder / f"core_{number}_ORION.npy", np.zeros((40, 64, 4), np.uint16))
    source = f"{{name: cores, root: {folder}}}"
    words = [f"data.train={source}", f"data.val={source}", "trainer.epochs=1", "recipe.patches_per_core=2"]

    assert main([RECIPE, *TINY, *REAL, *words, "recipe.val_share=0.5", "--output", "run"]) == 0


def test_a_file_that_goes_bad_while_a_run_goes_on_is_named(tmp_path, capsys, monkeypatch):
    folder = cores(tmp_path / "cores")
    source = f"{{name: cores, root: {folder}}}"
    began = Recipe.augmentation

    def damage(self):  # after the data was looked at
        for path in folder.glob("*_ORION.npy"):
            path.write_bytes(path.read_bytes()[:200])
        return began(self)

    monkeypatch.setattr(Recipe, "augmentation", damage)
    assert main([RECIPE, *TINY, *REAL, f"data.train={source}", f"data.val={source}", "--output", "run"]) != 0
    error = capsys.readouterr().err
    assert "_ORION.npy" in error and "Traceback" not in error


def test_a_run_goes_on_without_bad_cores_where_that_is_asked_for(tmp_path, caplog):
    folder = cores(tmp_path / "cores", "truncated")
    source = f"{{name: cores, root: {folder}}}"
    words = [f"data.train={source}", f"data.val={source}", "trainer.epochs=1", "data.skip_bad=true"]
    assert main([RECIPE, *TINY, *REAL, *words, "--output", "run"]) == 0

    assert "left out" in caplog.text and "core_3_ORION.npy" in caplog.text
    assert len(values("run", "val/loss")) == 1


def test_missing_folders_and_unknown_names_are_told(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for words, said in (
        (["data.train={name: cores}"], "data.train.root=FOLDER"),
        ([f"data.train={{name: cores, root: {tmp_path / 'nowhere'}}}"], str(tmp_path / "nowhere")),
        ([f"data.train={{name: cores, root: {tmp_path / 'empty'}}}"], "no cores in"),
        (["data.train={name: orion, root: .}"], "known: cores, hemit, procedural, procedural_shifted"),
        (["recipe.channels=[a, b]", "recipe.blank=[]"], "procedural cores have the channels DNA, PanCK"),
        (["recipe.blank=[AF1]"], "recipe.blank names AF1, which recipe.channels does not"),
        (["recipe.patch=96"], "say a smaller recipe.patch"),
        (["recipe.model=resnet34", "recipe.boundary_input=true"], "recipe.boundary_input is for the U-Net"),
        (["recipe.halo=80"], "tile is 256 px; it must be a multiple of 4 and at least 4 x 80 + 4"),
        (["recipe.pretrained=nowhere"], "python -m ignition.run recipes/spatial.py"),
    ):
        assert main([RECIPE, *TINY, *words, "--output", "run"]) == 2, words
        assert said in capsys.readouterr().err
        shutil.rmtree("run", ignore_errors=True)


def test_the_page_names_every_data_set_config_and_term():
    page = (ROOT / "docs" / "spatial.md").read_text()
    assert [name for name in KNOWN if f"| `{name}` | {KNOWN[name].expected} |" not in page] == []
    assert [name for name in PROCEDURAL if f"| `{name}` |" not in page] == []
    assert [config.name for config in CONFIGS if f"`{config.name}`" not in page] == []
    assert [name for name in TERMS if f"`{name}`" not in page] == []

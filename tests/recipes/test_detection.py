"""The detection recipe as a whole: it learns, starts from public weights, evaluates other data, names bad input."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ignition.config import load_config
from ignition.evaluate import main as evaluate
from ignition.recipe import load_recipe
from ignition.run import main
from recipes.parts.detection.datasets import KNOWN
from recipes.parts.detection.detr_net import Detr
from tests.recipes.runs import rows, values

ROOT = Path(__file__).resolve().parents[2]
BCCD = ROOT / "../shared/data/detection/bccd"
RECIPE = str(ROOT / "recipes" / "detection.py")
CONFIGS = sorted((ROOT / "configs").glob("detection*.yaml"))
RUN = "runs/detection/detection-001"
TINY = [
    "recipe.train_samples=16", "recipe.val_samples=4", "recipe.width=32", "data.batch_size=4", "trainer.threads=1",
    "trainer.epochs=1", "trainer.evaluate_every=1", "logging.every=2", "logging.tensorboard=false",
]  # fmt: skip
SET_TERMS = {"class", "l1", "giou", "aux_class", "aux_l1", "aux_giou"}


def loaded(name):
    settings = load_recipe(RECIPE).Settings
    return load_config(ROOT / "configs" / f"{name}.yaml", task="detection", recipe_settings=settings)


@pytest.mark.parametrize("config", [path.stem for path in CONFIGS])
def test_every_config_is_valid_and_says_what_it_tests(config):
    settings = loaded(config)
    assert settings.hypothesis
    dense = settings.recipe.model.startswith("fcos")
    assert set(settings.loss) == ({"class", "giou", "centre"} if dense else SET_TERMS)
    assert settings.checkpoint.mode == "max"


def test_the_configs_are_there():
    variants = {"before", "bccd", "coco", "fcos", "finetune"}
    assert {path.stem for path in CONFIGS} == {"detection", *(f"detection_{name}" for name in variants)}


def test_before_differs_from_the_default_by_what_was_changed():
    before, after = (loaded(name).to_dict() for name in ("detection_before", "detection"))
    sections = {key for key in before if before[key] != after[key]}
    assert sections == {"hypothesis", "recipe", "optimizer", "schedule", "clip"}
    changed = {key for key in before["recipe"] if before["recipe"][key] != after["recipe"][key]}
    assert changed == {"padding", "mask"}
    assert before["optimizer"]["lr"] == 2 * after["optimizer"]["lr"]
    assert before["optimizer"]["weight_decay"] == 0


def test_fine_tuning_has_the_values_that_cured_it():
    config = loaded("detection_finetune")
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay) == ("AdamW", 5e-5, 1e-4)
    assert config.schedule.name == "cosine"
    assert config.optimizer.lr * config.schedule.floor_factor == pytest.approx(1e-6)
    assert config.clip.max_norm == 1.0


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["recipe.classification=no_object", "data.train.name=procedural_crowded"],
        ["recipe.model=detr_r50", "recipe.queries=10", "data.batch_size=2", "recipe.val_samples=1"],
    ],
    ids=["small", "no_object", "detr_r50"],
)
def test_every_network_passes_the_check(words, capsys):
    assert main([RECIPE, *TINY, *words, "--check"]) == 0
    out = capsys.readouterr().out
    assert "every trained parameter received a gradient" in out
    assert "boxes of 16 samples: " in out
    assert "pictures without boxes: " in out
    assert not Path("runs").exists()


def test_the_convolutional_peer_passes_the_check(capsys):
    config = ["--config", str(ROOT / "configs" / "detection_fcos.yaml")]
    assert main([RECIPE, *config, *TINY, "data.batch_size=2", "recipe.val_samples=1", "--check"]) == 0
    assert "every trained parameter received a gradient" in capsys.readouterr().out


def test_a_short_training_learns_draws_and_is_evaluated_on_other_data(capsys):
    words = ["recipe.train_samples=240", "recipe.val_samples=16", "recipe.width=48", "data.batch_size=4"]
    assert main([RECIPE, *TINY, *words, "trainer.epochs=2", "optimizer.lr=1.5e-3"]) == 0
    losses, (trivial,) = values(RUN, "val/loss"), values(RUN, "baseline/loss")
    assert losses[-1] < losses[0]
    assert losses[-1] < 0.6 * trivial  # 12 and 27 when this was written
    assert (
        values(RUN, "val/ar")[-1] > 3 * values(RUN, "baseline/ar")[0]
    )  # queries are near objects; classes take longer
    last = rows(RUN)[-1]
    assert {"val/ap", "val/ap50", "val/ap75", "val/ar", "val/ap/disc", "val/count_error", "val/loss/giou"} <= set(last)
    assert 0 < values(RUN, "val/signal/no_object_share")[-1] <= 1
    pictures = sorted(Path(RUN, "pictures").iterdir())
    assert len(pictures) == 2 * 4
    assert Image.open(pictures[0]).width > 2 * 360
    capsys.readouterr()
    assert evaluate([RUN, "--json", "--checkpoint", "last", "data.val.name=procedural_crowded"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["val/ap"] != pytest.approx(values(RUN, "val/ap")[-1])
    assert found["baseline/count_error"] > 0


def test_a_public_state_dict_is_where_fine_tuning_starts(tmp_path, caplog):
    torch.manual_seed(0)
    torch.save({"model": Detr(92).state_dict()}, tmp_path / "detr-r50.pth")
    words = [
        "recipe.model=detr_r50", "recipe.queries=100", "recipe.classification=no_object", "data.batch_size=2",
        f"recipe.pretrained={tmp_path / 'detr-r50.pth'}", "recipe.train_samples=2", "recipe.val_samples=1",
        "optimizer.lr=1e-12", "optimizer.weight_decay=0", "checkpoint.keep=2",
    ]  # fmt: skip
    caplog.set_level(logging.INFO)
    assert main([RECIPE, *TINY, *words]) == 0
    assert "456 of the model's 458 tensors loaded" in caplog.text
    assert "class_embed.weight (5, 256) here, (92, 256) in the file" in caplog.text


# ------------------------------------------------------------------------------------------------------ real data


@pytest.mark.skipif(not BCCD.is_dir(), reason=f"needs {BCCD}")
def test_blood_cells_train_by_one_format_and_are_evaluated_by_another(capsys):
    config = ["--config", str(ROOT / "configs" / "detection_bccd.yaml"), "--output", "run"]
    small = [
        "recipe.width=32", "recipe.short_sides=[64]", "trainer.threads=1", "trainer.epochs=1",
        "schedule.warmup_epochs=0.2",
    ]  # fmt: skip
    roots = [f"data.train.root={BCCD}", f"data.val.root={BCCD}"]
    assert main([RECIPE, *config, *small, *roots, "logging.tensorboard=false"]) == 0
    capsys.readouterr()
    voc, coco = [], []
    for found, name in ((voc, "voc"), (coco, "coco")):
        assert evaluate(["run", "--json", f"data.val.name={name}", f"data.val.root={BCCD}"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert voc[0] == coco[0]
    assert {"val/ap/WBC", "val/ap/RBC", "val/ap/Platelets"} <= set(voc[0])


# ------------------------------------------------------------------------------------------------------ bad input


def coco(folder, change=lambda content: None):
    folder.mkdir()
    content = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 48} for number in range(4)],
        "annotations": [{"id": 7, "image_id": 2, "category_id": 5, "bbox": [8, 8, 20, 20], "iscrowd": 0}],
        "categories": [{"id": 5, "name": "cat"}],
    }
    change(content)
    (folder / "train.json").write_text(json.dumps(content))
    for number in range(4):
        Image.fromarray(np.full((48, 64, 3), 99, np.uint8)).save(folder / f"{number}.png")
    return folder


def train_on(folder, *words):
    sources = [f"data.train={{name: coco, root: {folder}}}", f"data.val={{name: coco, root: {folder}/train.json}}"]
    return main([RECIPE, *TINY, "recipe.classes=[cat]", *sources, "--output", "run", *words])


def test_good_data_trains(tmp_path):
    assert train_on(coco(tmp_path / "data")) == 0


@pytest.mark.parametrize(
    ("change", "words", "names"),
    [
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), [], ["train.json", "annotation 7"]),
        (lambda c: c["annotations"][0].update(category_id=6), [], ["train.json", "annotation 7", "category 6"]),
        (lambda c: c["images"][1].update(width=65), [], ["1.png", "64 x 48", "65 x 48"]),
        (lambda c: c["images"][1].update(file_name="gone.png"), [], ["gone.png"]),
        (lambda c: None, ["recipe.classes=[dog]"], ["annotation 7", "'cat'", "recipe.classes"]),
        (lambda c: c.update(images=[], annotations=[]), [], ["train", "no pictures"]),
    ],
    ids=["box", "category", "size", "picture", "class", "empty"],
)
def test_bad_data_ends_the_run_named(tmp_path, capsys, change, words, names):
    assert train_on(coco(tmp_path / "data", change), *words) in (1, 2)
    error = capsys.readouterr().err
    assert all(name in error for name in names), error
    assert "Traceback" not in error


def test_a_cut_picture_is_named(tmp_path, capsys):
    file = coco(tmp_path / "data") / "3.png"
    file.write_bytes(file.read_bytes()[:60])
    assert train_on(file.parent) == 1
    error = capsys.readouterr().err
    assert str(file) in error
    assert "Traceback" not in error


def test_settings_that_do_not_fit_are_refused(tmp_path, capsys):
    assert main([RECIPE, *TINY, "recipe.classes=[cat]", "--output", "run"]) == 2
    assert "disc, box, triangle, cross" in capsys.readouterr().err
    assert main([RECIPE, *TINY, "recipe.pretrained=nowhere", "--output", "run"]) == 2
    assert "python -m ignition.run recipes/detection.py" in capsys.readouterr().err
    assert main([RECIPE, *TINY, "recipe.pretrained_backbone=r50.pth", "--output", "run"]) == 2
    assert "is for 'detr_r50'" in capsys.readouterr().err


def test_the_page_names_every_data_set_and_config():
    page = (ROOT / "docs" / "detection.md").read_text()
    assert [name for name in KNOWN if f"| `{name}` | {KNOWN[name].expected} |" not in page] == []
    assert [config.name for config in CONFIGS if f"`{config.name}`" not in page] == []

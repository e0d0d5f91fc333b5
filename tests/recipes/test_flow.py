"""The flow recipe as a whole: it learns without labels, draws, goes on to real pairs, and says what is wrong."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from PIL import Image
from torch.nn.parallel import DistributedDataParallel

from ignition.config import load_config
from ignition.evaluate import main as evaluate
from ignition.recipe import Progress, load_recipe
from ignition.run import main
from recipes.parts.flow.layouts import LAYOUTS
from recipes.parts.flow.procedural_cartoons import ProceduralCartoons
from tests.recipes.runs import rows, values

ROOT = Path(__file__).resolve().parents[2]
PAIR = ROOT / "../shared/data/flow/rubberwhale"
RECIPE = str(ROOT / "recipes" / "flow.py")
CONFIGS = sorted((ROOT / "configs").glob("flow*.yaml"))
TERMS = {"photometric", "census", "smooth", "boundary", "consistency", "segment", "teacher"}
TINY = [
    "recipe.height=32", "recipe.width=48", "recipe.train_samples=16", "recipe.val_samples=4", "data.batch_size=4",
    "trainer.threads=1", "logging.every=2", "logging.tensorboard=false",
]  # fmt: skip


def settings_of(name):
    return load_config(ROOT / "configs" / f"{name}.yaml", recipe_settings=load_recipe(RECIPE).Settings).to_dict()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_valid_and_says_what_it_tests(config):
    loaded = load_config(config, task="flow", recipe_settings=load_recipe(RECIPE).Settings)
    assert loaded.hypothesis
    assert set(loaded.loss) == TERMS


def test_the_configs_are_there():
    assert {path.stem for path in CONFIGS} == {"flow", "flow_animerun", "flow_before", "flow_pair"}


def test_before_differs_by_the_factors_of_the_experiment():
    before, after = settings_of("flow_before"), settings_of("flow")

    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"hypothesis", "recipe", "loss", "optimizer", "schedule"}
    assert before["optimizer"]["lr"] / after["optimizer"]["lr"] == pytest.approx(1.6)
    assert before["loss"]["smooth"] / after["loss"]["smooth"] == pytest.approx(0.2)
    assert before["loss"]["consistency"] / after["loss"]["consistency"] == pytest.approx(0.5)
    assert (before["recipe"]["alpha_ssim"], after["recipe"]["alpha_ssim"]) == (0.2, 0.85)
    assert before["recipe"]["grayscale"] / after["recipe"]["grayscale"] == pytest.approx(0.5)
    way_up = after["schedule"]["warmup_fraction"] * after["trainer"]["epochs"]
    assert before["schedule"]["name"] == "cosine" and before["schedule"]["warmup_epochs"] == pytest.approx(
        way_up / 2, rel=1e-3
    )
    changed = {key for key in before["recipe"] if before["recipe"][key] != after["recipe"][key]}
    assert changed == {"alpha_ssim", "jitter", "hue", "grayscale"}


def test_the_real_size_has_the_published_numbers():
    real = settings_of("flow_animerun")
    assert real["optimizer"] | {"name": "AdamW", "lr": 1.25e-4, "weight_decay": 1e-4} == real["optimizer"]
    assert (real["recipe"]["height"], real["recipe"]["width"], real["recipe"]["frames"]) == (368, 768, 5)
    assert real["recipe"]["max_stride"] == 2
    assert (real["data"]["batch_size"], real["trainer"]["epochs"], real["clip"]["max_norm"]) == (4, 120, 1.0)
    assert (real["loss"]["smooth"], real["loss"]["consistency"]) == (0.5, 0.1)
    assert real["schedule"]["start_factor"] == 1 / 25


@pytest.mark.parametrize(("model", "size"), [("small", (40, 50)), ("raft_small", (32, 48))])
def test_every_network_passes_the_check(model, size, capsys):
    words = [
        f"recipe.model={model}", f"recipe.height={size[0]}", f"recipe.width={size[1]}", "recipe.updates=2",
        "data.batch_size=2", "recipe.val_samples=1", "--check",
    ]  # fmt: skip
    assert main([RECIPE, *TINY, *words]) == 0
    out = capsys.readouterr().out
    assert "every trained parameter received a gradient" in out
    assert not Path("runs").exists()


@pytest.mark.parametrize("kind", ["affine", "homography"])
def test_all_terms_are_finite_and_train_on_clips_of_three_frames(kind):
    recipe_class = load_recipe(RECIPE)
    recipe = recipe_class(recipe_class.Settings(frames=3, occlusion_from=0, segment_model=kind), None)
    data = ProceduralCartoons(2, size=(32, 48), frames=3, fixed=True)
    batch = {name: torch.stack([data[index][name] for index in range(2)]) for name in data[0]}
    model = recipe.model()

    terms = recipe.losses(model, batch, Progress(weights=dict.fromkeys(TERMS, 1.0)))

    assert set(terms) == TERMS
    assert all(term.isfinite() and term.ndim == 0 and term > 0 for term in terms.values())
    sum(terms.values()).backward()
    outputs = recipe.predict(model.eval(), batch)
    assert outputs["forward"].shape == outputs["backward"].shape == batch["flow"].shape == (2, 2, 2, 32, 48)


def test_a_term_without_weight_is_not_computed_and_the_evaluation_has_the_same_terms():
    recipe_class = load_recipe(RECIPE)
    recipe = recipe_class(recipe_class.Settings(), None)
    data = ProceduralCartoons(2, size=(32, 48), fixed=True)
    batch = {name: torch.stack([data[index][name] for index in range(2)]) for name in data[0]}
    model, progress = recipe.model().eval(), Progress(weights={**dict.fromkeys(TERMS, 0.0), "census": 1.0})

    trained = recipe.losses(model, batch, progress)
    evaluated = recipe.losses_from(recipe.predict(model, batch), batch, progress)

    assert {name for name, term in trained.items() if term != 0} == {"census"}
    assert evaluated["census"].item() == pytest.approx(trained["census"].item(), rel=1e-3)


def test_the_teacher_is_the_average_of_the_weights_where_one_is_kept():
    recipe_class = load_recipe(RECIPE)
    recipe = recipe_class(recipe_class.Settings(), None)
    seen = []

    class Constant(torch.nn.Module):
        def forward(self, first, second):
            seen.append(len(first))
            return [torch.ones(len(first), 2, *first.shape[2:])]

    class Training:
        class ema:
            module = Constant()

    recipe.handlers(Training())
    data = ProceduralCartoons(2, size=(32, 48), fixed=True)
    batch = {name: torch.stack([data[index][name] for index in range(2)]) for name in data[0]}
    weights = {**dict.fromkeys(TERMS, 0.0), "smooth": 1.0, "teacher": 1.0}

    recipe.losses(recipe.model(), batch, Progress(weights=weights))

    assert seen == [4]  # both ways of two pairs, once


@pytest.mark.parametrize("kept", [False, True])
def test_two_processes_learn_from_the_second_pass_what_one_would(tmp_path, kept):
    multiprocessing.start_processes(second_pass_on_rank, (str(tmp_path), kept), nprocs=2, start_method="fork")
    (one, alone), (two, other) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))

    assert all(torch.equal(one[name], two[name]) for name in one)  # though the network was called twice in a step
    assert all(torch.allclose(one[name], (alone[name] + other[name]) / 2, rtol=1e-3, atol=1e-6) for name in one)


def second_pass_on_rank(rank, folder, kept):
    """Gradients of a step with a second pass, taught by averaged weights or by the network's own flow."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", world_size=2, rank=rank)
    recipe_class = load_recipe(RECIPE)
    recipe = recipe_class(recipe_class.Settings(), None)
    torch.manual_seed(0)
    model = recipe.model()
    recipe.teacher = copy.deepcopy(model) if kept else None
    data = ProceduralCartoons(4, size=(32, 48), fixed=True)
    batch = {name: torch.stack([data[index][name] for index in (rank, rank + 2)]) for name in data[0]}
    weights, found = {**dict.fromkeys(TERMS, 0.0), "census": 1.0, "teacher": 1.0}, []
    for network in (DistributedDataParallel(model), model):
        model.zero_grad()
        torch.manual_seed(1)
        sum(recipe.losses(network, batch, Progress(weights=weights)).values()).backward()
        found.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_signals_tell_no_flow_from_the_true_one():
    recipe_class = load_recipe(RECIPE)
    recipe = recipe_class(recipe_class.Settings(), None)
    data = ProceduralCartoons(8, size=(48, 64), fixed=True)
    batch = {name: torch.stack([data[index][name] for index in range(8)]) for name in data[0]}
    none, true = torch.zeros_like(batch["flow"]), batch["flow"]

    collapsed = recipe.signals(batch, {"forward": none})
    right = recipe.signals(batch, {"forward": true})

    assert collapsed["mean_flow"] == 0 and collapsed["flow_ratio"] == 0 and abs(collapsed["photometric_gain"]) < 1e-5
    assert right["mean_flow"] > 1 and right["flow_ratio"].item() == pytest.approx(1) and right["photometric_gain"] > 0.5
    batch["valid"] = torch.zeros_like(batch["valid"])
    assert set(recipe.signals(batch, {"forward": true})) == {"mean_flow", "photometric_gain"}


def test_a_short_training_explains_the_pictures_by_a_flow_and_draws(capsys):
    words = [
        "recipe.height=48", "recipe.width=64", "recipe.train_samples=80", "recipe.val_samples=8", "data.batch_size=2",
        "trainer.epochs=2", "trainer.evaluate_first=true", "optimizer.lr=1e-3", "loss.smooth=0.5", "loss.census=1",
        "loss.photometric=0",
    ]  # fmt: skip
    assert main([RECIPE, *TINY, *words]) == 0
    run = "runs/flow/flow-001"
    errors, gains = values(run, "val/epe"), values(run, "val/photometric_gain")
    assert len(errors) == 3
    (trivial,) = values(run, "baseline/epe")
    assert trivial == pytest.approx(values(run, "val/zero_epe")[-1])
    assert errors[-1] < 0.9 * errors[0] < 0.4 * trivial  # X
    assert gains[-1] > gains[0] > 0.4
    assert values(run, "val/mean_flow")[-1] == pytest.approx(values(run, "val/mean_flow_true")[-1], rel=0.15)
    row = rows(run)[-1]
    wanted = {"epe", "fl_all", "px1", "px3", "px5", "mean_flow", "epe_occluded", "epe_visible", "epe_line", "epe_flat"}
    assert {f"val/{name}" for name in wanted} | {"val/zero_epe_line", "val/signal/flow_ratio"} <= set(row)
    pictures = sorted(Path(run, "pictures").iterdir())
    assert len(pictures) == 3 * 4
    assert Image.open(pictures[0]).width > 7 * 48
    assert "trivial" in capsys.readouterr().out


@pytest.mark.skipif(not PAIR.is_dir(), reason=f"needs {PAIR}")
def test_weights_are_evaluated_on_a_real_pair_of_any_size(capsys):
    assert main([RECIPE, *TINY, "trainer.epochs=1"]) == 0
    capsys.readouterr()
    other = ["data.val.name=middlebury", f"data.val.root={PAIR}"]
    assert evaluate(["runs/flow/flow-001", "--json", "--pictures", "drawn", *other]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["baseline/epe"] == pytest.approx(1.256, abs=5e-4)
    assert found["val/epe"] > 0
    assert os.listdir("drawn") == ["flow-1.png"]


def pair(folder, *, sizes=((64, 96), (64, 96))):
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name, size in zip(("frame1.png", "frame2.png"), sizes):
        Image.fromarray(draw.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / name)
    return folder


def test_a_pair_without_truth_is_trained_on_from_weights(tmp_path, capsys):
    assert main([RECIPE, *TINY, "trainer.epochs=1"]) == 0
    folder = pair(tmp_path / "two")
    config = str(ROOT / "configs" / "flow_pair.yaml")
    words = [f"data.train.root={folder}", f"data.val.root={folder}", "trainer.epochs=1"]
    assert main([RECIPE, "--config", config, *TINY, *words]) == 0
    run = "runs/flow/flow_pair-001"
    assert len(values(run, "val/photometric_gain")) == 2  # before the first step, and after the epoch
    assert not values(run, "val/epe")
    assert Path(run, "checkpoints", "best.pt").is_file()


def test_a_pair_without_weights_says_how_to_get_them(tmp_path, capsys):
    folder = pair(tmp_path / "two")
    words = [f"data.train.root={folder}", f"data.val.root={folder}"]
    assert main([RECIPE, "--config", str(ROOT / "configs" / "flow_pair.yaml"), *TINY, *words]) == 2
    error = capsys.readouterr().err
    assert "there is no runs/flow/flow-001" in error
    assert "python -m ignition.run recipes/flow.py" in error


def test_torchvisions_own_weights_fit(tmp_path, capsys):
    recipe_class = load_recipe(RECIPE)
    other = recipe_class(recipe_class.Settings(model="raft_small"), None).model()
    torch.save(other.network.state_dict(), tmp_path / "raft_small.pth")
    recipe = recipe_class(recipe_class.Settings(model="raft_small", pretrained=str(tmp_path / "raft_small.pth")), None)
    model = recipe.model()

    recipe.initialize(model)

    assert all(torch.equal(one, two) for one, two in zip(model.state_dict().values(), other.state_dict().values()))


# ------------------------------------------------------------------------------------------------------ bad input


def train_on(folder, *words):
    return main([RECIPE, *TINY, f"data.train={{name: middlebury, root: {folder}}}", "trainer.epochs=1", *words])


def test_a_missing_folder_is_named(tmp_path, capsys):
    assert train_on(tmp_path / "nowhere") == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "nowhere") in error
    assert "Traceback" not in error


def test_frames_of_two_sizes_end_the_run_named(tmp_path, capsys):
    assert train_on(pair(tmp_path / "two", sizes=((64, 96), (64, 90)))) in (1, 2)
    error = capsys.readouterr().err
    assert all(name in error for name in ("frame1.png", "frame2.png", "96x64", "90x64")), error
    assert "Traceback" not in error


def test_a_truncated_frame_ends_the_run_named(tmp_path, capsys):
    file = pair(tmp_path / "two") / "frame2.png"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert train_on(file.parent) in (1, 2)
    error = capsys.readouterr().err
    assert "frame2.png" in error
    assert "Traceback" not in error


def test_an_unknown_data_set_names_the_known_ones(capsys):
    assert main([RECIPE, *TINY, "data.train={name: sintle, root: .}", "--output", "run"]) == 2
    assert "sintel" in capsys.readouterr().err


def test_a_data_set_without_its_folder_says_which_setting_is_missing(capsys):
    assert main([RECIPE, *TINY, "data.train.name=sintel", "--output", "run"]) == 2
    assert "data.train.root=FOLDER" in capsys.readouterr().err


def test_the_page_names_every_data_set_and_config():
    page = (ROOT / "docs" / "flow.md").read_text()
    assert [name for name in LAYOUTS if f"| `{name}` | {LAYOUTS[name].expected} |" not in page] == []
    assert [config.name for config in CONFIGS if f"`{config.name}`" not in page] == []

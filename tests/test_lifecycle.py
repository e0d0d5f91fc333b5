"""The life of a run: trained, stopped, killed, resumed, refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ignition.run import main

ROOT = Path(__file__).resolve().parents[1]

RECIPE = '''
"""A tiny regression with everything that could make a resume go wrong: dropout, noise in samples, augmentation."""

import os
import signal
import time

import torch
from ignite.engine import Events
from ignite.metrics import MeanAbsoluteError
from torch import nn
from torch.utils.data import Dataset

from ignition.handlers import Consensus
from ignition.recipe import Field, Section, Splits


class Vectors(Dataset):
    def __init__(self, count, shift, broken=-1, nan=-1):
        self.x = torch.randn(count, 4, generator=torch.Generator().manual_seed(shift))
        self.broken = broken
        if nan >= 0:
            self.x[nan] = float("nan")

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        if index == self.broken:
            raise OSError(f"/data/{index}.png: truncated")
        x = self.x[index]
        return {"x": x + 0.01 * torch.randn(4), "y": x.sum(0, keepdim=True)}


class Noise(nn.Module):
    def forward(self, batch):
        return {**batch, "x": batch["x"] + 0.01 * torch.randn_like(batch["x"])}


class Recipe:
    class Settings(Section):
        slow: float = 0.0
        broken: int = -1
        explode_at: int = 0
        signal_in: str = ""
        roll_back_at: int = 0
        roll_backs: int = 1
        corrupt_at: int = 0
        rate_at: int = 0
        burst_from: int = 0
        spike_at: int = 0
        nan_sample: int = -1

    def __init__(self, settings, data):
        self.settings, self.data = settings, data

    def datasets(self):
        test = (lambda: Vectors(5, 3)) if self.data.test else None
        train = Vectors(22, 1, self.settings.broken, self.settings.nan_sample)
        return Splits(train=train, val=lambda: Vectors(7, 2), test=test)

    def model(self):
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))

    def augmentation(self):
        return Noise()

    def losses(self, model, batch, progress):
        time.sleep(self.settings.slow)
        loss = nn.functional.mse_loss(model(batch["x"]), batch["y"])
        if self.settings.explode_at and progress.iteration >= self.settings.explode_at:
            loss = loss * float("nan")
        if self.settings.spike_at and model.training and progress.iteration == self.settings.spike_at:
            loss = loss * 1e4
        if not self.settings.burst_from:
            return {"square": loss}
        burst = model.training and progress.iteration >= self.settings.burst_from
        return {"square": loss, "spread": model(batch["x"]).square().mean() * (float("inf") if burst else 0.01)}

    def predict(self, model, batch):
        if self.settings.signal_in == "test" and len(batch["x"]) == 5:
            signal.raise_signal(signal.SIGTERM)
        return model(batch["x"])

    def metrics(self):
        return {"mae": MeanAbsoluteError(output_transform=lambda output: (output[0], output[1]["y"]))}

    def baseline(self, splits):
        def zero(model, batch):
            if self.settings.signal_in == "baseline":
                signal.raise_signal(signal.SIGTERM)
            return torch.zeros_like(batch["y"])

        return zero

    def handlers(self, training):
        if self.settings.corrupt_at:
            @training.trainer.on(Events.ITERATION_STARTED(once=self.settings.corrupt_at))
            @torch.no_grad()
            def corrupt(engine):
                for parameter in training.model.parameters():
                    parameter.mul_(20.0)

        if self.settings.rate_at:
            def jump(schedule):
                return lambda step: schedule(step) * (1000.0 if step >= self.settings.rate_at else 1.0)

            training.learning_rate.schedules = [jump(schedule) for schedule in training.learning_rate.schedules]

        if self.settings.roll_back_at:
            left = [self.settings.roll_backs]

            @training.trainer.on(Events.ITERATION_COMPLETED(once=self.settings.roll_back_at))
            def ask(engine):
                if left[0]:
                    left[0] -= 1
                    Consensus.of(engine).ask("rollback", "it looked odd")

    def pictures(self, batch, outputs):
        return {"noise": torch.rand(3, 4, 4)}

    def signals(self, batch, outputs):
        return {"spread": outputs.std()}
'''
COMMON = ["data.batch_size=4", "optimizer.lr=0.01", "trainer.threads=1", "logging.every=3", "logging.tensorboard=false"]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    path = tmp_path / "tiny_vectors.py"
    path.write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("tiny_vectors", None)
    yield path
    sys.modules.pop("tiny_vectors", None)


def command(recipe, *words, processes=0):
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes else []
    return [sys.executable, *launcher, "-m", "ignition.run", str(recipe), *COMMON, *words]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def rows(run):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def status(run):
    return json.loads((Path(run) / "status.json").read_text())


def weights(run, name="last.pt"):
    return torch.load(Path(run) / "checkpoints" / name, weights_only=True)["model"]


def same_weights(one, two):
    return all(torch.equal(one[name], two[name]) for name in one) and one.keys() == two.keys()


def numbers(run):
    """A run's rows without what may differ between two runs: the time of day, and how fast it was."""
    alike = [row for row in rows(run) if "train/step_ms_p50" not in row and "train/memory_gib" not in row]
    return [{key: value for key, value in row.items() if key != "time"} for row in alike]


def test_a_run_leaves_everything_in_its_folder(recipe, capsys):
    assert main([str(recipe), *COMMON, "trainer.epochs=2"]) == 0
    run = Path("runs/tiny_vectors/tiny_vectors-001")
    assert {"config.yaml", "recipe.py", "environment.json", "metrics.jsonl", "status.json"} <= set(os.listdir(run))
    assert {"last.pt", "best.pt"} <= set(os.listdir(run / "checkpoints"))
    assert len(os.listdir(run / "pictures")) == 2 * 2  # two batches at each of two evaluations
    written = rows(run)
    batches = [row for row in written if "train/batch_loss" in row]
    assert [row["iteration"] for row in batches] == list(range(1, 13))
    assert {"train/loss/square", "train/learning_rate", "train/gradient_norm", "train/epoch"} <= batches[0].keys()
    evaluations = [row for row in written if "val/mae" in row]
    assert [row["epoch"] for row in evaluations] == [1, 2]
    assert {"val/loss", "val/loss/square", "val/signal/spread"} <= evaluations[0].keys()
    assert sum("baseline/mae" in row for row in written) == 1
    assert status(run)["status"] == "finished"
    out = capsys.readouterr().out
    assert "trivial" in out
    assert str(run) in out


SETTINGS = {
    "plain": ["checkpoint.every_iterations=1"],
    "accumulation": ["trainer.accumulate=4", "checkpoint.every_iterations=1"],
    "workers": ["data.workers=2", "checkpoint.every_iterations=2"],
    "one_cycle": ["schedule.name=one_cycle", "checkpoint.every_iterations=1"],
    "plateau": ["schedule.name=plateau", "schedule.patience=0", "schedule.threshold=0.5",
                "early_stop={patience: 3, metric: val/mae}", "checkpoint.every_iterations=1"],
    "everything": ["ema={decay: 0.9}", "clip.kind=zclip", "clip.warmup=3", "logging.shadow_clipping=[agc, autoclip]",
                   "schedule={name: cosine, warmup_epochs: 1}", "checkpoint={every_iterations: 1, keep_best: 2, "
                   "metric: val/ema/mae, asynchronous: true, safetensors: true}", "trainer.max_hours=9"],
}  # fmt: skip


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_run_killed_in_mid_epoch_and_resumed_is_the_run_that_was_not(recipe, kind):
    words = [*SETTINGS[kind], "trainer.epochs=3"]
    assert main([str(recipe), *COMMON, *words, "--output", "straight"]) == 0
    process = subprocess.Popen(
        command(recipe, *words, "recipe.slow=0.15", "--output", "killed"), env=environment(), stderr=subprocess.DEVNULL
    )
    until(lambda: len(rows("killed")) >= 10, process)  # rows come down every 3 iterations: in the second epoch
    process.kill()
    process.wait()
    assert status("killed")["status"] == "running"
    assert main([str(recipe), "--resume", "killed", "recipe.slow=0"]) == 0
    assert same_weights(weights("straight"), weights("killed"))
    assert same_weights(weights("straight", "best.pt"), weights("killed", "best.pt"))
    assert numbers("straight") == numbers("killed")
    assert status("killed")["best"] == status("straight")["best"]


def until(condition, process, seconds=60):
    """Wait for ``condition`` while ``process`` lives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return
        except OSError:
            pass
        assert process.poll() is None, "the run ended before it could be disturbed"
        time.sleep(0.02)
    raise AssertionError("waited too long")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_with_everything_saved(recipe, number, code):
    assert main([str(recipe), *COMMON, "trainer.epochs=3", "--output", "straight"]) == 0
    process = subprocess.Popen(command(recipe, "trainer.epochs=3", "recipe.slow=0.15", "--output", "asked"),
                               env=environment(), stderr=subprocess.PIPE, text=True)  # fmt: skip
    until(lambda: len(rows("asked")) >= 4, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert status("asked")["status"] == "preempted"
    assert status("asked")["iteration"] == rows("asked")[-1]["iteration"]
    assert main([str(recipe), "--resume", "asked", "recipe.slow=0"]) == 0
    assert same_weights(weights("straight"), weights("asked"))
    assert numbers("straight") == numbers("asked")


def test_a_finished_run_resumed_does_nothing_and_goes_on_when_asked_for_more(recipe, capsys):
    assert main([str(recipe), *COMMON, "trainer.epochs=1", "--output", "done"]) == 0
    files = (path for path in Path("done").rglob("*") if path.is_file() and path.name != ".lock")  # who had it last
    before = {path: path.read_bytes() for path in files}
    assert main([str(recipe), "--resume", "done"]) == 0
    assert "already finished" in capsys.readouterr().err
    changed = [path.name for path, content in before.items() if path.read_bytes() != content]
    assert changed == []
    assert main([str(recipe), "--resume", "done", "trainer.epochs=2"]) == 0
    assert [row["epoch"] for row in rows("done") if "val/mae" in row] == [1, 2]


def test_a_run_that_stopped_early_stays_stopped_until_something_is_changed(recipe, capsys):
    words = ["trainer.epochs=9", "early_stop={patience: 1, min_delta: 100}"]
    assert main([str(recipe), *COMMON, *words, "--output", "run"]) == 0
    assert status("run")["status"] == "stopped"
    assert status("run")["epoch"] == 2
    written = numbers("run")
    assert main([str(recipe), "--resume", "run"]) == 0
    assert "already stopped: val/loss has not improved" in capsys.readouterr().err
    assert numbers("run") == written
    assert main([str(recipe), "--resume", "run", "early_stop=null", "trainer.epochs=4"]) == 0
    assert (status("run")["status"], status("run")["epoch"]) == ("finished", 4)
    assert numbers("run")[: len(written)] == written


def test_test_data_is_evaluated_once_with_the_best_weights(recipe, capsys):
    words = ["trainer.epochs=4", "optimizer.lr=0.5", "data.test={name: held_out}", "checkpoint.metric=val/mae"]
    assert main([str(recipe), *COMMON, *words, "--output", "run"]) == 0
    (tested,) = [row["test/mae"] for row in rows("run") if "test/mae" in row]
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))
    best = weights("run", "best.pt")
    hidden = x @ best["0.weight"].T + best["0.bias"]
    by_hand = (hidden @ best["2.weight"].T + best["2.bias"] - x.sum(1, keepdim=True)).abs().mean()
    assert tested == pytest.approx(float(by_hand), abs=0.05)  # samples carry noise of 0.01
    assert "test" in capsys.readouterr().out


def test_resume_starts_a_run_where_there_is_none_yet(recipe):
    assert main([str(recipe), *COMMON, "trainer.epochs=1", "--resume", "fresh"]) == 0
    assert status("fresh")["status"] == "finished"
    assert main([str(recipe), *COMMON, "trainer.epochs=1", "--output", "fresh"]) == 2


def test_a_step_that_is_not_finite_is_left_out_and_too_many_are_a_divergence(recipe, capsys):
    words = [str(recipe), *COMMON, "trainer.epochs=2", "recipe.explode_at=7", "stability.max_skips=3"]
    assert main([*words, "--output", "bad"]) == 3
    error = capsys.readouterr().err
    assert "diverged: loss and gradient not finite at iteration 10" in error
    assert "Last good checkpoint: " in error and "iteration-00000006.pt" in error
    assert "Traceback" not in error
    assert status("bad")["status"] == "diverged"
    assert all(torch.isfinite(value).all() for value in weights("bad").values())
    losses = [row["train/batch_loss"] for row in rows("bad") if "train/batch_loss" in row]
    assert losses[6:] == ["NaN"] * len(losses[6:])
    assert len(losses[6:]) >= 3


def test_a_bad_sample_ends_the_run_named_and_nothing_is_lost(recipe, capsys):
    words = [str(recipe), *COMMON, "trainer.epochs=2", "--output", "bad"]
    assert main([*words, "recipe.broken=5"]) == 1
    error = capsys.readouterr().err
    assert "sample 5 of the train data: /data/5.png: truncated" in error
    assert "Traceback" not in error
    assert status("bad")["status"] == "failed"
    assert "sample 5" in status("bad")["reason"]
    assert main([str(recipe), "--resume", "bad", "recipe.broken=-1"]) == 0
    assert main([str(recipe), *COMMON, "trainer.epochs=2", "--output", "good"]) == 0
    assert same_weights(weights("good"), weights("bad"))


def test_other_data_under_a_resumed_run_is_refused(recipe, capsys):
    assert main([str(recipe), *COMMON, "trainer.epochs=1", "--output", "run"]) == 0
    assert main([str(recipe), "--resume", "run", "trainer.epochs=2", "data.batch_size=8"]) == 2
    assert "an epoch of this run has 6 batches" in capsys.readouterr().err


def test_a_compiled_model_is_saved_under_its_plain_names_and_resumes_uncompiled(recipe):
    words = [str(recipe), *COMMON, "--output", "run"]
    assert main([*words, "trainer.epochs=1", "trainer.compile=true"]) == 0
    assert set(weights("run")) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert main([str(recipe), "--resume", "run", "trainer.epochs=2", "trainer.compile=false"]) == 0
    assert status("run")["iteration"] == 12


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_a_gpu_trains_and_its_checkpoint_loads_on_the_cpu(recipe, amp):
    words = [str(recipe), *COMMON, "trainer.epochs=2", f"trainer.amp={amp}", "--output", "run"]
    assert main([*words, "trainer.device=cuda"]) == 0
    assert all(value.device.type == "cpu" for value in weights("run").values())
    assert main([str(recipe), "--resume", "run", "trainer.epochs=3", "trainer.device=cpu", "trainer.amp=off"]) == 0
    assert status("run")["status"] == "finished"


def test_two_processes_train_one_run_and_see_the_samples_of_one(recipe):
    words = ["trainer.epochs=2", "recipe.slow=0"]
    assert main([str(recipe), *COMMON, *words, "--output", "one"]) == 0
    done = subprocess.run(command(recipe, *words, "--output", "two", processes=2), env=environment(),
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder") == 1
    one, two = ([row["val/mae"] for row in rows(run) if "val/mae" in row] for run in ("one", "two"))
    # other processes draw other noise and dropout, so weights differ a little; the data is the same
    assert two == pytest.approx(one, rel=0.2)
    baselines = [[row["baseline/mae"] for row in rows(run) if "baseline/mae" in row] for run in ("one", "two")]
    assert baselines[1] == pytest.approx(baselines[0], rel=1e-6)  # every validation sample counted once
    assert status("two")["world_size"] == 2
    assert [row["iteration"] for row in rows("two") if "train/batch_loss" in row] == list(range(1, 13))


def test_a_signal_before_the_first_step_ends_the_run_and_it_starts_anew(recipe):
    words = [str(recipe), *COMMON, "trainer.epochs=2"]
    assert main([*words, "--output", "asked", "recipe.signal_in=baseline"]) == 143
    assert (status("asked")["status"], status("asked")["reason"]) == ("preempted", "asked to stop by SIGTERM")
    assert not Path("asked/metrics.jsonl").exists()  # half of a baseline is none
    assert main([str(recipe), "--resume", "asked", "recipe.signal_in=''"]) == 0
    assert main([*words, "--output", "straight"]) == 0
    assert numbers("asked") == numbers("straight")
    assert same_weights(weights("straight"), weights("asked"))


@pytest.mark.parametrize("early", ["null", "{patience: 1, min_delta: 100}"])
def test_a_signal_after_the_last_step_leaves_the_test_for_the_resume(recipe, early):
    words = [str(recipe), *COMMON, "trainer.epochs=3", "data.test={name: held_out}", "data.eval_batch_size=5",
             f"early_stop={early}"]  # fmt: skip
    assert main([*words, "--output", "straight"]) == 0
    recipe.write_text(recipe.read_text().replace('signal_in: str = ""', 'signal_in: str = "test"'))
    sys.modules.pop("tiny_vectors", None)
    assert main([*words, "--output", "asked"]) == 143
    assert status("asked")["status"] == "preempted"
    assert not any("test/mae" in row for row in rows("asked"))
    recipe.write_text(recipe.read_text().replace('signal_in: str = "test"', 'signal_in: str = ""'))
    sys.modules.pop("tiny_vectors", None)
    config = Path("asked/config.yaml")
    config.write_text(config.read_text().replace("signal_in: test", "signal_in: ''"))
    assert main([str(recipe), "--resume", "asked"]) == 0
    assert numbers("asked") == numbers("straight")
    assert {key: status("asked")[key] for key in ("status", "reason")} == {
        key: status("straight")[key] for key in ("status", "reason")
    }


def test_a_run_taken_back_goes_on_from_its_last_checkpoint_as_if_it_had_not_left(recipe, caplog):
    words = [str(recipe), *COMMON, "trainer.epochs=2", "checkpoint.every_iterations=4", "stability.watch=false"]
    assert main([*words, "--output", "straight"]) == 0
    assert main([*words, "--output", "back", "recipe.roll_back_at=11"]) == 0
    assert "iteration 11: back to iteration 8, since it looked odd" in caplog.text
    assert numbers("back") == numbers("straight")
    assert same_weights(weights("straight"), weights("back"))


def test_a_run_that_is_taken_back_again_and_again_has_diverged(recipe, capsys):
    words = [str(recipe), *COMMON, "trainer.epochs=2", "checkpoint.every_iterations=4", "stability.watch=false"]
    assert main([*words, "--output", "back", "recipe.roll_back_at=11", "recipe.roll_backs=9"]) == 3
    assert "it looked odd (iteration 11), again after 3 returns to iteration 8" in capsys.readouterr().err
    assert status("back")["status"] == "diverged"


def test_nothing_to_go_back_to_is_a_divergence(recipe, capsys):
    words = [str(recipe), *COMMON, "trainer.epochs=2", "recipe.roll_back_at=3", "stability.watch=false"]
    assert main([*words, "--output", "back"]) == 3
    assert "it looked odd (iteration 3), and there is no checkpoint to go back to" in capsys.readouterr().err
    assert status("back")["status"] == "diverged"


def test_a_run_goes_on_with_the_optimizer_s_settings_that_it_is_given(recipe):
    words = [str(recipe), *COMMON, "trainer.epochs=1", "optimizer.weight_decay=0.1"]
    assert main([*words, "--output", "run"]) == 0
    assert (
        main([str(recipe), "--resume", "run", "trainer.epochs=2", "optimizer.lr=0.002", "optimizer.weight_decay=0"])
        == 0
    )
    rates = [row["train/learning_rate"] for row in rows("run") if "train/batch_loss" in row]
    assert rates == [0.01] * 6 + [0.002] * 6
    groups = torch.load("run/checkpoints/last.pt", weights_only=True)["optimizer"]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.0}


def incidents(run):
    return [json.loads(line) for line in (Path(run) / "incidents.jsonl").read_text().splitlines()]


def test_what_goes_wrong_is_told_in_the_run_folder(recipe):
    words = [str(recipe), *COMMON, "trainer.epochs=2", "recipe.explode_at=7", "stability.max_skips=99"]
    assert main([*words, "stability.on={divergence: tell}", "--output", "bad"]) == 0
    found, diverged, evaluated = incidents("bad")
    assert (evaluated["name"], evaluated["subject"]) == ("non_finite_evaluation", "val/loss")
    assert (diverged["name"], diverged["first"], diverged["iteration"], diverged["done"]) == ("divergence", 7, 11, "")
    assert (found["name"], found["subject"], found["first"]) == ("non_finite", "square", 7)
    assert found["severity"] == "critical"
    assert found["advice"]


def test_a_finding_leads_to_what_the_config_says(recipe, capsys):
    words = [str(recipe), *COMMON, "trainer.epochs=9", "recipe.explode_at=7", "stability.max_skips=99"]
    assert main([*words, "stability.on={non_finite: stop}", "--output", "bad"]) == 0
    assert status("bad")["status"] == "stopped"
    assert status("bad")["reason"].startswith("loss term 'square' is nan at iteration 7")
    assert incidents("bad")[0]["done"] == "the run ends"


def test_watching_changes_no_bit(recipe):
    words = [str(recipe), *COMMON, "trainer.epochs=3"]
    assert main([*words, "--output", "watched"]) == 0
    assert main([*words, "stability.watch=false", "--output", "alone"]) == 0
    assert same_weights(weights("watched"), weights("alone"))
    assert not Path("watched/incidents.jsonl").exists() or incidents("watched") == []


def measurements(run, kind):
    rows = [json.loads(line) for line in (Path(run) / "measurements.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in rows if kind in row]


MEASURED = """
    def model(self):
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))

    def losses(self, model, batch, progress):
        time.sleep(self.settings.slow)
        error = model(batch["x"]) - batch["y"]
        return {"square": error.square().mean(), "size": error.abs().mean()}
"""


@pytest.fixture
def measured_recipe(recipe):
    """With two loss terms, running statistics, and units that can die."""
    recipe.write_text(recipe.read_text() + MEASURED)
    return recipe


def test_measuring_at_every_step_changes_no_bit_and_its_rows_go_to_the_run_folder(measured_recipe):
    words = [str(measured_recipe), *COMMON, "trainer.epochs=3", "trainer.accumulate=2", "clip.kind=norm",
             "clip.max_norm=0.5"]  # fmt: skip
    assert main([*words, "stability.measure_every=1", "--output", "measured"]) == 0
    assert main([*words, "stability.watch=false", "--output", "alone"]) == 0
    assert main([*words, "stability.measure_every=0", "--output", "unmeasured"]) == 0
    assert same_weights(weights("measured"), weights("alone"))
    assert same_weights(weights("measured"), weights("unmeasured"))
    steps = measurements("measured", "layers")
    assert [row["iteration"] for row in steps] == list(range(2, 19, 2))
    assert list(steps[0]["layers"]) == ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]
    assert steps[0]["layers"]["4.weight"].keys() == {"weight", "gradient", "update"}
    assert steps[-1]["untouched"] == []
    assert [row["iteration"] for row in measurements("measured", "terms")] == list(range(1, 18, 2))
    assert measurements("measured", "terms")[0]["terms"]["norms"].keys() == {"square", "size"}
    assert [(row["iteration"], row["epoch"]) for row in measurements("measured", "units")] == [(6, 1), (12, 2), (18, 3)]
    assert measurements("measured", "units")[0]["units"]["2"][1] == 8
    logged = {row["iteration"]: row["train/update_ratio"] for row in rows("measured") if "train/update_ratio" in row}
    assert list(logged) == [row["iteration"] for row in steps]
    ratios = [steps[0]["layers"][name]["update"] / steps[0]["layers"][name]["weight"] for name in
              ("0.weight", "4.weight")]  # fmt: skip
    assert logged[2] == pytest.approx(sum(ratios) / 2)
    assert not Path("alone/measurements.jsonl").exists()
    assert not Path("unmeasured/measurements.jsonl").exists()


def test_two_processes_are_measured_as_one_run_and_train_on_as_if_they_were_not(measured_recipe):
    for words in (
        ["stability.measure_every=1", "--output", "measured"],
        ["stability.watch=false", "--output", "alone"],
    ):
        run = command(measured_recipe, "trainer.epochs=2", "data.batch_size=8", *words, processes=2)
        done = subprocess.run(run, env=environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    assert same_weights(weights("measured"), weights("alone"))
    for kind in ("layers", "terms"):
        assert [row["iteration"] for row in measurements("measured", kind)] == list(range(1, 7))
    assert [row["units"]["2"][1] for row in measurements("measured", "units")] == [8, 8]


def test_a_resumed_run_measures_what_the_straight_one_does(measured_recipe):
    words = ["trainer.epochs=6", "stability.measure_every=7", "checkpoint.every_iterations=1"]
    assert main([str(measured_recipe), *COMMON, *words, "--output", "straight"]) == 0
    process = subprocess.Popen(command(measured_recipe, *words, "recipe.slow=0.1", "--output", "killed"),
                               env=environment(), stderr=subprocess.DEVNULL)  # fmt: skip
    until(lambda: len(rows("killed")) >= 18, process)
    process.kill()
    process.wait()
    assert main([str(measured_recipe), "--resume", "killed", "recipe.slow=0"]) == 0
    assert [row["iteration"] for row in measurements("straight", "layers")] == [7, 14, 21, 28, 35]
    for kind in ("layers", "terms", "units"):
        assert measurements("killed", kind) == measurements("straight", kind) != []
    assert numbers("straight") == numbers("killed")


def test_a_run_that_is_not_measured_any_more_or_anew_goes_on(measured_recipe):
    words = [str(measured_recipe), *COMMON, "trainer.epochs=1", "stability.measure_every=0", "--output", "run"]
    assert main(words) == 0
    assert main([str(measured_recipe), "--resume", "run", "trainer.epochs=3", "stability.measure_every=1"]) == 0
    assert [row["iteration"] for row in measurements("run", "layers")] == list(range(7, 19))
    assert main([str(measured_recipe), "--resume", "run", "trainer.epochs=4", "stability.measure_every=0"]) == 0
    assert len(measurements("run", "layers")) == 12


def test_a_run_whose_weights_went_wrong_goes_on_from_before_and_ends_as_the_clean_one(recipe):
    words = [str(recipe), *COMMON, "trainer.epochs=40"]
    wrong = ["recipe.corrupt_at=150", "stability.snapshot_every=20"]
    assert main([*words, "--output", "clean"]) == 0
    assert main([*words, *wrong, "stability.watch=false", "--output", "left_alone"]) == 0
    assert main([*words, *wrong, "--output", "helped"]) == 0
    (found,) = [row for row in incidents("helped") if row["name"] == "divergence"]
    assert 145 <= found["first"] <= 160 and found["iteration"] <= 190
    assert found["done"] == "back to earlier weights"
    payload = torch.load("helped/checkpoints/last.pt", weights_only=True)
    assert len(payload["recovery"]["returns"]) == 1
    assert [count for _, count in payload["sampler"]["blamed"]] == [
        1,
        1,
    ]  # the batch in which it began, an epoch's last
    clean, alone, helped = (
        [row["val/mae"] for row in rows(run) if "val/mae" in row][-1] for run in ("clean", "left_alone", "helped")
    )
    assert helped < 1.1 * clean < alone
    iterations = [row["iteration"] for row in rows("helped") if "train/batch_loss" in row]
    assert iterations == list(range(1, 241))  # nothing is taken out of the log


def last(run, metric="val/mae"):
    return [row[metric] for row in rows(run) if metric in row][-1]


def test_a_run_whose_rate_jumps_goes_back_by_itself_to_weights_and_rate_from_before(recipe):
    words = [str(recipe), *COMMON, "trainer.epochs=40"]
    assert main([*words, "--output", "clean"]) == 0
    assert main([*words, "recipe.rate_at=150", "stability.watch=false", "--output", "alone"]) == 0
    assert main([*words, "recipe.rate_at=150", "--output", "helped"]) == 0
    (found,) = [row for row in incidents("helped") if row["name"] == "divergence"]
    assert 150 <= found["first"] <= 155 and found["iteration"] <= 170
    payload = torch.load("helped/checkpoints/last.pt", weights_only=True)
    ((_, snapshot, _, factor),) = payload["recovery"]["returns"]
    assert 50 <= snapshot <= 150 and factor == pytest.approx(1e-3)
    assert last("helped") < 1.15 * last("clean") < last("alone")


def test_a_term_that_explodes_is_left_out_and_so_it_is_after_a_resume(recipe):
    words = [str(recipe), *COMMON, "trainer.epochs=10"]
    assert main([*words, "recipe.burst_from=31", "--output", "run"]) == 0
    (found,) = [row for row in incidents("run") if row["name"] == "exploding_term"]
    assert (found["subject"], found["first"], found["iteration"]) == ("spread", 31, 33)
    assert found["done"] == "'spread' is left out of the loss from here on"
    assert main([str(recipe), "--resume", "run", "trainer.epochs=12"]) == 0
    assert torch.load("run/checkpoints/last.pt", weights_only=True)["guard"]["skipped"] == 3


@pytest.mark.parametrize("fault", ["recipe.burst_from=31", "recipe.rate_at=60"])
def test_two_processes_do_the_same_about_it(recipe, fault):
    words = ["trainer.epochs=20", "data.batch_size=4", fault, "--output", "two"]
    done = subprocess.run(command(recipe, *words, processes=2), env=environment(),
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    acted = [row["name"] for row in incidents("two") if row["action"] in ("leave_out", "rollback")]
    assert acted == ["exploding_term" if "burst" in fault else "divergence"]
    assert status("two")["status"] == "finished"


def test_a_sample_that_is_nan_in_every_epoch_is_left_out_from_the_third_on(recipe):
    words = [str(recipe), *COMMON, "trainer.epochs=5", "recipe.nan_sample=2"]
    assert main([*words, "--output", "run"]) == 0
    bad = [row for row in incidents("run") if row["name"] == "non_finite"]
    assert [row["iteration"] <= 6 for row in bad] == [True, False]  # once in each of the first two epochs
    assert bad[0]["done"] == "the samples of its batch are blamed"
    assert bad[1]["done"] == "the samples of its batch are blamed; sample 2 is left out from the next epoch on"
    payload = torch.load("run/checkpoints/last.pt", weights_only=True)
    assert payload["sampler"]["quarantine"] == [[2, 2]]
    assert payload["guard"]["skipped"] == 2


def test_a_spike_can_be_left_out_before_it_reaches_the_weights(recipe, capsys):
    words = [str(recipe), *COMMON, "trainer.epochs=20", "recipe.spike_at=100"]
    assert main([*words, "stability.on={loss_spike: skip, gradient_explosion: tell}", "--output", "run"]) == 0
    (found,) = [row for row in incidents("run") if row["name"] == "loss_spike" and row["first"] == 100]
    assert found["done"].startswith("its step was left out")
    assert torch.load("run/checkpoints/last.pt", weights_only=True)["outlier_steps"]["skipped"] >= 1


def test_what_the_config_asks_of_a_finding_adds_to_the_defaults(recipe):
    words = [str(recipe), *COMMON, "trainer.epochs=20", "recipe.spike_at=100", "clip.kind=norm"]
    policy = "stability.on={gradient_explosion: tighten_clip, divergence: tell, exploding_term: tell}"
    assert main([*words, policy, "--output", "run"]) == 0
    payload = torch.load("run/checkpoints/last.pt", weights_only=True)
    assert payload["clipping_norm"]["tightened"] == 0.5 and "recovery" not in payload

"""What the doctor sees in a run, and what is done about it."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from ignition.run import main
from tests.processes import environment
from tests.tiny_run import COMMON, command, incidents, numbers, rows, same_weights, status, until, weights


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

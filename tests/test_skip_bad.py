"""``data.skip_bad``: runs on folders with a corrupt picture in them, resumed, over two processes, evaluated."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ignition.data.loader import _Collate
from ignition.evaluate import main as evaluate
from ignition.run import main

ROOT = Path(__file__).resolve().parents[1]
RECIPE = str(ROOT / "recipes" / "flow.py")
TINY = [
    "recipe.height=32", "recipe.width=32", "data.batch_size=4", "trainer.threads=1", "trainer.epochs=2",
    "logging.every=2", "logging.tensorboard=false", "logging.pictures=0", "checkpoint.metric=val/loss",
    "data.skip_bad=true",
]  # fmt: skip


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """41 frames, so 40 pairs; frame 20 is corrupt in its middle, which two pairs are made of."""
    monkeypatch.chdir(tmp_path)
    draw, folder = np.random.default_rng(0), tmp_path / "frames"
    folder.mkdir()
    for number in range(41):
        picture = draw.integers(0, 255, (36, 40, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{number:04d}.png")
    stored = bytearray((folder / "0020.png").read_bytes())
    stored[len(stored) // 2 : len(stored) // 2 + 20] = bytes(20)
    (folder / "0020.png").write_bytes(stored)
    return folder


def words(folder, *more):
    return [RECIPE, *TINY, f"data.train={{name: frames, root: {folder}}}",
            f"data.val={{name: frames, root: {folder}}}", *more]  # fmt: skip


def rows(run):
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def values(run, name):
    return [row[name] for row in rows(run) if name in row]


def weights(run):
    return torch.load(Path(run, "checkpoints", "last.pt"), weights_only=True)["model"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_without_a_corrupt_picture_and_says_so(frames, capsys, caplog, workers):
    assert main(words(frames, f"data.workers={workers}", "--output", "run")) == 0

    assert values("run", "data/skipped") == [2, 2]
    assert values("run", "val/samples_read") == [38, 38] and values("run", "val/samples_skipped") == [2, 2]
    assert [row["train/epoch"] for row in rows("run") if "train/batch_loss" in row] == [1] * 10 + [2] * 10
    named = [record.message for record in caplog.records if "0020.png" in record.message]
    assert len(named) == len(set(named)) == 4  # two pairs of each split
    assert sum("of the train data" in message for message in named) == 2
    assert "could not be read, others came in their place: 2" in capsys.readouterr().out


def test_without_being_asked_to_it_stops(frames, capsys):
    assert main(words(frames, "data.skip_bad=false", "--output", "run")) == 1
    assert "0020.png" in capsys.readouterr().err


def test_a_run_that_stopped_at_a_bad_sample_goes_on_without_it(frames):
    assert main(words(frames, "data.skip_bad=false", "--output", "run")) == 1
    assert main([RECIPE, "--resume", "run", "data.skip_bad=true"]) == 0
    assert main(words(frames, "--output", "other")) == 0
    assert all(torch.equal(one, two) for one, two in zip(weights("run").values(), weights("other").values()))


def test_a_run_cut_in_the_middle_of_an_epoch_and_resumed_is_the_one_that_was_not(frames, monkeypatch):
    collate, batches = _Collate.__call__, []

    def cut(self, samples):
        batches.extend([None] * (self.split == "train"))
        if len(batches) == 16:  # the sixth of the second epoch
            signal.raise_signal(signal.SIGTERM)
        return collate(self, samples)

    with monkeypatch.context() as patched:
        patched.setattr(_Collate, "__call__", cut)
        assert main(words(frames, "--output", "cut")) == 128 + signal.SIGTERM
    assert json.loads(Path("cut/status.json").read_text())["iteration"] == 16
    assert main([RECIPE, "--resume", "cut", "data.workers=1"]) == 0
    assert main(words(frames, "--output", "straight")) == 0

    assert values("cut", "data/skipped") == values("straight", "data/skipped") == [2, 2]
    assert values("cut", "train/batch_loss") == values("straight", "train/batch_loss")
    assert all(torch.equal(one, two) for one, two in zip(weights("cut").values(), weights("straight").values()))


def two_processes(*words):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.run(
        [*launcher, "-m", "ignition.run", *words, "--output", "two"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip


def test_one_of_two_processes_that_ends_at_a_bad_sample_does_not_wait_for_the_other_to_save(frames):
    done = two_processes(*words(frames, "data.skip_bad=false", "data.val={name: procedural}", "recipe.val_samples=4"))
    assert done.returncode == 1
    assert "0020.png" in done.stderr
    assert json.loads(Path("two/status.json").read_text())["status"] in ("failed", "preempted")


@pytest.mark.parametrize("more", [(), (3, 7)])
def test_two_processes_count_together(frames, more):
    for number in more:
        (frames / f"{number:04d}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    val = ["data.val={name: procedural}", "recipe.val_samples=4"] if more else []
    done = two_processes(*words(frames, *val))
    if more:  # too many: both end alike at the end of the epoch, and the folder says why
        assert values("two", "data/skipped") == [6]
        status = json.loads(Path("two/status.json").read_text())
        assert (status["status"], status["iteration"]) == ("failed", 10) and "6 of the 40" in status["reason"]
        return
    assert done.returncode == 0, done.stderr
    assert values("two", "data/skipped") == [2, 2]
    assert values("two", "val/samples_read") == [38, 38]
    assert len(values("two", "train/batch_loss")) == 20


def test_too_many_end_the_run_named(frames, capsys):
    for number in (3, 7):
        (frames / f"{number:04d}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(words(frames, "--output", "run")) == 1
    error = capsys.readouterr().err
    assert "of the 40 samples of the" in error and "more than a tenth" in error and "Traceback" not in error
    assert json.loads(Path("run/status.json").read_text())["status"] == "failed"


def test_an_evaluation_of_other_data_says_over_how_many_it_was_made(frames, capsys):
    assert main([RECIPE, *TINY, "recipe.train_samples=8", "recipe.val_samples=4", "--output", "run"]) == 0
    capsys.readouterr()
    assert evaluate(["run", "--json", "data.val.name=frames", f"data.val.root={frames}"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["val/samples_read"], found["val/samples_skipped"]) == (38, 2)
    assert found["baseline/samples_read"] == 38


def test_the_check_goes_on_as_well(frames, capsys):
    assert main(words(frames, "--check")) == 0
    assert "evaluation of the untrained model" in capsys.readouterr().out

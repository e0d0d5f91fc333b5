"""last.safetensors and best.safetensors: the weights of last.pt and best.pt, whole, in time, and after a resume."""

import errno
import logging
import os

import pytest
import torch
from ignite.engine import Engine
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from ignition.checkpoint_file import load
from ignition.handlers.checkpoint import Checkpoint


class Run:
    """A model whose weight is the iteration, scored and saved in a plain loop."""

    def __init__(self, folder, model=None, **settings):
        self.model = nn.Linear(1, 1, bias=False) if model is None else model
        self.trainer = Engine(lambda engine, batch: None)
        objects = {"model": self.model, **settings.pop("objects", {})}
        self.checkpoint = Checkpoint(folder, objects, **{"metric": "loss", "safetensors": True, **settings})

    def score(self, *scores):
        for score in scores:
            self.trainer.state.iteration += 1
            for parameter in self.model.parameters():
                parameter.data.fill_(self.trainer.state.iteration)
            self.checkpoint.offer(self.trainer, score)
            self.checkpoint(self.trainer)
        self.checkpoint.wait()
        return self

    def resume(self):
        self.trainer.state.iteration = self.checkpoint.restore()["iteration"]
        return self


def told(path):
    with safe_open(path, "pt") as weights:
        return {name: weights.metadata().get(name) for name in ("iteration", "score", "metric", "mode")}


def iterations(folder):
    """Of the checkpoints and of the weights beside them, which must agree."""
    found = []
    for name in ("last", "best"):
        content, weights = load(folder / f"{name}.pt"), load_file(folder / f"{name}.safetensors")
        assert weights.keys() == content["model"].keys()
        assert all(torch.equal(weights[key], value) for key, value in content["model"].items())
        expected = {key: content[key] for key in ("iteration", "score", "metric", "mode")}
        assert told(folder / f"{name}.safetensors") == {
            key: None if value is None else str(value) for key, value in expected.items()
        }
        found.append(content["iteration"])
    return found


@pytest.mark.parametrize("asynchronous", [False, True])
def test_they_go_with_the_newest_and_the_best(tmp_path, asynchronous):
    run = Run(tmp_path, asynchronous=asynchronous)
    for score, expected in ((0.5, [1, 1]), (0.7, [2, 1]), (0.3, [3, 3]), (float("nan"), [4, 3])):
        run.score(score)
        if expected[0] != 4:
            assert iterations(tmp_path) == expected
    assert told(tmp_path / "last.safetensors")["score"] == "nan"
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {"last.safetensors", "best.safetensors"}


def test_they_load_into_a_plain_module_whatever_it_was_wrapped_in(tmp_path):
    inner = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    inner[0] = torch.compile(inner[0], backend="eager")
    inner.compile(backend="eager")
    Run(tmp_path, nn.DataParallel(inner)).score(0.5)
    plain = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    plain.load_state_dict(load_file(tmp_path / "best.safetensors"))
    assert plain[0].weight.item() == 1.0


def test_halves_of_brain_floats_are_read_back(tmp_path):
    run = Run(tmp_path, nn.Linear(3, 2).bfloat16()).score(0.5)
    back = load_file(tmp_path / "last.safetensors")
    assert back["weight"].dtype == torch.bfloat16 and torch.equal(back["weight"], run.model.weight.data)


def test_of_several_modules_one_can_be_chosen(tmp_path):
    objects = {"judge": nn.Linear(1, 1)}
    Run(tmp_path / "a", objects=objects).score(0.5)
    assert sorted(load_file(tmp_path / "a/last.safetensors")) == ["judge.bias", "judge.weight", "model.weight"]
    Run(tmp_path / "b", objects=objects, safetensors="judge").score(0.5)
    assert sorted(load_file(tmp_path / "b/last.safetensors")) == ["bias", "weight"]
    with pytest.raises(ValueError, match="safetensors is 'ema'"):
        Run(tmp_path / "c", safetensors="ema")


def test_those_of_an_open_group_that_are_only_measured_are_the_best_and_not_the_last(tmp_path):
    run = Run(tmp_path).score(0.5)
    run.trainer.state.group_open = True
    run.score(0.3)
    assert [told(tmp_path / f"{name}.safetensors")["iteration"] for name in ("last", "best")] == ["1", "2"]


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors"])
@pytest.mark.parametrize("fault", ["gone", "older", "damaged"])
def test_what_a_kill_came_before_is_made_good(tmp_path, name, fault):
    run = Run(tmp_path).score(0.5)
    older = (tmp_path / name).read_bytes()
    run.score(0.3)
    (tmp_path / name).unlink()
    if fault != "gone":
        (tmp_path / name).write_bytes(older if fault == "older" else older[:-1])
    Run(tmp_path).resume()
    assert iterations(tmp_path) == [2, 2]


def test_they_can_be_switched_on_and_off(tmp_path, caplog):
    Run(tmp_path, safetensors=False).score(0.3, 0.5)
    assert not list(tmp_path.glob("*.safetensors"))
    Run(tmp_path).resume()
    assert iterations(tmp_path) == [2, 1]
    assert caplog.text == ""
    Run(tmp_path, safetensors=False).resume()
    assert "last.safetensors and best.safetensors will not be kept up to date: safetensors is off" in caplog.text


def test_weights_that_could_not_be_written_are_told_and_the_checkpoint_is_good(tmp_path, monkeypatch, caplog):
    run, fsync = Run(tmp_path).score(0.5), os.fsync

    def full(file):
        if "safetensors" in os.readlink(f"/proc/self/fd/{file}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    monkeypatch.setattr(os, "fsync", full)
    with caplog.at_level(logging.ERROR):
        run.score(0.3)
    message = caplog.records[0].message
    assert message.startswith(f"{tmp_path}/iteration-00000002.pt is good, but not all that goes with it: ")
    assert "last.safetensors was not written: disk full" in message
    assert load(tmp_path / "best.pt")["iteration"] == 2 and run.checkpoint.best == 0.3
    assert told(tmp_path / "best.safetensors")["iteration"] == "1"  # whole, of the one before
    monkeypatch.undo()
    Run(tmp_path).resume()
    assert iterations(tmp_path) == [2, 2]

"""The k best of a run: which they are, what they are called, and that none is lost or beaten by a worse one."""

import errno
import math
import os
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine
from torch import nn

from ignition.checkpoint_file import BadCheckpoint, load, save
from ignition.handlers.checkpoint import Checkpoint

NAN, INF = math.nan, math.inf


class Run:
    """A model whose weight is the iteration; `score` is a plain loop's evaluation and save after each."""

    def __init__(self, folder, **settings):
        self.model, self.trainer = nn.Linear(1, 1, bias=False), Engine(lambda engine, batch: None)
        self.checkpoint = Checkpoint(folder, {"model": self.model}, **{"metric": "loss", "keep_best": 3, **settings})

    def score(self, *scores):
        for score in scores:
            self.trainer.state.iteration += 1
            with torch.no_grad():
                self.model.weight.fill_(self.trainer.state.iteration)
            self.checkpoint.offer(self.trainer, score)
            self.checkpoint(self.trainer)
        return self

    def resume(self):
        self.trainer.state.iteration = self.checkpoint.restore()["iteration"]
        return self


def best(folder):
    """Name and iteration of each of the best."""
    names = sorted(folder.glob("best*.pt"), key=lambda path: (len(path.name), path.name))
    found = {path.name: load(path) for path in names}
    assert all(content["model"]["weight"].item() == content["iteration"] for content in found.values())
    return {name: content["iteration"] for name, content in found.items()}


def test_the_best_stay_in_their_order_whatever_else_goes(tmp_path):
    run = Run(tmp_path).score(0.5, 0.3, 0.9, 0.4, 0.2, 0.8, 0.7)
    assert best(tmp_path) == {"best.pt": 5, "best-2.pt": 2, "best-3.pt": 4}
    assert run.checkpoint.best == 0.2
    assert sorted(path.name for path in tmp_path.glob("[il]*.pt")) == [
        "iteration-00000006.pt", "iteration-00000007.pt", "last.pt",
    ]  # fmt: skip


@pytest.mark.parametrize(("scores", "mode", "expected"), [
    ([0.5, 0.3, 0.9], "max", [3, 1, 2]),
    ([NAN, 0.7, NAN, 0.6, INF], "min", [4, 2]),  # V7: a place stays empty rather than go to what is not finite
    ([-INF, -1.0, -3.0], "max", [2, 3]),
    ([torch.tensor(0.5), torch.tensor(0.4), torch.tensor(NAN)], "min", [2, 1]),  # V9
    ([0.5, 0.5, 0.5, 0.5], "min", [1, 2, 3]),
    ([NAN, NAN], "min", []),
])  # fmt: skip
def test_only_numbers_have_a_place(tmp_path, scores, mode, expected):
    Run(tmp_path, mode=mode).score(*scores)
    assert list(best(tmp_path).values()) == expected


def rank(scores, count, mode):
    finite = [
        (score if mode == "min" else -score, place) for place, score in enumerate(scores, 1) if math.isfinite(score)
    ]
    return [place for _, place in sorted(finite)[:count]]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, NAN, -INF]), min_size=1, max_size=7),
    st.integers(1, 3), st.sampled_from(["min", "max"]), st.integers(1, 6), st.booleans(),
)  # fmt: skip
def test_a_run_that_is_resumed_has_the_same_best(tmp_path_factory, scores, count, mode, stop, background):
    folder, own = tmp_path_factory.mktemp("run"), {"keep_best": count, "mode": mode, "asynchronous": background}
    Run(folder, **own).score(*scores[:stop]).checkpoint.wait()
    run = Run(folder, **own).resume().score(*scores[stop:])
    run.checkpoint.wait()
    assert list(best(folder).values()) == rank(scores, count, mode)
    assert run.checkpoint.best == (scores[best(folder)["best.pt"] - 1] if best(folder) else None)


def test_a_worse_model_takes_no_place_after_a_resume(tmp_path):  # V10
    Run(tmp_path).score(0.3, 0.2, 0.1)
    run = Run(tmp_path).resume().score(0.9, 0.8)
    assert best(tmp_path) == {"best.pt": 3, "best-2.pt": 2, "best-3.pt": 1} and run.checkpoint.best == 0.1
    run.score(0.15)
    assert best(tmp_path) == {"best.pt": 3, "best-2.pt": 6, "best-3.pt": 2}


def test_an_iteration_that_is_scored_twice_has_one_place(tmp_path):
    run = Run(tmp_path).score(0.5, 0.4)
    for score in (0.3, 0.6):
        run.checkpoint.offer(run.trainer, score)
    assert best(tmp_path) == {"best.pt": 2, "best-2.pt": 1} and run.checkpoint.best == 0.3


def test_scores_are_read_back_without_loading_every_file(tmp_path, monkeypatch):
    Run(tmp_path).score(0.3, 0.2, 0.1, 0.4)
    read, torch_load = [], torch.load

    def load_and_tell(path, *arguments, **options):
        if not options.get("mmap"):
            read.append(path.name)
        return torch_load(path, *arguments, **options)

    monkeypatch.setattr(torch, "load", load_and_tell)
    assert Run(tmp_path).resume().checkpoint.best == 0.1
    assert read == ["iteration-00000004.pt"]  # to go on from


# ------------------------------------------------------------------------------------------------------ other settings


def test_another_metric_is_told_and_the_best_of_the_one_before_go_with_the_first_of_it(tmp_path, caplog):
    Run(tmp_path).score(0.3, 0.2)
    run = Run(tmp_path, mode="max").resume()
    assert "best.pt was chosen by loss (min), from here on by loss (max)" in caplog.text
    assert best(tmp_path) == {"best.pt": 2, "best-2.pt": 1} and run.checkpoint.best is None
    run.score(0.1)
    assert best(tmp_path) == {"best.pt": 3} and run.checkpoint.best == 0.1


def test_fewer_of_the_best_are_told_and_go_with_the_next_one(tmp_path, caplog):
    Run(tmp_path).score(0.4, 0.3, 0.2, 0.9)
    run = Run(tmp_path, keep_best=1).resume()
    assert "keep_best is 1: with the next best one goes best-2.pt, best-3.pt" in caplog.text
    assert len(best(tmp_path)) == 3
    run.score(0.8)
    assert len(best(tmp_path)) == 3
    run.score(0.1)
    assert best(tmp_path) == {"best.pt": 6}


def test_more_of_the_best_are_found_among_those_that_are_there(tmp_path, caplog):
    Run(tmp_path, keep_best=1, keep=3).score(0.2, 0.5, 0.4, 0.3)
    Run(tmp_path, keep_best=3, keep=3).resume()
    assert best(tmp_path) == {"best.pt": 1, "best-2.pt": 4, "best-3.pt": 3}
    assert caplog.text == ""


def test_wrong_settings_are_told():
    for wrong, why in (
        ({"keep_best": 0}, "keep_best is 0; it must be at least 1"),
        ({"max_failures": 0}, "max_failures is 0"),
        ({"every_minutes": 0.0}, r"every_minutes is 0\.0; it must be above 0"),
        ({"every_minutes": NAN}, "every_minutes is nan"),
    ):
        with pytest.raises(ValueError, match=why):
            Checkpoint("x", {}, **wrong)


# ----------------------------------------------------------------------------------------------------- what goes wrong


def damage(path):
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-25])


@pytest.mark.parametrize(("name", "expected"), [
    ("best.pt", {"best.pt": 2, "best-2.pt": 1, "best-3.pt": 5}),
    ("best-2.pt", {"best.pt": 3, "best-2.pt": 1, "best-3.pt": 5}),
])  # fmt: skip
def test_the_place_of_a_damaged_one_goes_to_the_next(tmp_path, caplog, name, expected):
    Run(tmp_path).score(0.3, 0.2, 0.1, 0.9, 0.8)
    damage(tmp_path / name)
    Run(tmp_path).resume()
    assert best(tmp_path) == expected
    assert f"{name} is cut off" in caplog.text and (tmp_path / f"{name}.corrupt").exists()


def test_broken_weights_are_found_though_the_score_can_be_read(tmp_path, caplog):
    Run(tmp_path, keep_best=2).score(0.3, 0.1, 0.9, 0.8)
    data = bytearray((tmp_path / "best.pt").read_bytes())
    place = data.index(torch.tensor(2.0).numpy().tobytes())
    data[place + 2] ^= 1
    (tmp_path / "best.pt").unlink()
    (tmp_path / "best.pt").write_bytes(data)
    Run(tmp_path, keep_best=2).resume()
    assert best(tmp_path) == {"best.pt": 1, "best-2.pt": 4}
    assert "best.pt is damaged (the sum of" in caplog.text


def test_names_that_somebody_removed_or_exchanged_are_put_right(tmp_path):
    Run(tmp_path).score(0.3, 0.2, 0.1, 0.9)
    os.rename(tmp_path / "best.pt", tmp_path / "x")
    os.rename(tmp_path / "best-3.pt", tmp_path / "best.pt")
    os.rename(tmp_path / "x", tmp_path / "best-3.pt")
    Run(tmp_path).resume()
    assert best(tmp_path) == {"best.pt": 3, "best-2.pt": 2, "best-3.pt": 1}
    (tmp_path / "best-2.pt").unlink()
    run = Run(tmp_path).resume()
    assert best(tmp_path) == {"best.pt": 3, "best-2.pt": 1, "best-3.pt": 4}
    (tmp_path / "best.pt").unlink()  # while it runs
    run.score(0.2)
    assert best(tmp_path) == {"best.pt": 5, "best-2.pt": 1, "best-3.pt": 4}


def test_without_links_there_are_copies(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    Run(tmp_path).score(0.4, 0.3, 0.2)
    Run(tmp_path).resume().score(0.1, 0.25)
    assert best(tmp_path) == {"best.pt": 4, "best-2.pt": 3, "best-3.pt": 5}
    assert not os.path.samefile(tmp_path / "best.pt", tmp_path / "iteration-00000004.pt")


@pytest.fixture
def fail_at(monkeypatch):
    """Let the n-th name from now on not be given, once; those that were tried."""
    replace = os.replace

    def arm(at):
        tried = []

        def fail_once(*names):
            tried.append(names)
            if len(tried) == at:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            replace(*names)

        monkeypatch.setattr(os, "replace", fail_once)
        return tried

    return arm


@pytest.mark.parametrize("at", range(1, 7))
def test_after_a_failure_half_way_each_of_the_best_is_where_it_belongs(tmp_path, fail_at, at):
    run = Run(tmp_path, max_failures=99).score(0.4, 0.3, 0.2)
    tried = fail_at(at)
    run.score(0.1)  # which tries a second time, when it saves
    assert best(tmp_path) == {"best.pt": 4, "best-2.pt": 3, "best-3.pt": 2} and run.checkpoint.best == 0.1
    assert len(tried) > 5 or at == 6  # the file, last.pt, and three that move on
    run.score(0.15)
    assert best(tmp_path) == {"best.pt": 4, "best-2.pt": 5, "best-3.pt": 3}


@pytest.mark.parametrize("at", range(1, 7))
def test_one_that_was_half_placed_takes_the_place_of_no_better_one(tmp_path, fail_at, at):
    run = Run(tmp_path, max_failures=99).score(0.4, 0.3, 0.2)
    fail_at(at)
    run.trainer.state.iteration = 4
    run.model.weight.data.fill_(4)
    run.checkpoint.offer(run.trainer, 0.1)
    run.score(0.25)
    assert list(best(tmp_path).values()) == ([4, 3, 5] if at == 6 else [3, 5, 2])


def test_while_the_best_cannot_be_read_none_of_them_makes_way(tmp_path, monkeypatch, fail_at, caplog):
    run = Run(tmp_path, max_failures=99).score(0.4, 0.3, 0.2)
    fail_at(5)
    run.trainer.state.iteration = 4
    run.checkpoint.offer(run.trainer, 0.1)
    half_way = {"best.pt": 3, "best-2.pt": 3, "best-3.pt": 2}
    assert best(tmp_path) == half_way

    def unreadable(path):
        raise BadCheckpoint(path, "cannot be read: Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("ignition.checkpoint_file.keeping.peek", unreadable)
        run.score(0.28)
    assert "best.pt, best-2.pt, best-3.pt cannot be read" in caplog.text and best(tmp_path) == half_way
    run.score(0.25)
    assert best(tmp_path) == {"best.pt": 3, "best-2.pt": 6, "best-3.pt": 2}


def test_a_folder_that_vanishes_is_made_again(tmp_path):
    folder = tmp_path / "run"
    run = Run(folder).score(0.3, 0.2)
    shutil.rmtree(folder)
    run.score(0.5, 0.4)
    assert best(folder) == {"best.pt": 4, "best-2.pt": 3} and run.checkpoint.best == 0.4


def test_the_best_of_an_open_group_move_the_others_on(tmp_path):
    run = Run(tmp_path).score(0.3, 0.2)
    run.trainer.state.group_open = True
    run.score(0.25, 0.1)
    assert best(tmp_path) == {"best.pt": 4, "best-2.pt": 2, "best-3.pt": 3}
    assert not list(tmp_path.glob("iteration-*[34].pt"))  # nothing to go on from in the middle of a group


def test_a_file_with_a_score_that_is_no_number_has_no_place(tmp_path):
    Run(tmp_path).score(0.3)
    content = load(tmp_path / "iteration-00000001.pt")
    save(tmp_path / "best.pt", {**content, "score": NAN})
    Run(tmp_path).resume()
    assert load(tmp_path / "best.pt")["score"] == 0.3

import math
import os
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignition.checkpoint_file.best import NEXT, Scored, arrange, best_name, best_names, ranked
from ignition.handlers.improvement import better

NAN, INF = math.nan, math.inf
LOWER = partial(better, mode="min")


def scored(*scores):
    return [Scored(score, iteration, f"{iteration}.pt") for iteration, score in enumerate(scores, start=1)]


def iterations(ranking):
    return [one.iteration for one in ranking]


def test_the_best_come_first_and_only_so_many():
    assert iterations(ranked(scored(0.5, 0.4, 0.6, 0.3), LOWER, 3)) == [4, 2, 1]
    assert iterations(ranked(scored(0.5, 0.4, 0.6, 0.3), partial(better, mode="max"), 2)) == [3, 1]
    assert iterations(ranked(scored(0.5, 0.5, 0.5), LOWER, 2)) == [1, 2]  # of equal ones the earlier


def test_what_is_not_finite_has_no_place():
    assert iterations(ranked(scored(NAN, 0.7, INF, -INF, 0.6, NAN), LOWER, 3)) == [5, 2]


def test_an_iteration_has_one_place():
    twice = [Scored(0.5, 7, "a"), Scored(0.4, 7, "b"), Scored(0.6, 8, "c"), Scored(0.7, 8, "d")]
    assert [one.name for one in ranked(twice, LOWER, 3)] == ["b", "c"]


@given(st.lists(st.floats()), st.integers(1, 5), st.sampled_from(["min", "max"]))
def test_it_is_what_sorting_would_give(scores, count, mode):
    finite = [one for one in scored(*scores) if math.isfinite(one.score)]
    finite.sort(key=lambda one: one.score if mode == "min" else -one.score)
    assert ranked(scored(*scores), partial(better, mode=mode), count) == finite[:count]


@given(st.lists(st.floats(), max_size=12), st.integers(1, 4))
def test_it_makes_no_difference_whether_they_come_one_by_one(scores, count):
    ranking = []
    for one in scored(*scores):
        ranking = ranked([*ranking, one], LOWER, count)
    assert ranking == ranked(scored(*scores), LOWER, count)


# --------------------------------------------------------------------------------------------------------------- names


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def write(folder, **names):
    for name, text in names.items():
        (folder / f"{name.replace('_', '-')}.pt").write_text(text)


def ranking_of(*names):
    return [Scored(float(number), number, f"{name}.pt") for number, name in enumerate(names)]


def test_names_are_found_in_their_order(tmp_path):
    write(tmp_path, best_10="", best_2="", best="", best_next="", last="", best_02="", best_1="")
    assert best_names(tmp_path) == ["best.pt", "best-2.pt", "best-10.pt"]
    assert best_names(tmp_path / "not there") == []


@pytest.mark.parametrize(("there", "ranking", "then"), [
    ({"best": "a", "new": "b"}, ["new", "best"], ["b", "a"]),
    ({"best": "a", "best_2": "b", "best_3": "c", "new": "d"}, ["new", "best", "best-2"], ["d", "a", "b"]),
    ({"best": "a", "best_2": "b", "best_3": "c", "new": "d"}, ["best", "new", "best-2"], ["a", "d", "b"]),
    ({"best": "a", "best_2": "b", "best_3": "c"}, ["best-2", "best-3"], ["b", "c"]),  # the first is gone
    ({"best": "a", "best_2": "b", "best_3": "c"}, ["best-3", "best", "best-2"], ["c", "a", "b"]),  # renamed by hand
    ({"best": "a", "best_2": "b"}, ["best-2", "best"], ["b", "a"]),
    ({"best": "a", "best_next": "b"}, ["best-next", "best"], ["b", "a"]),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("links", [True, False])
def test_names_go_over_to_others_and_none_is_lost(tmp_path, monkeypatch, there, ranking, then, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *names: (_ for _ in ()).throw(PermissionError(1, "no links here")))
    write(tmp_path, **there)
    kept = {(tmp_path / one.name).read_text() for one in ranking_of(*ranking)}
    steps, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda *names: (replace(*names), steps.append(set(contents(tmp_path).values()))))
    arranged = arrange(tmp_path, ranking_of(*ranking))
    assert [one.name for one in arranged] == [best_name(place) for place in range(1, len(ranking) + 1)]
    assert [(tmp_path / one.name).read_text() for one in arranged] == then
    assert iterations(arranged) == list(range(len(ranking)))
    assert not (tmp_path / NEXT).exists()
    assert all(kept <= names for names in steps)  # each is there after each step
    steps.clear()
    assert arrange(tmp_path, arranged) == arranged and steps == []  # nothing is left to do

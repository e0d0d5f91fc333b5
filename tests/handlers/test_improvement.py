import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine

from ignition.handlers.improvement import MissingMetric, better, check_same, read_score

NAN, INF = math.nan, math.inf
finite = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("new", "best", "mode", "threshold", "relative", "expected"),
    [
        (0.9, 1.0, "min", 0.0, False, True),
        (1.0, 1.0, "min", 0.0, False, False),  # equal is no improvement
        (1.1, 1.0, "max", 0.0, False, True),
        (0.95, 1.0, "min", 0.1, False, False),  # too little
        (0.85, 1.0, "min", 0.1, False, True),
        (-1.05, -1.0, "min", 0.1, True, False),  # 5 % is less than 10 % on either side of zero
        (-1.15, -1.0, "min", 0.1, True, True),
        (-0.95, -1.0, "max", 0.1, True, False),
        (-0.85, -1.0, "max", 0.1, True, True),
        (NAN, 1.0, "min", 0.0, False, False),
        (NAN, None, "max", 0.0, False, False),  # not even than nothing
        (-INF, 1.0, "min", 0.0, False, False),  # a loss of minus infinity is a fault, not a success
        (INF, 1.0, "max", 0.0, False, False),
        (5.0, None, "min", 0.0, False, True),
    ],
)
def test_the_one_meaning_of_better(new, best, mode, threshold, relative, expected):
    assert better(new, best, mode, threshold, relative) is expected


@given(finite, finite, st.floats(0, 10), st.booleans())
def test_of_two_scores_at_most_one_is_better_and_the_modes_mirror_each_other(a, b, threshold, relative):
    assert not (better(a, b, "min", threshold, relative) and better(b, a, "min", threshold, relative))
    assert better(a, b, "min", threshold, relative) == better(-a, -b, "max", threshold, relative)


def test_a_direction_is_said_never_guessed():
    with pytest.raises(ValueError, match="mode is 'lower'; it can be 'min'"):
        better(1.0, 2.0, "lower")


def engine_with(**metrics):
    engine = Engine(lambda engine, batch: None)
    engine.state.metrics = metrics
    return engine


def test_reads_a_metric_under_its_name_or_behind_a_tag():
    assert read_score(engine_with(loss=0.5), "loss") == 0.5
    assert read_score(engine_with(loss=0.5), "val/loss") == 0.5
    assert read_score(engine_with(**{"loss": 0.5, "val/loss": 0.7}), "val/loss") == 0.7  # the full name first
    assert read_score(engine_with(**{"loss/smooth": 0.1}), "val/loss/smooth") == pytest.approx(0.1)


def test_a_tensor_with_one_element_is_a_score():  # V9: ignite's Checkpoint refuses it
    assert read_score(engine_with(loss=torch.tensor(0.5)), "loss") == 0.5


def test_an_unknown_metric_names_the_known_ones():
    with pytest.raises(MissingMetric) as error:
        read_score(engine_with(rmse=1.0, abs_rel=0.1), "loss")
    assert str(error.value) == (
        "no metric 'loss' on this engine (known: abs_rel, rmse). Attach the metric before the handler that reads it."
    )
    with pytest.raises(KeyError, match="known: none"):
        read_score(engine_with(), "val/loss")


def test_a_metric_that_is_no_number_says_what_it_is():
    with pytest.raises(TypeError, match="'per_class' is no single number but Tensor"):
        read_score(engine_with(per_class=torch.zeros(3)), "per_class")


def test_a_state_made_under_other_settings_is_refused_with_both():
    check_same({"metric": "loss"}, metric="loss")
    with pytest.raises(ValueError, match="saved state is of metric 'loss', this one is of metric 'epe'"):
        check_same({"metric": "loss"}, metric="epe")

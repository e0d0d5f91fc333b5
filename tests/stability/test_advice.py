import json
import math

import pytest

from ignition.config import load_config
from ignition.stability import (
    DataWait,
    GradientExplosion,
    GradientVanishing,
    LearningRateTooHigh,
    LearningRateTooLow,
    LossSpike,
    NonFinite,
    SlowDivergence,
    UpdateRatio,
)
from ignition.stability.advice import RunSettings, change_rate, clip, given, warm_up, written


@pytest.mark.parametrize(
    ("number", "text"),
    [(1e-4 / 2, "5e-5"), (2e-4 * 0.625, "1.25e-4"), (1e-6, "1e-6"), (0.001, "0.001"), (1 / 3, "0.333"), (2.0, "2.0"),
     (12.0, "12.0"), (1234.5, "1234"), (0.0, "0.0"), (-1e-5, "-1e-5"), (3.2e7, "3.2e7")],
)  # fmt: skip
def test_numbers_are_written_as_people_write_them_and_read_back(number, text):
    assert written(number) == text
    assert float(text) == pytest.approx(number, rel=5e-3)


def test_what_is_not_known_is_said_in_words():
    assert change_rate(RunSettings(), 0.2, "it is too high").why == "learning rate times 0.2: it is too high"
    assert change_rate(RunSettings(), 0.2, "").override == ""
    assert warm_up(RunSettings()) is None


@pytest.mark.parametrize(("epochs", "advised"), [(0.0, "1.0"), (5.0, "10.0")])  # as from 5 to 10 epochs for flow
def test_a_warm_up_is_made_twice_as_long(epochs, advised):
    assert warm_up(RunSettings(warmup_epochs=epochs)).override == f"schedule.warmup_epochs={advised}"


@pytest.mark.parametrize(
    ("max_norm", "typical", "limit"),
    [(None, None, "1.0"), (0.0, None, "1.0"), (5.0, None, "1.0"), (1.0, None, None), (0.1, None, None),
     (None, 0.5, "1.0"), (None, 8.0, "16.0"), (16.0, 8.0, None), (None, 0.01, "0.02")],
)  # fmt: skip
def test_clipping_is_advised_where_it_would_change_something(max_norm, typical, limit):
    advice = clip(RunSettings(max_norm=max_norm), typical)
    assert (advice and advice.override) == (limit and f"clip.kind=norm clip.max_norm={limit}")


def test_only_what_there_is_is_given():
    assert given(None, clip(RunSettings()), None) == (clip(RunSettings()),)


def findings(settings):
    """One finding of each detector, each of a run with these settings."""
    detectors = {
        LossSpike(settings=settings): lambda d, i: d.update(i, 9.0 if i == 200 else 1.0 + 0.1 * (i % 3)),
        SlowDivergence(settings=settings): lambda d, i: d.update(i, 1.0 + 0.1 * (i % 3) + (i > 150)),
        GradientExplosion(settings=settings): lambda d, i: d.update(i, 90.0 if i == 200 else 1.0 + 0.1 * (i % 3)),
        GradientVanishing(settings=settings): lambda d, i: d.update(i, 0.0),
        LearningRateTooHigh(settings=settings): lambda d, i: d.update(i, float(i + 1)),
        LearningRateTooLow(settings=settings): lambda d, i: d.update(i, 1.0, 1e-6),
        NonFinite(settings=settings): lambda d, i: d.update(i, {"a": math.nan, "b": 1.0}, samples=[3]),
        UpdateRatio(settings=settings): lambda d, i: d.update(i, {"w": 0.9}),
        DataWait(settings=settings): lambda d, i: d.update(i, 0.1, 0.1),
    }
    for detector, feed in detectors.items():
        found = [finding for i in range(250) if (finding := feed(detector, i))]
        assert len(found) == 1, detector
        yield from found[0] if isinstance(found[0], list) else found


@pytest.mark.parametrize(
    "run", [RunSettings(), RunSettings(5e-4, 5.0, 2.0, 8, 2, True), RunSettings(0.1, 0.0, None, 8, 0)]
)
def test_all_that_is_advised_can_be_pasted_behind_the_command(run):
    overrides = [advice.override for finding in findings(run) for advice in finding.advice]
    assert len(overrides) > 9
    for override in overrides:
        load_config(None, overrides=override.split())  # raises what is wrong with it
    assert (run.learning_rate is not None) == any("optimizer.lr" in override for override in overrides)


def test_every_finding_says_what_to_do_and_goes_into_a_file():
    for finding in findings(RunSettings(5e-4)):
        assert finding.advice, finding.name
        assert all(advice.why for advice in finding.advice)
        json.dumps(finding.row(), allow_nan=False)

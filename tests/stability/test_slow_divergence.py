import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignition.stability import RunSettings, SlowDivergence

CURVES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "curves"


def calm(count, level=2.0, noise=0.1):
    """Values that go up and down by up to half of ``noise``, always the same ones; their scale is 0.044."""
    return [level + noise * ((7 * i) % 11 - 5) / 10 for i in range(count)]


def found(detector, values, first=0):
    """Iterations at which something was found."""
    return [i for i, value in enumerate(values, first) if detector.update(i, value)]


def diverging(count=60, constant=30, sigma=0.044):
    return [value + sigma * math.expm1(i / constant) for i, value in enumerate(calm(count))]


def test_what_grows_slowly_is_found_before_it_is_large():
    places = found(SlowDivergence(), calm(200) + diverging())
    assert len(places) == 1
    assert 225 < places[0] < 250
    assert diverging()[places[0] - 200] < 2.25  # an eighth more than it was


def test_it_says_since_when_and_what_to_do():
    settings = RunSettings(learning_rate=5e-4, max_norm=1.0, warmup_epochs=5.0)
    divergence = SlowDivergence(settings=settings)
    finding = next(f for i, value in enumerate(calm(200) + diverging()) if (f := divergence.update(i, value)))
    assert (finding.name, finding.severity) == ("slow_divergence", "critical")
    assert 205 < finding.first < finding.last
    assert finding.message.startswith(f"loss has been rising since iteration {finding.first}, from 2 to 2.")
    assert [advice.override for advice in finding.advice] == ["optimizer.lr=2.5e-4", "schedule.warmup_epochs=10.0"]


@pytest.mark.parametrize("height", [0.2, 1.0, 1e6])
def test_a_single_spike_is_no_trend_however_high(height):
    values = calm(400)
    for place in (150, 210, 270):
        values[place] += height
    assert found(SlowDivergence(), values) == []


def test_a_level_that_is_higher_for_good_is_found_within_a_few_values_and_once():
    divergence = SlowDivergence()
    assert found(divergence, calm(200) + calm(300, level=2.2)) == [205]
    assert not divergence.active  # by now it is the usual one
    assert found(divergence, calm(100, level=2.4), 500) == [505]


def test_what_comes_down_again_is_over():
    divergence = SlowDivergence()
    values = calm(200) + calm(10, level=2.3)
    assert found(divergence, values) == [205]
    assert divergence.active
    assert found(divergence, calm(40), 210) == []
    assert not divergence.active


def test_a_loss_that_falls_ever_more_slowly_is_fine():
    values = [value + 8.0 * math.exp(-i / 150) for i, value in enumerate(calm(2000))]
    assert found(SlowDivergence(), values) == []


def test_a_known_event_makes_another_loss_usual():
    divergence = SlowDivergence()
    assert found(divergence, calm(200)) == []
    divergence.reset()  # a warm restart
    assert found(divergence, calm(300, level=3.0), 200) == []


def test_rows_that_are_missing_or_come_twice_change_little():
    divergence = SlowDivergence()
    rows = [(i, value) for i, value in enumerate(calm(200) + diverging(80)) if i % 10]
    places = [i for i, value in rows for _ in range(2) if divergence.update(i, value)]
    assert len(places) == 1
    assert 225 < places[0] < 255


def test_not_finite_adds_nothing():
    values = [math.nan if i % 3 == 1 else math.inf if i % 3 == 2 else value for i, value in enumerate(calm(900))]
    assert found(SlowDivergence(), values) == []


@given(st.sampled_from([0.001, 0.5, 64.0]), st.integers(-10, 10))
def test_neither_the_unit_nor_the_zero_of_a_loss_matters(factor, shift):
    values = calm(150) + diverging()
    assert found(SlowDivergence(), [factor * (value + shift) for value in values]) == found(SlowDivergence(), values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"k": 0.0}, "k is 0.0"), ({"k": 3.0}, "k is 3.0"), ({"h": -1.0}, "h is -1.0"), ({"window": 1}, "window is 1")],
)
def test_says_what_it_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        SlowDivergence(**settings)


def test_on_a_real_run_it_is_silent_and_finds_what_is_put_into_it():
    file = CURVES / "modded_nanogpt" / "steps.jsonl.gz"
    if not file.exists():
        pytest.skip(f"no real curves at {file}")
    with gzip.open(file, "rt") as lines:
        losses = next(row["loss"] for row in map(json.loads, lines) if "2024-10-14_ModernArch" in row["id"])
    assert found(SlowDivergence(), losses) == []
    broken = losses[:3000] + [loss + 0.08 * math.expm1(i / 30) for i, loss in enumerate(losses[3000:3100])]
    places = found(SlowDivergence(), broken)
    assert len(places) == 1
    assert 3020 < places[0] < 3060


def test_of_a_hundred_noisy_losses_nearly_all_faults_are_found_and_none_that_are_not_there():
    random = np.random.default_rng(0)
    level = 1.0 + 2.0 * np.exp(-np.arange(600) / 200)
    false, late = 0, 0
    for _ in range(100):
        healthy = level + 0.05 * random.standard_normal(600)
        false += len(found(SlowDivergence(), healthy.tolist()))
        broken = healthy + 0.05 * np.expm1(np.maximum(np.arange(600) - 500, 0) / 30)
        places = found(SlowDivergence(), broken[:560].tolist())
        late += not places
    assert (false, late) == (0, 0)

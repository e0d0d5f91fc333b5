import math

import pytest

from ignition.stability import RunSettings, UpdateRatio

FINE = {"stem": 2e-3, "middle": 1e-3, "head": 3e-3}


def feed(detector, *measurements, first=0):
    """Findings of each measurement, made every 50 iterations."""
    return [detector.update(50 * (first + i), ratios) for i, ratios in enumerate(measurements)]


def test_a_step_that_is_too_large_is_told_after_five_measurements_and_once():
    ratios = UpdateRatio(settings=RunSettings(learning_rate=1e-2))
    bad = FINE | {"head": 0.5, "stem": 0.3}
    findings = feed(ratios, *[bad] * 8)
    assert [len(each) for each in findings] == [0, 0, 0, 0, 1, 0, 0, 0]
    finding = findings[4][0]
    assert finding.message == "a step changes head by 0.5 of its norm (most: 0.2), and 1 more"
    assert (finding.subject, finding.last) == ("head", 200)
    assert finding.evidence["parameters"] == ["head", "stem"]
    assert finding.advice[0].override == "optimizer.lr=0.001"


def test_one_that_hardly_learns_beside_the_others_is_told():
    (findings,) = [each for each in feed(UpdateRatio(), *[FINE | {"stem": 1e-6}] * 6) if each]
    assert findings[0].severity == "info"
    assert findings[0].message == "a step changes stem by 1e-06 of its norm, and others by 0.001"


def test_a_single_large_step_and_tiny_ones_everywhere_are_fine():
    assert not any(feed(UpdateRatio(), *[FINE] * 4, FINE | {"head": 9.0}, *[FINE] * 4))
    assert not any(feed(UpdateRatio(), *[{name: 1e-6 * ratio for name, ratio in FINE.items()}] * 9))


def test_what_wavers_about_the_limit_is_told_once():
    ratios = UpdateRatio()
    feed(ratios, *[FINE | {"head": 0.3}] * 5)
    assert not any(feed(ratios, *[FINE | {"head": head} for head in (0.19, 0.21) * 10], first=5))
    assert ratios.active
    assert not any(feed(ratios, *[FINE] * 5, first=25))
    assert not ratios.active
    assert any(feed(ratios, *[FINE | {"head": 0.3}] * 5, first=30))


def test_not_finite_or_old_measurements_do_not_count():
    ratios = UpdateRatio()
    # weights that begin at nought have an infinite ratio at first
    assert not any(feed(ratios, *[FINE | {"head": math.inf}] * 6))
    assert not any(ratios.update(0, FINE | {"head": 5.0}) for _ in range(9))


def test_it_can_be_begun_anew():
    ratios = UpdateRatio()
    feed(ratios, *[FINE | {"head": 0.3}] * 5)
    ratios.reset()
    assert [len(each) for each in feed(ratios, *[FINE | {"head": 0.3}] * 5)] == [0, 0, 0, 0, 1]


def test_says_what_it_cannot_be():
    with pytest.raises(ValueError, match="most is 0"):
        UpdateRatio(0.0)

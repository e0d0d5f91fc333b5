"""What curves of known shape suggest, and that a picture shows it."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignition.learning_rate_curve import LearningRateCurve, written

RATES = [10 ** (-7 + step / 10) for step in range(81)]  # ten a decade, up to 10
NAN, INF = math.nan, math.inf


def curve(losses, width=0.0, **more):
    return LearningRateCurve.of(RATES[: len(losses)], list(losses), width=width, ended="", **more)


def falling(noise=0.0, seed=0):
    """Flat until 1e-5, down from 5 to 1 until 1e-2, up again from there: as a range test of a network looks."""
    x = np.log10(RATES)
    losses = np.interp(x, [-7, -5, -2, -1, 1], [5.0, 5.0, 1.0, 1.5, 40.0])
    return losses + noise * np.random.default_rng(seed).normal(size=len(x))


def test_a_curve_of_known_shape():
    found = curve(falling())
    assert found.reason == ""
    assert found.lowest == pytest.approx(1e-2)
    assert 1e-5 <= found.steepest <= 1e-2  # a straight fall: as steep everywhere
    # A tenth of the fall is done at 10**-4.7, the nearest rate before it is taken; two thirds from there to 10**-2.
    assert found.valley == pytest.approx(10**-2.9, rel=1e-6)


def test_a_fall_behind_the_lowest_loss_is_not_suggested_however_steep():
    losses = np.interp(np.log10(RATES), [-5, -2, -1, 0, 0.2, 1], [5.0, 1.0, 8.0, 8.0, 2.0, 9.0])
    assert 1e-5 <= curve(losses).steepest <= 1e-2


@pytest.mark.parametrize("seed", range(5))
def test_noise_moves_the_suggestions_by_little(seed):
    found = curve(falling(noise=0.5, seed=seed), width=4.0)
    assert found.valley == pytest.approx(10**-2.9, rel=1.5)
    assert 1e-5 < found.steepest < found.lowest
    assert 10**-2.7 < found.lowest < 10**-1.3


def test_losses_that_are_not_finite_are_never_lowest_and_never_chosen():
    losses = falling()
    whole = curve(losses, width=4.0)
    losses[[20, 45]] = NAN, -INF
    losses[60:] = INF
    found = curve(losses, width=4.0)
    assert found.lowest == pytest.approx(whole.lowest, rel=0.6)  # two steps on: its neighbours are gone
    assert found.valley == pytest.approx(whole.valley, rel=0.3)
    assert [place for place, value in enumerate(found.smoothed) if math.isnan(value)] == [20, 45, *range(60, 81)]
    assert (str(found.losses[20]), found.losses[45]) == ("nan", -INF)  # recorded as they were


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([NAN] * 20, "only 0 of 20 losses were finite"),
        ([], "only 0 of 0 losses were finite"),
        ([3.0, 2.0, 1.0, NAN, NAN, NAN], "only 3 of 6 losses were finite"),
        ([2.0] * 20, "the loss never falls; it begins with 2"),
        ([2.0 - 1e-9 * step for step in range(20)], "the loss never falls; it begins with 2"),
        (list(range(20)), "the loss never falls; it begins with 0"),
    ],
)  # fmt: skip
def test_a_curve_that_suggests_nothing_says_why(losses, reason):
    found = curve(losses)
    assert (found.steepest, found.valley, found.reason) == (None, None, reason)


def test_a_fall_within_the_noise_is_no_fall_and_one_of_twice_its_size_is():
    silent = told = 0
    for seed in range(100):
        noise = np.random.default_rng(seed).normal(size=81)
        flat = curve(5 + noise, width=4.0)
        silent += flat.valley is None
        told += curve(np.interp(np.log10(RATES), [-5, -2], [5, 3]) + noise, width=4.0).valley is not None
    assert (silent, told) >= (90, 90)
    assert "the loss falls by" in flat.reason
    assert "larger batches would tell" in flat.reason


def test_batches_that_come_round_and_round_scatter_and_hide_no_fall():
    falls, scatter = np.interp(np.log10(RATES), [-3, -2], [7, 5]), np.array([5.0, -3.0, 2.0, -4.0])[np.arange(81) % 4]
    found = curve(falls + scatter, width=4.0)  # by 2, among losses that scatter by 3.7
    assert 1e-3 < found.valley < 1e-1


def test_a_cliff_right_behind_the_lowest_loss_is_no_reason_for_doubt():
    losses = np.interp(np.log10(RATES[:51]), [-5, -2], [5, 1]) + 0.1 * np.random.default_rng(0).normal(size=51)
    found = curve([*losses, 50.0, 1e9], width=4.0)
    assert found.reason == ""
    assert 1e-4 < found.valley < 1e-2


def test_an_explosion_does_not_hide_the_valley_before_it():
    losses = falling()[:51]
    untouched, exploded = curve(losses, width=4.0), curve([*losses, 1e30], width=4.0)
    assert untouched.lowest / 4 < exploded.lowest <= untouched.lowest  # on the safe side
    assert untouched.valley / 2 < exploded.valley <= untouched.valley
    assert max(exploded.smoothed) < 10


def test_the_loss_between_rates():
    found = curve(falling())
    assert found.loss_at(10**-3.55) == pytest.approx(5 - 4 * 1.45 / 3)
    assert math.isnan(found.loss_at(1e-9))
    assert math.isnan(curve([NAN] * 9).loss_at(1e-6))


@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.sampled_from([NAN, INF, -INF])), max_size=60), st.floats(0.0, 9.0))
def test_whatever_the_losses_a_suggestion_is_a_rate_that_was_tried_before_the_lowest(losses, width):
    found = curve(losses, width)
    assert (found.valley is None) == (found.steepest is None) == bool(found.reason)
    for rate in (found.steepest, found.valley):
        if rate is not None:
            assert math.isfinite(found.losses[found.rates.index(rate)])
            assert rate <= found.lowest


@pytest.mark.parametrize(
    "losses",
    [falling(noise=0.3), [*falling(noise=0.3)[:55], 1e12, NAN, INF, NAN], [NAN] * 10, [2.0] * 10, []],
    ids=["whole", "exploded", "nothing finite", "flat", "empty"],
)
def test_a_picture_is_drawn_of_any_curve_without_pyplot(losses, tmp_path):
    path, before = tmp_path / "curve.png", set(sys.modules)
    curve(losses, width=4.0, diverged=RATES[40]).draw(path, present=1e-3)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "matplotlib.pyplot" not in set(sys.modules) - before


def test_the_picture_shows_rates_as_they_are_written(tmp_path):
    path = tmp_path / "curve.svg"
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text as text
        curve([*falling()[:70], 1e12], diverged=RATES[70]).draw(path, title="Mine", present=2e-3)
    text = path.read_text()
    for words in ("Mine", "learning rate (log scale)", "training loss", "valley: 1.3e-3", "in use: 2.0e-3",
                  "diverged: 1", "higher or not finite"):  # fmt: skip
        assert words in text


def test_written():
    assert [written(rate) for rate in (1e-7, 1.26e-3, 0.0099, 0.01, 2.0)] == ["1.0e-7", "1.3e-3", "9.9e-3", "0.01", "2"]

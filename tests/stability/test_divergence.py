import itertools
import math

import pytest

from ignition.stability import Divergence, RunSettings, SlowDivergence


def calm(count, level=2.0, noise=0.1):
    """Values that go up and down by up to half of ``noise``, always the same ones; their scale is 0.044."""
    return [level + noise * ((7 * i) % 11 - 5) / 10 for i in range(count)]


def looked_at(losses, divergence=None):
    """What was found where."""
    rising, divergence = SlowDivergence(), divergence or Divergence()
    found = {}
    for i, loss in enumerate(losses):
        rising.update(i, loss)
        finding = divergence.update(i, loss, rising)
        if finding:
            found[i] = finding
    return found


def learned(count=200):
    """A loss that falls from 10 to 2, and stays there."""
    return [2.0 + 8.0 * math.exp(-i / 10) + value for i, value in enumerate(calm(count, level=0.0))]


def test_a_loss_that_jumps_up_and_stays_there_is_confirmed_within_eight_steps_of_the_jump():
    found = looked_at(learned() + calm(50, level=9.0, noise=4.0))
    assert list(found) == [207]
    (finding,) = found.values()
    assert (finding.name, finding.severity, finding.first, finding.last) == ("divergence", "critical", 200, 207)


def test_a_rise_that_costs_little_is_left_to_the_one_who_suspects():
    # 5 scales above what it was: a slow divergence, and next to nothing of the 8 that were gained
    assert looked_at(learned() + calm(200, level=2.22)) == {}


@pytest.mark.parametrize(("level", "confirmed"), [(3.5, False), (4.5, True)])
def test_a_loss_twice_as_high_has_diverged_however_much_had_been_gained(level, confirmed):
    assert bool(looked_at(learned() + calm(50, level=level))) is confirmed


@pytest.mark.parametrize(("level", "confirmed"), [(2.4, False), (2.6, True)])
def test_where_nothing_was_gained_it_takes_a_quarter_of_the_level(level, confirmed):
    assert bool(looked_at(calm(200) + calm(50, level=level))) is confirmed


def test_a_spike_that_is_gone_after_six_steps_is_none():
    assert looked_at(learned() + calm(6, level=50.0) + calm(60)) == {}


def test_five_losses_in_a_row_that_are_not_finite_are_a_divergence():
    four = [*calm(20), *[math.nan] * 4, *calm(3), *[math.inf] * 4, *calm(3)]
    assert looked_at(four) == {}
    found = looked_at([*calm(20), *[math.nan] * 9, *calm(3), *[math.nan] * 5])
    assert [(i, finding.first, finding.message) for i, finding in found.items()] == [
        (24, 20, "the loss has not been finite for 5 steps"),
        (36, 32, "the loss has not been finite for 5 steps"),
    ]


def test_it_is_told_once_and_ends_when_the_rise_does():
    divergence = Divergence(settings=RunSettings(learning_rate=1e-3, max_norm=1.0, warmup_epochs=1.0))
    rising = SlowDivergence()
    losses = learned() + calm(30, level=9.0) + calm(60)
    active = []
    for i, loss in enumerate(losses):
        rising.update(i, loss)
        finding = divergence.update(i, loss, rising)
        active.append(divergence.active)
        if finding:
            assert [advice.override for advice in finding.advice] == ["optimizer.lr=2e-4", "schedule.warmup_epochs=2.0"]
    assert active.index(True) == 207 and not active[-1]
    assert sum(now != before for before, now in itertools.pairwise(active)) == 2


def test_what_comes_again_after_a_rollback_is_confirmed_as_soon():
    rising, divergence = SlowDivergence(), Divergence()
    found = []
    for i, loss in enumerate(learned() + calm(10, level=9.0) + calm(20) + calm(30, level=9.0)):
        if i == 210:  # back to weights of before it began
            rising.take_back(200)
            divergence.take_back(200)
        rising.update(i, loss)
        if divergence.update(i, loss, rising):
            found.append(i)
    assert found == [207, 237]

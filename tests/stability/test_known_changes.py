import pytest

from ignition.stability import KnownChanges


def test_nothing_is_changed_if_nothing_is_said():
    changes = KnownChanges()
    assert not changes.of_level(-1, 10**9)
    assert not changes.of_weights(-1, 10**9)
    assert not changes.ramping(5)
    assert changes.settled(0)
    assert changes.same_sum(10**9)


@pytest.mark.parametrize(
    ("before", "now", "level", "weights"),
    [(0, 9, False, False), (0, 10, True, False), (9, 10, True, False), (10, 19, False, False), (10, 25, True, True),
     (19, 20, True, True), (20, 29, False, False), (29, 30, True, True), (30, 40, False, False),
     (40, 41, True, True), (41, 99, False, False)],
)  # fmt: skip
def test_between_two_rows(before, now, level, weights):
    """A rate raised at 10, a weight that jumps at 20, one that moves from 30 to 40: what follows is 41."""
    changes = KnownChanges(rates=[10], weights=[20, 20], ramps=[(30, 40)])
    assert (changes.of_level(before, now), changes.of_weights(before, now)) == (level, weights)


def test_ramps_may_overlap_and_a_weight_that_has_not_set_out_is_not_there_yet():
    changes = KnownChanges(ramps=[(50, 60), (10, 30), (20, 40)])
    assert [i for i in (9, 10, 35, 40, 41, 49, 50, 60, 61) if changes.ramping(i)] == [10, 35, 40, 50, 60]
    assert [i for i in (0, 45, 60, 61) if changes.settled(i)] == [61]
    assert changes.same_sum(9)
    assert not changes.same_sum(10)
    assert KnownChanges(rates=[5]).same_sum(6)


def test_a_ramp_has_a_beginning_before_its_end():
    with pytest.raises(ValueError, match=r"\(5, 4\); the last iteration must not be before the first"):
        KnownChanges(ramps=[(5, 4)])

"""Where a run is interrupted."""

import pytest

from ignition.exact_resume.plan import Plan, choose, read_plan


@pytest.mark.parametrize("words", ["30", "30+", "+3", "0+3", "3+0", "3-1", "a+b", "3+4+5"])
def test_what_is_no_plan_is_refused(words):
    with pytest.raises(ValueError, match="no N\\+M, for instance 30\\+10"):
        read_plan(words)


@pytest.mark.parametrize(("length", "accumulate", "epochs", "plan"), [
    (6, 1, 3, Plan(3, 5, 9)),
    (6, 4, 3, Plan(4, 6, 10)),  # a save and an end wait for the end of a group
    (5, 4, 3, Plan(4, 6, 9)),
    (1, 1, 9, Plan(2, 4, 5)),
    (2, 1, 2, Plan(2, 4, 4)),  # to the end of the run, if that is nearer
    (6, 8, 3, Plan(6, 8, 12)),  # the last group of an epoch is a small one
    (1000, 1, 3, Plan(20, 22, 1003)),
])  # fmt: skip
def test_the_middle_of_the_first_epoch_and_on_into_the_second(length, accumulate, epochs, plan):
    found = choose(None, epoch_length=length, accumulate=accumulate, iterations=length * epochs, seconds=0.01)
    assert found == plan


def test_a_second_epoch_that_is_far_is_not_waited_for():
    assert choose(None, epoch_length=1000, accumulate=1, iterations=9000, seconds=0.1) == Plan(20, 22, 30)


def test_a_run_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match=r"a run of 12 iterations ends before it could be interrupted after 12"):
        choose((11, 4), epoch_length=6, accumulate=4, iterations=12, seconds=0.01)

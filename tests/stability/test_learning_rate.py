import math

import pytest

from ignition.stability import LearningRateTooHigh, LearningRateTooLow, RunSettings

RUN = RunSettings(learning_rate=1e-3, max_norm=1.0, warmup_epochs=0.0)


def found(detector, losses, ratio=None, **known):
    return [(i, finding) for i, loss in enumerate(losses) if (finding := detector.update(i, loss, ratio, **known))]


@pytest.mark.parametrize(
    ("losses", "places"),
    [
        ([2.3] + [2.5] * 9 + [2.2] * 90, []),  # nine in a row
        ([2.3] + [2.5] * 10 + [2.2] * 90, [10]),  # ten
        ([2.3] + [2.4] * 99, []),  # not 5 % above
        ([2.3] + [math.nan] * 10, [10]),
        ([2.3] + [math.inf, 3.0, math.nan] * 4, [10]),
        ([math.nan, 2.3] + [2.5] * 10, [11]),  # the first one is the first finite one
        ([2.3] * 95 + [2.5] * 99, []),  # the first 100 steps are the beginning
        ([-1.0] + [-0.9] * 10, [10]),  # a loss may be negative
        ([0.5, 0.7] * 50, []),  # noise
        ([0.3] + [0.5, 0.9] * 19 + [0.2] * 60, []),  # noise above a first loss that was low by chance
        ([0.3] + [0.5, 0.9] * 50, [40]),  # but not for ever
        ([0.3] + [1.5, 1.9] * 50, [10]),  # not by chance
        ([0.3] + [0.35 + 0.05 * k for k in range(50)], [10]),  # a rise is more than its steps
    ],
)
def test_too_high_is_ten_losses_in_a_row_above_the_first(losses, places):
    assert [i for i, _ in found(LearningRateTooHigh(), losses)] == places


def test_too_high_says_what_to_do():
    ((_, finding),) = found(LearningRateTooHigh(settings=RUN), [2.3] + [4.6] * 20)
    assert finding.message == (
        "the learning rate is too high to begin with: the loss has been above its first value of 2.3 for 10 steps, "
        "and is 4.6"
    )
    # a fifth, as from 5e-4 to 1e-4; and a warm-up
    assert [advice.override for advice in finding.advice] == ["optimizer.lr=2e-4", "schedule.warmup_epochs=1.0"]


def test_too_high_by_what_a_step_changes():
    assert found(LearningRateTooHigh(), [2.0] * 50, ratio=0.04) == []
    ((place, finding),) = found(LearningRateTooHigh(), [2.0] * 50, ratio=0.3)
    assert place == 5
    assert "a step changes the weights by 0.3 of their norm" in finding.message


def test_too_high_is_over_when_the_loss_is_where_it_began_and_not_found_again():
    detector = LearningRateTooHigh()
    assert len(found(detector, [2.0] + [3.0] * 20)) == 1
    assert detector.active
    assert detector.update(21, 1.9) is None
    assert not detector.active
    assert all(detector.update(i, 3.0) is None for i in range(22, 60))


def flat(count):
    return [2.3 + 0.1 * ((7 * i) % 11 - 5) / 10 for i in range(count)]


def test_too_low_is_told_once_after_200_losses():
    ((place, finding),) = found(LearningRateTooLow(settings=RUN), flat(400), ratio=2e-5)
    assert place == 200
    assert finding.severity == "info"
    assert (
        finding.message
        == "the loss has not left 2.3 in 200 steps, each of which changes the weights by 2e-05 of their norm"
    )
    assert finding.advice[0].override == "optimizer.lr=0.01"


@pytest.mark.parametrize(
    ("losses", "known"),
    [
        (flat(400), {}),  # without a ratio it could be anything
        (flat(400), {"ratio": 1e-3}),  # steps are large enough: something else is wrong
        ([loss - 0.001 * i for i, loss in enumerate(flat(400))], {"ratio": 2e-5}),  # it learns, that is enough
        (flat(400), {"ratio": 2e-5, "rate_share": 0.1}),  # a warm-up
        (flat(200), {"ratio": 2e-5}),
        ([math.nan] * 400, {"ratio": 2e-5}),
    ],
)
def test_too_low_is_silent(losses, known):
    assert found(LearningRateTooLow(), losses, **known) == []


def test_too_low_waits_for_the_end_of_a_warm_up():
    detector = LearningRateTooLow()
    places = [i for i, loss in enumerate(flat(600)) if detector.update(i, loss, 2e-5, rate_share=min(1.0, i / 200))]
    assert places == [300]


def test_too_low_is_over_when_the_loss_falls():
    detector = LearningRateTooLow()
    found(detector, flat(300), ratio=2e-5)
    assert detector.active
    for i, loss in enumerate(flat(40)):
        assert detector.update(300 + i, loss - 1.0) is None
    assert not detector.active


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: LearningRateTooHigh(steps=5), "steps is 5"), (lambda: LearningRateTooHigh(most=0), "most is 0"),
     (lambda: LearningRateTooLow(values=60), "values is 60"), (lambda: LearningRateTooLow(least=-1), "least is -1")],
)  # fmt: skip
def test_says_what_they_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()

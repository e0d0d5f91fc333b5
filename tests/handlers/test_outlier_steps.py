import pytest
import torch
from torch import nn

from ignition.engine import build_trainer
from ignition.handlers import OutlierSteps


def calm(count):
    return [2.0 + 0.1 * ((7 * i) % 11 - 5) / 10 for i in range(count)]


def judged(steps, losses, norms=None, first=0):
    norms = norms or calm(len(losses))
    pairs = zip(losses, norms, strict=True)
    return [steps.update(i, loss=loss, norm=norm) for i, (loss, norm) in enumerate(pairs, first)]


def test_a_single_spike_is_left_out_and_what_comes_after_is_not():
    steps = OutlierSteps(["loss_spike"])
    assert judged(steps, [*calm(60), 9.0, *calm(10)]) == [""] * 60 + ["loss_spike"] + [""] * 10
    assert (steps.skipped, steps.latest) == (1, 60)


def test_it_looks_at_what_it_is_told_to():
    losses, norms = [*calm(60), 9.0], [*calm(60), 900.0]
    assert judged(OutlierSteps(["loss_spike"]), calm(61), norms)[-1] == ""
    assert judged(OutlierSteps(["gradient_explosion"]), losses, calm(61))[-1] == ""
    assert judged(OutlierSteps(), calm(61), norms)[-1] == "gradient_explosion"


def test_data_that_has_changed_for_good_is_soon_trained_on():
    steps = OutlierSteps(max_skips=3)
    answers = judged(steps, [*calm(60), *[9.0 + value for value in calm(200)]])
    left_out = [bool(answer) for answer in answers[60:]]
    assert left_out[:8] == [True, True, True, False, True, True, True, False]
    assert not any(left_out[100:])  # by then it is usual


def test_a_bad_batch_does_not_reach_the_weights():
    def weight(batches, **attached):
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        trainer = build_trainer(model, optimizer, lambda model, x, progress: {"square": model(x).square().mean()})
        OutlierSteps().attach(trainer, optimizer)
        trainer.run(batches)
        return model.weight.detach().clone(), trainer.state.steps

    good = list((torch.ones(80, 4, 2) + 0.1 * torch.randn(80, 4, 2)).unbind())
    bad = torch.full((4, 2), 1e4)
    with_bad, steps = weight([*good[:60], bad, *good[60:]])
    without, _ = weight(good)
    assert steps == 81 and torch.equal(with_bad, without)


def test_it_goes_on_from_its_state_as_one_that_never_stopped():
    losses = [*calm(70), 9.0, *calm(5), 9.0, 9.0, 9.0, 9.0, *calm(5)]
    whole = OutlierSteps()
    expected = judged(whole, losses)
    for place in (10, 60, 71, 78, 80):
        first, second = OutlierSteps(), OutlierSteps()
        answers = judged(first, losses[:place])
        second.load_state_dict(first.state_dict())
        rest = losses[place:]
        answers += judged(second, rest, calm(len(losses))[place:], first=place)
        assert answers == expected, place
        assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize(
    ("arguments", "words"), [({"of": ["overfitting"]}, "can name"), ({"max_skips": 0}, "at least 1")]
)
def test_settings_that_make_no_sense(arguments, words):
    with pytest.raises(ValueError, match=words):
        OutlierSteps(**arguments)

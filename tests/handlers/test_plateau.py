import json
import math
import textwrap

import ignite.handlers
import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ignition.handlers import Constant, Cosine, LearningRate, Plateau, Warmup
from ignition.handlers.improvement import MissingMetric

NAN, INF = math.nan, math.inf


def optimizer_with(*rates):
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates], lr=1.0)


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


STORIES = {
    "still": [1.0] * 12,
    "falls": [1.0 - 0.01 * epoch for epoch in range(12)],
    "bumpy": [1.0, 0.9, 0.95, 0.93, 0.91, 0.89999, 0.7, 0.8, 0.8, 0.8, 0.8, 0.8, 0.6, 0.9, 0.9, 0.9, 0.9],
    "not finite": [1.0, NAN, NAN, 0.9, NAN, NAN, NAN, NAN, INF, INF, 0.5],
    "only nan": [NAN] * 12,
}


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(("patience", "cooldown", "threshold"), [(0, 0, 1e-4), (2, 0, 1e-4), (1, 2, 0.05), (2, 1, 0.0)])
@pytest.mark.parametrize("min_lr", [0.0, 0.002, [0.004, 0.3]])
def test_equals_torch_on_scripted_scores(story, mode, patience, cooldown, threshold, min_lr):
    settings = {"mode": mode, "factor": 0.2, "patience": patience, "cooldown": cooldown, "threshold": threshold}
    theirs, ours = optimizer_with(0.1, 1.0), optimizer_with(0.1, 1.0)
    reference = ReduceLROnPlateau(theirs, threshold_mode="rel", min_lr=min_lr, eps=0.0, **settings)
    plateau = Plateau(LearningRate(ours, Constant()), metric="loss", min_lr=min_lr, **settings)
    for score in STORIES[story]:
        if mode == "max" and score == INF:
            continue  # to torch an infinite score is the best there is
        reference.step(score)
        plateau.update(score)
        assert rates(ours) == pytest.approx(rates(theirs), rel=1e-12)


def scripted(scores):
    """An evaluator whose metric ``loss`` follows the script, run by run."""
    script = iter(scores)
    evaluator = Engine(lambda engine, batch: None)
    evaluator.add_event_handler(Events.COMPLETED, lambda engine: engine.state.metrics.update(loss=next(script)))
    return evaluator


def test_v19_the_floor_holds_for_every_group():
    theirs, ours = optimizer_with(1.0, 1.0), optimizer_with(1.0, 1.0)
    for optimizer, handler in (
        (
            theirs,
            lambda: ignite.handlers.ReduceLROnPlateauScheduler(theirs, "loss", patience=0, factor=0.1, min_lr=0.1),
        ),
        (ours, lambda: Plateau(LearningRate(ours, Constant()), metric="loss", mode="min", patience=0, min_lr=0.1)),
    ):
        evaluator = scripted([1.0] * 8)
        evaluator.add_event_handler(Events.COMPLETED, handler())
        for _ in range(8):
            evaluator.run([0])
        assert len(rates(optimizer)) == 2
    assert max(rates(theirs)) < 1e-5
    assert rates(ours) == [0.1, 0.1]


def test_the_floor_does_not_lift_a_warm_up():
    optimizer = optimizer_with(1.0)
    learning_rate = LearningRate(optimizer, Warmup(4, start_factor=0.0))
    plateau = Plateau(learning_rate, metric="loss", mode="min", patience=0, factor=0.1, min_lr=0.3)
    assert rates(optimizer) == [0.0]
    plateau.update(1.0)
    plateau.update(1.0)
    seen = []
    for _ in range(4):
        learning_rate.step()
        seen += rates(optimizer)
    assert seen == pytest.approx([0.25, 0.3, 0.3, 0.3])


def test_a_schedule_goes_on_under_a_plateau():
    optimizer = optimizer_with(1.0, 0.1)
    learning_rate = LearningRate(optimizer, Cosine(4))
    plateau = Plateau(learning_rate, metric="loss", mode="min", patience=0, factor=0.5)
    seen = [rates(optimizer)]
    for score in (1.0, 1.0, 0.9, 0.9):  # a score after each step
        learning_rate.step()
        plateau.update(score)
        seen.append(rates(optimizer))
    half = 0.5 + 0.5 * math.cos(math.pi / 4)
    assert [first for first, _ in seen] == pytest.approx([1.0, half, 0.25, 0.5 * (1 - half), 0.0])
    assert [second for _, second in seen] == pytest.approx([0.1 * first for first, _ in seen])


def test_without_a_floor_of_its_own_it_keeps_that_of_the_learning_rate():
    learning_rate = LearningRate(optimizer_with(1.0), Constant(), min_lr=0.4)
    plateau = Plateau(learning_rate, metric="loss", mode="min", patience=0, factor=0.1)
    for score in (1.0, 1.0):
        plateau.update(score)
    assert learning_rate.rates == [0.4]


def test_a_group_added_later_is_lowered_like_the_others():
    optimizer = optimizer_with(1.0)
    learning_rate = LearningRate(optimizer, Constant())
    plateau = Plateau(learning_rate, metric="loss", mode="min", patience=0, factor=0.1, min_lr=0.05)
    plateau.update(1.0)
    plateau.update(1.0)
    learning_rate.add_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 2.0})
    assert rates(optimizer) == [0.1, 0.2]
    plateau.update(1.0)
    assert rates(optimizer) == [0.05, 0.05]


def test_at_the_floor_nothing_is_lowered_any_more():
    learning_rate = LearningRate(optimizer_with(1.0), Constant())
    plateau = Plateau(learning_rate, metric="loss", mode="min", patience=0, factor=0.1, min_lr=0.1)
    assert [plateau.update(1.0) for _ in range(4)] == [False, True, False, False]
    assert learning_rate.scale == pytest.approx(0.1)


@pytest.mark.parametrize("cut", range(1, 8))
def test_interrupted_anywhere_it_goes_on_as_the_whole_run(cut):
    scores = [1.0, NAN, 1.1, 0.5, 0.6, 0.6, 0.6, 0.6]

    def make():
        learning_rate = LearningRate(optimizer_with(1.0), Constant())
        plateau = Plateau(learning_rate, metric="loss", mode="min", patience=1, cooldown=1)
        return plateau, learning_rate

    whole, whole_rate = make()
    for score in scores:
        whole.update(score)
    first, first_rate = make()
    for score in scores[:cut]:
        first.update(score)
    second, second_rate = make()
    state, rate_state = json.loads(json.dumps([first.state_dict(), first_rate.state_dict()]))
    second_rate.load_state_dict(rate_state)
    second.load_state_dict(state)
    for score in scores[cut:]:
        second.update(score)
    assert second.state_dict() == whole.state_dict()
    assert second_rate.rates == whole_rate.rates == [pytest.approx(0.01)]


def test_a_resume_with_another_metric_or_direction_is_refused():
    learning_rate = LearningRate(optimizer_with(1.0), Constant())
    saved = Plateau(learning_rate, metric="loss", mode="min").state_dict()
    with pytest.raises(ValueError, match="saved state is of mode 'min', this one is of mode 'max'"):
        Plateau(learning_rate, metric="loss", mode="max").load_state_dict(saved)
    with pytest.raises(ValueError, match="saved state is of metric 'loss', this one is of metric 'epe'"):
        Plateau(learning_rate, metric="epe", mode="min").load_state_dict(saved)


def test_an_unknown_metric_is_an_error_that_names_the_known_ones():
    evaluator = scripted([1.0])
    Plateau(LearningRate(optimizer_with(1.0), Constant()), metric="epe", mode="min").attach(evaluator)
    with pytest.raises(MissingMetric, match=r"no metric 'epe' on this engine \(known: loss\)"):
        evaluator.run([0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 1.0}, "factor is 1.0"),
        ({"patience": -1}, "patience is -1"),
        ({"mode": "low"}, "mode is 'low'"),
        ({"min_lr": [0.1, 0.1]}, "min_lr has 2 numbers; the optimizer has 1 parameter groups"),
        ({"min_lr": -1.0}, "min_lr is -1.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Plateau(LearningRate(optimizer_with(1.0), Constant()), **{"metric": "loss", "mode": "min", **settings})


def test_two_processes_lower_and_stop_by_the_first_ones_score(two_processes):
    """Scores that differ between processes: both follow process 0, so that rates and the last epoch stay equal."""
    answers = two_processes(
        textwrap.dedent("""
        import json, torch
        from ignite.engine import Engine, Events
        from ignition import distributed
        from ignition.handlers import Constant, EarlyStopping, LearningRate, Plateau

        with distributed.process_group("cpu", timeout_seconds=60):
            own = [1.0, 0.9, 0.9, 0.9, 0.9, 0.9] if distributed.rank() == 0 else [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
            trainer, evaluator = Engine(lambda e, b: None), Engine(lambda e, b: None)
            evaluator.add_event_handler(
                Events.COMPLETED, lambda e: e.state.metrics.update(loss=own[trainer.state.epoch - 1])
            )
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
            Plateau(LearningRate(optimizer, Constant()), metric="loss", mode="min", patience=1).attach(evaluator)
            EarlyStopping("loss", "min", patience=3).attach(evaluator, trainer)
            trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda e: evaluator.run([0]))
            trainer.run([0], max_epochs=6)
            print(json.dumps([trainer.state.epoch, trainer.state.stop.reason, optimizer.param_groups[0]["lr"]]))
        """)
    )
    assert json.loads(answers[0]) == json.loads(answers[1])
    assert json.loads(answers[1]) == [5, "loss has not improved on 0.9 (epoch 2) for 3 evaluations", pytest.approx(0.1)]

"""The training step against loops written by hand, and the evaluation against plain means."""

import pytest
import torch
from ignite.engine import Events
from ignite.metrics import MeanSquaredError
from torch import nn

from ignition.engine import build_evaluator, build_trainer
from ignition.events import StepEvents
from ignition.loss_terms import LossError, LossWeights, of_model
from ignition.precision import Precision


def square_loss(model, batch, progress):
    return {"square": (model(batch["x"]) - batch["y"]).square().mean()}


def batches(sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [{"x": torch.randn(n, 3, generator=generator), "y": torch.randn(n, 1, generator=generator)} for n in sizes]


def linear():
    torch.manual_seed(1)
    return nn.Linear(3, 1)


def test_one_batch_a_step_equals_the_loop_by_hand_bit_for_bit():
    data, model, byhand = batches([4, 4, 2]), linear(), linear()
    optimizer, other = torch.optim.AdamW(model.parameters(), lr=0.1), torch.optim.AdamW(byhand.parameters(), lr=0.1)
    build_trainer(model, optimizer, square_loss).run(data, max_epochs=2)
    for batch in data * 2:
        other.zero_grad()
        square_loss(byhand, batch, None)["square"].backward()
        other.step()
    assert torch.equal(model.weight, byhand.weight)
    assert torch.equal(model.bias, byhand.bias)


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([4, 4, 4, 4], [[0, 1], [2, 3]]),
        ([4, 4, 4], [[0, 1], [2]]),  # the last group has one batch of two
        ([4, 4, 4, 1], [[0, 1], [2, 3]]),  # and here a batch of one sample
        ([4, 4, 3], [[0, 1], [2]]),
    ],
)
def test_accumulation_weighs_every_sample_alike_and_flushes_the_last_group(sizes, groups):
    data, model, byhand = batches(sizes), linear(), linear()
    trainer = build_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), square_loss, accumulate=2, batch_size=4)
    trainer.run(data, max_epochs=1)
    other = torch.optim.SGD(byhand.parameters(), lr=0.1)
    for group in groups:
        whole = {key: torch.cat([data[index][key] for index in group]) for key in ("x", "y")}
        other.zero_grad()
        square_loss(byhand, whole, None)["square"].backward()
        other.step()
    assert trainer.state.steps == len(groups)
    assert torch.allclose(model.weight, byhand.weight, atol=1e-6)


def test_events_of_a_step_come_in_order_and_can_be_filtered():
    model, seen = linear(), []
    trainer = build_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), square_loss, accumulate=2)
    for event in StepEvents:
        trainer.add_event_handler(event, lambda engine, event=event: seen.append((engine.state.iteration, event.value)))
    every_second = []
    trainer.add_event_handler(StepEvents.STEP_COMPLETED(every=2), lambda e: every_second.append(e.state.iteration))
    trainer.run(batches([2] * 5), max_epochs=1)
    ready, done = "gradients_ready", "step_completed"
    assert seen == [(2, ready), (2, done), (4, ready), (4, done), (5, ready), (5, done)]
    assert every_second == [4]


def test_a_skipped_step_leaves_weights_and_moments_alone():
    model = linear()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    trainer = build_trainer(model, optimizer, square_loss)
    before = model.weight.clone()

    @trainer.on(StepEvents.GRADIENTS_READY)
    def skip(engine):
        engine.state.skip_step = True

    trainer.run(batches([2, 2]), max_epochs=1)
    assert torch.equal(model.weight, before)
    assert optimizer.state == {}


def test_gradients_are_true_ones_at_gradients_ready_under_fp16_scaling():
    model, seen = linear(), []
    reference = linear()
    data = [{key: value / 8 for key, value in batch.items()} for batch in batches([4])]  # so that nothing overflows
    square_loss(reference, data[0], None)["square"].backward()
    precision = Precision("cpu", amp="fp16")
    trainer = build_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), square_loss, precision=precision)
    trainer.add_event_handler(StepEvents.GRADIENTS_READY, lambda engine: seen.append(model.weight.grad.clone()))
    trainer.run(data, max_epochs=1)
    assert torch.allclose(seen[0], reference.weight.grad, rtol=0.01, atol=1e-3)  # 16-bit products
    assert precision.scaler.get_scale() == 65536.0


def test_bf16_trains_and_keeps_float32_weights():
    model = linear()
    trainer = build_trainer(
        model, torch.optim.SGD(model.parameters(), lr=0.1), square_loss, precision=Precision("cpu", amp="bf16")
    )
    trainer.run(batches([4] * 10), max_epochs=3)
    assert model.weight.dtype == torch.float32
    assert torch.isfinite(trainer.state.output.loss)


def test_augmentation_sees_the_placed_batch_and_no_gradients():
    model, seen = linear(), []

    def double(batch):
        seen.append(torch.is_grad_enabled())
        return {**batch, "x": batch["x"] * 2}

    trainer = build_trainer(
        model,
        torch.optim.SGD(model.parameters(), lr=0.0),
        lambda model, batch, progress: {"x": model(batch["x"]).mean() * 0 + batch["x"].mean()},
        augmentation=double,
    )
    data = [{"x": torch.ones(2, 3)}]
    trainer.run(data, max_epochs=1)
    assert float(trainer.state.output.loss) == 2.0
    assert seen == [False]


def test_progress_and_scheduled_weights_follow_the_epochs():
    model, seen = linear(), []

    def losses(model, batch, progress):
        seen.append((progress.iteration, progress.epoch, progress.fraction, dict(progress.weights)))
        return square_loss(model, batch, progress)

    weights = LossWeights({"square": lambda epoch: 1.0 + epoch})
    trainer = build_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), losses, weights=weights)
    trainer.run(batches([2, 2]), max_epochs=2)
    assert seen == [
        (1, 0.0, 0.0, {"square": 1.0}),
        (2, 0.5, 0.25, {"square": 1.5}),
        (3, 1.0, 0.5, {"square": 2.0}),
        (4, 1.5, 0.75, {"square": 2.5}),
    ]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "must return a dict"),
        ({}, "an empty dict"),
        ({"a": torch.ones(2)}, "shape \\[2\\]"),
        ({"a": torch.ones(())}, "depends on a parameter"),
    ],
)
def test_losses_that_are_none_are_told_apart(returned, message):
    model = linear()
    trainer = build_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda *_: returned)
    with pytest.raises(LossError, match=message):
        trainer.run(batches([2]), max_epochs=1)


def test_evaluation_averages_over_samples_and_restores_the_mode():
    model = nn.Sequential(linear(), nn.Dropout(0.9))
    model.train()
    data = batches([4, 1])
    metrics = {"mse": MeanSquaredError(output_transform=lambda output: (output[0], output[1]["y"]))}
    evaluator = build_evaluator(
        model, lambda model, batch: model(batch["x"]), metrics=metrics, losses=of_model(square_loss)
    )
    evaluator.run(data)
    x, y = (torch.cat([batch[key] for batch in data]) for key in ("x", "y"))
    expected = float((model[0](x) - y).square().mean().detach())
    assert evaluator.state.metrics["loss"] == pytest.approx(expected, rel=1e-6)
    assert evaluator.state.metrics["loss/square"] == pytest.approx(expected, rel=1e-6)
    assert evaluator.state.metrics["mse"] == pytest.approx(expected, rel=1e-6)
    assert model.training


def test_an_error_in_an_evaluation_comes_out_and_the_mode_comes_back():
    model = linear().train()

    def broken(model, batch):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        build_evaluator(model, broken).run(batches([2]))
    assert model.training


def test_a_new_evaluation_forgets_the_one_before():
    model = linear()
    evaluator = build_evaluator(model, lambda model, batch: model(batch["x"]), losses=of_model(square_loss))
    first = evaluator.run(batches([4], seed=1)).metrics["loss"]
    evaluator.run(batches([4], seed=2))
    assert evaluator.run(batches([4], seed=1)).metrics["loss"] == first


def test_train_mode_is_on_in_every_epoch():
    model, modes = linear().eval(), []
    trainer = build_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), square_loss)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: modes.append(model.training))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: model.eval())
    trainer.run(batches([2]), max_epochs=2)
    assert modes == [True, True]


def test_an_fp16_overflow_is_no_step_and_moves_no_schedule():
    model, seen = linear(), []
    precision = Precision("cpu", amp="fp16")  # begins with a scale of 65536, too large for these gradients
    trainer = build_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), square_loss, precision=precision)
    for event in (StepEvents.STEP_COMPLETED, StepEvents.STEP_SKIPPED):
        trainer.add_event_handler(event, lambda engine, event=event: seen.append(event.value))
    trainer.run([{"x": torch.full((2, 3), 8.0), "y": torch.full((2, 1), 90.0)}] * 2, max_epochs=1)
    assert seen[0] == "step_skipped"
    assert precision.loss_scale < 65536.0

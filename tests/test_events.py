"""Step events in engines that are not ours."""

import pytest
import torch
from ignite.engine import Engine, create_supervised_trainer
from torch import nn

from ignition.engine import build_trainer
from ignition.events import StepEvents, stop, watch

DATA = [(torch.ones(2, 1), torch.zeros(2, 1))] * 4


def parts(fused=False):
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)


def test_a_foreign_trainer_fires_them_once_however_many_handlers_ask():
    model, optimizer = parts()
    trainer, seen = create_supervised_trainer(model, optimizer, nn.functional.mse_loss), []
    watch(trainer, optimizer)
    watch(trainer, optimizer)
    for event in StepEvents:
        trainer.add_event_handler(event, lambda engine, event=event: seen.append(event.value))
    trainer.run(DATA[:2])
    assert seen == ["gradients_ready", "step_completed"] * 2
    assert trainer.state.steps == 2


def test_our_own_trainer_is_left_alone():
    model, optimizer = parts()
    trainer = build_trainer(model, optimizer, lambda model, batch, progress: {"x": model(batch[0]).mean()})
    watch(trainer, optimizer)
    trainer.run(DATA)
    assert trainer.state.steps == 4


@pytest.mark.parametrize("fused", [False, True])
def test_a_foreign_step_is_left_out_without_a_trace(fused):
    model, optimizer = parts(fused)
    trainer = create_supervised_trainer(model, optimizer, nn.functional.mse_loss)
    watch(trainer, optimizer)
    skipped, before = [], model.weight.clone()
    trainer.add_event_handler(StepEvents.GRADIENTS_READY, lambda engine: setattr(engine.state, "skip_step", True))
    trainer.add_event_handler(StepEvents.STEP_SKIPPED, lambda engine: skipped.append(engine.state.iteration))
    trainer.run(DATA)
    assert torch.equal(model.weight, before)
    assert skipped == [1, 2, 3, 4]
    assert optimizer.state == {}


@pytest.mark.parametrize("fused", [False, True])
def test_handlers_see_true_gradients_under_a_grad_scaler(fused):
    model, optimizer = parts(fused)
    scaler, seen = torch.amp.GradScaler("cpu", init_scale=1024.0), []

    def step(engine, batch):
        optimizer.zero_grad()
        scaler.scale(nn.functional.mse_loss(model(batch[0]), batch[1])).backward()
        scaler.step(optimizer)
        scaler.update()

    trainer = Engine(step)
    watch(trainer, optimizer)
    trainer.add_event_handler(StepEvents.GRADIENTS_READY, lambda engine: seen.append(model.weight.grad.item()))
    expected = 2 * (model.weight + model.bias).item()
    plain, plain_optimizer = parts(fused)
    nn.functional.mse_loss(plain(DATA[0][0]), DATA[0][1]).backward()
    plain_optimizer.step()
    trainer.run(DATA[:1])
    assert seen == [pytest.approx(expected, rel=1e-6)]  # a fused optimizer's hook is handed 1024 times that
    assert model.weight.item() == pytest.approx(plain.weight.item(), rel=1e-6)
    assert scaler.get_scale() == 1024.0


def test_two_optimizers_of_one_engine_both_count():
    first, second = parts(), parts()
    engine = Engine(lambda engine, batch: [(m(batch[0]).sum().backward(), o.step()) for m, o in (first, second)])
    watch(engine, first[1])
    watch(engine, second[1])
    assert engine.run(DATA[:3]).steps == 6


def test_the_first_reason_to_stop_stands():
    def both(engine, batch):
        stop(engine, "one")
        stop(engine, "two", status="preempted")

    state = Engine(both).run([1, 2])
    assert (state.stop.reason, state.stop.status, state.iteration) == ("one", "stopped", 1)

"""Rows: one an iteration, one an epoch, one an evaluation; none ahead of a checkpoint, none lost."""

import pytest
import torch
from ignite.engine import Engine, Events

from ignition.engine import StepOutput
from ignition.handlers.metrics_log import MetricsLog

NAN = float("nan")


def engine_of(losses, samples=None):
    """A trainer whose losses are scripted."""
    samples = samples or [1] * len(losses)

    def step(engine, batch):
        index = (engine.state.iteration - 1) % len(losses)
        loss = torch.tensor(losses[index])
        return StepOutput(loss, {"half": loss / 2}, samples[index])

    return Engine(step)


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)


def test_every_iteration_has_a_row_however_rarely_the_device_is_read():
    rows = []
    trainer = engine_of([1.0, 2.0, 3.0, 4.0, 5.0])
    MetricsLog(rows.append, every=2).attach(trainer, optimizer())
    written = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: written.append(len(rows)))
    trainer.run(range(5), max_epochs=1)
    assert written == [0, 2, 2, 4, 4]
    assert [row["train/batch_loss"] for row in rows[:5]] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert rows[0] == {
        "iteration": 1,
        "epoch": 1,
        "train/epoch": 1,
        "train/learning_rate": 0.5,
        "train/batch_loss": 1.0,
        "train/loss/half": 0.5,
    }
    assert rows[5] == {"iteration": 5, "epoch": 1, "train/epoch_avg_loss": 3.0, "learning_rate": 0.5}


def test_the_epoch_average_counts_samples_not_batches():
    rows = []
    trainer = engine_of([1.0, 4.0], samples=[3, 1])
    MetricsLog(rows.append).attach(trainer, optimizer())
    trainer.run(range(2), max_epochs=2)
    averages = [row["train/epoch_avg_loss"] for row in rows if "train/epoch_avg_loss" in row]
    assert averages == [1.75, 1.75]


def test_a_loss_that_is_not_finite_is_written_as_it_is_and_spoils_one_epoch_only():
    rows = []
    trainer = engine_of([1.0, NAN])
    MetricsLog(rows.append).attach(trainer, optimizer())
    trainer.run(range(2), max_epochs=1)
    assert [str(row.get("train/batch_loss")) for row in rows] == ["1.0", "nan", "None"]
    trainer_two = engine_of([2.0, 2.0])
    log = MetricsLog(rows.append)
    log.attach(trainer_two, optimizer())
    trainer_two.run(range(2), max_epochs=1)
    assert rows[-1]["train/epoch_avg_loss"] == 2.0


def test_a_resumed_epoch_has_the_average_of_the_whole():
    first_rows, rows = [], []
    first = engine_of([1.0, 2.0, 3.0, 6.0])
    log = MetricsLog(first_rows.append, every=50)
    log.attach(first, optimizer())
    first.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda engine: engine.terminate(skip_completed=True))
    state = {}
    first.add_event_handler(Events.TERMINATE, lambda engine: state.update(log.state_dict()))
    first.run(range(4), max_epochs=1)
    assert len(first_rows) == 3  # asking for the state wrote what was pending

    resumed = engine_of([1.0, 2.0, 3.0, 6.0])
    again = MetricsLog(rows.append, every=50)
    again.load_state_dict(state)
    again.attach(resumed, optimizer())
    resumed.load_state_dict({"iteration": 3, "max_epochs": 1, "epoch_length": 4})
    resumed.run([None])
    assert rows[-1]["train/epoch_avg_loss"] == 3.0


def test_an_evaluation_writes_its_numbers_at_the_trainer_s_iteration():
    rows = []
    trainer, evaluator = engine_of([1.0, 1.0]), Engine(lambda engine, batch: None)
    log = MetricsLog(rows.append)
    log.attach(trainer, optimizer())
    log.attach_evaluation(evaluator, trainer)

    @evaluator.on(Events.STARTED)
    def metrics(engine):
        engine.state.metrics = {"epe": torch.tensor(2.5), "report": {"not": "a number"}}

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run([0]))
    trainer.run(range(2), max_epochs=1)
    assert rows[-1] == {"iteration": 2, "epoch": 1, "val/epe": 2.5}


def test_the_gradient_norm_is_written_when_there_was_a_step():
    rows = []
    trainer = engine_of([1.0, 1.0])

    @trainer.on(Events.ITERATION_STARTED)
    def group(engine):
        engine.state.group_open = engine.state.iteration == 1
        engine.state.gradient_norm = torch.tensor(7.0)

    MetricsLog(rows.append).attach(trainer, optimizer())
    trainer.run(range(2), max_epochs=1)
    assert ["train/gradient_norm" in row for row in rows] == [False, True, False]


def test_a_plain_loss_is_enough_and_a_count_below_one_is_refused():
    rows = []
    trainer = Engine(lambda engine, batch: 0.25)
    MetricsLog(rows.append).attach(trainer, optimizer())
    trainer.run([1])
    assert rows[0]["train/batch_loss"] == 0.25
    with pytest.raises(ValueError, match="every is 0"):
        MetricsLog(every=0)

"""Rows: one an iteration, one an epoch, one an evaluation; none ahead of a checkpoint, none lost."""

import json
import logging
import math
import textwrap

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import LRScheduler

from ignition.engine import StepOutput, build_trainer
from ignition.events import Diverged
from ignition.handlers import GradientClipping, LearningRate, NonFiniteSteps
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


def optimizer(*rates):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates or [0.5]]
    return torch.optim.SGD(groups, lr=0.5)


def stepping(optimizer, every=1):
    """Somebody's engine that steps at the last of ``every`` batches; its output is the iteration."""

    def step(engine, batch):
        if engine.state.iteration % every == 0:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.ones_like(parameter)
            optimizer.step()
        return float(engine.state.iteration)

    return Engine(step)


def column(rows, name):
    return [row[name] for row in rows if name in row]


# ---------------------------------------------------------------------------------------------------- the three rows


def test_every_iteration_has_a_row_however_rarely_the_device_is_read():
    rows = []
    trainer = engine_of([1.0, 2.0, 3.0, 4.0, 5.0])
    MetricsLog(rows.append, every=2).attach(trainer, optimizer())
    written = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: written.append(len(rows)))
    trainer.run(range(5), max_epochs=1)
    assert written == [0, 2, 2, 4, 4]
    assert column(rows, "train/batch_loss") == [1.0, 2.0, 3.0, 4.0, 5.0]
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
    trainer = engine_of([1.0, 4.0, NAN], samples=[3, 1, 0])  # a batch without samples has no loss
    MetricsLog(rows.append).attach(trainer, optimizer())
    trainer.run(range(3), max_epochs=2)
    assert column(rows, "train/epoch_avg_loss") == [1.75, 1.75]


def test_a_loss_that_is_not_finite_is_written_as_it_is_and_spoils_one_epoch_only():
    rows = []
    trainer = engine_of([1.0, NAN, math.inf, 2.0, 3.0, 4.0])
    MetricsLog(rows.append).attach(trainer, optimizer())
    trainer.run(range(2), max_epochs=3)
    assert [str(loss) for loss in column(rows, "train/batch_loss")] == ["1.0", "nan", "inf", "2.0", "3.0", "4.0"]
    assert [str(loss) for loss in column(rows, "train/epoch_avg_loss")] == ["nan", "inf", "3.5"]


def test_an_evaluation_writes_its_numbers_at_the_trainer_s_iteration():
    rows = []
    trainer, evaluator, other = engine_of([1.0, 1.0]), Engine(lambda e, b: None), Engine(lambda e, b: None)
    log = MetricsLog(rows.append)
    log.attach(trainer, optimizer())
    log.attach_evaluation(evaluator, trainer)
    log.attach_evaluation(other, trainer, tag="test")

    @evaluator.on(Events.STARTED)
    def metrics(engine):
        engine.state.metrics = {
            "epe": torch.tensor(2.5),
            "numpy": np.float32(0.5),
            "bad": NAN,
            "report": {"not": "a number"},  # ignite adds what such a metric holds under its own keys
            "not": 3,
            "each class": torch.ones(4),
            "name": "text",
        }

    @other.on(Events.STARTED)
    def others_metrics(engine):
        engine.state.metrics = {"epe": 4}

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: (evaluator.run([0]), other.run([0])))
    trainer.run(range(2), max_epochs=1)
    assert math.isnan(rows[-2].pop("val/bad"))
    assert rows[-2] == {"iteration": 2, "epoch": 1, "val/epe": 2.5, "val/numpy": 0.5, "val/not": 3.0}
    assert rows[-1] == {"iteration": 2, "epoch": 1, "test/epe": 4.0}


# ---------------------------------------------------------------------------------------------------- learning rates


def test_the_rate_of_a_row_is_the_one_its_step_was_taken_with():
    rows, taken, tuned = [], [], optimizer(1.0)
    trainer = stepping(tuned)
    tuned.register_step_pre_hook(lambda *_: taken.append(tuned.param_groups[0]["lr"]))
    LearningRate(tuned, lambda step: 0.5**step).attach(trainer)  # lowers the rate as soon as the step is taken
    MetricsLog(rows.append).attach(trainer, tuned)
    trainer.run(range(3), max_epochs=1)
    assert column(rows, "train/learning_rate") == taken == [1.0, 0.5, 0.25]
    assert column(rows, "learning_rate") == [0.125]  # of an epoch: as the schedule leaves it


@pytest.mark.parametrize("event", [Events.ITERATION_STARTED, Events.ITERATION_COMPLETED])
def test_it_is_so_with_a_schedule_of_torch_that_ignite_drives(event):
    rows, taken, tuned = [], [], optimizer(1.0)
    trainer = stepping(tuned)
    tuned.register_step_pre_hook(lambda *_: taken.append(tuned.param_groups[0]["lr"]))
    trainer.add_event_handler(event, LRScheduler(torch.optim.lr_scheduler.ExponentialLR(tuned, 0.5)))
    MetricsLog(rows.append).attach(trainer, tuned)
    trainer.run(range(4), max_epochs=1)
    assert column(rows, "train/learning_rate") == taken
    assert len(set(taken)) == 4


def test_every_batch_of_a_group_has_the_rate_of_the_step_that_it_goes_into():
    rows, tuned = [], optimizer(1.0)
    trainer = stepping(tuned, every=2)
    LearningRate(tuned, lambda step: 0.5**step).attach(trainer)
    MetricsLog(rows.append).attach(trainer, tuned)
    trainer.run(range(5), max_epochs=1)
    assert column(rows, "train/learning_rate") == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_a_further_group_is_written_once_it_has_a_rate_of_its_own_and_ever_after():
    rows, tuned = [], optimizer(1.0, 1.0, 0.5)
    tuned.param_groups[2]["name"] = "head"
    trainer = stepping(tuned)
    log = MetricsLog(rows.append, every=1)
    log.attach(trainer, tuned)
    trainer.run([0], max_epochs=1)
    tuned.param_groups[1]["lr"] = 0.25
    trainer.run([0], max_epochs=2)
    for group in tuned.param_groups:
        group["lr"] = 0.125
    trainer.run([0], max_epochs=3)
    names = ("train/learning_rate", "train/learning_rate/1", "train/learning_rate/head")
    rates = [[row.get(name) for name in names] for row in rows if "train/batch_loss" in row]
    assert rates == [[1.0, None, 0.5], [1.0, 0.25, 0.5], [0.125, 0.125, 0.125]]

    resumed_rows = []
    resumed = MetricsLog(resumed_rows.append)
    resumed.load_state_dict(log.state_dict())
    trainer = stepping(tuned)
    resumed.attach(trainer, tuned)
    trainer.run([0], max_epochs=1)
    assert [resumed_rows[0][name] for name in names] == [0.125, 0.125, 0.125]


def test_a_rate_that_is_a_tensor_is_written_as_it_was():
    rows, tuned = [], optimizer(1.0)
    tuned.param_groups[0]["lr"] = torch.tensor(1.0)  # a compiled optimizer's; the schedule changes it in place
    trainer = stepping(tuned)
    LearningRate(tuned, lambda step: 0.5**step).attach(trainer)
    MetricsLog(rows.append).attach(trainer, tuned)
    trainer.run(range(3), max_epochs=1)
    assert column(rows, "train/learning_rate") == [1.0, 0.5, 0.25]


# ---------------------------------------------------------------------------------------------------- steps, sources


def test_norm_and_sources_are_written_where_a_step_was_due():
    """With ours: at the end of a group, also where the step was left out. The stale norm in between is not written."""
    rows, asked = [], []
    model = torch.nn.Linear(1, 1)
    tuned = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(model, tuned, lambda model, batch, _: {"a": model(batch).mean()}, accumulate=2)
    GradientClipping().attach(trainer, tuned)
    NonFiniteSteps().attach(trainer, tuned)

    def source(engine):
        asked.append(engine.state.iteration)
        return {"own/steps": float(engine.state.steps), "own/skipped": torch.tensor(engine.state.skip_step)}

    MetricsLog(rows.append, sources=[source]).attach(trainer, tuned)
    good, bad = torch.ones(2, 1), torch.full((2, 1), NAN)
    trainer.run([good, good, good, bad, good], max_epochs=1)
    written = [row for row in rows if "train/batch_loss" in row]
    assert ["train/gradient_norm" in row for row in written] == [False, True, False, True, True]
    assert asked == [2, 4, 5]
    assert column(rows, "own/steps") == [1.0, 2.0, 3.0]
    assert column(rows, "own/skipped") == [0.0, 1.0, 0.0]
    assert math.isnan(written[3]["train/gradient_norm"])


def test_in_somebody_elses_engine_too():
    rows, tuned = [], optimizer()
    trainer = stepping(tuned, every=3)
    GradientClipping().attach(trainer, tuned)
    MetricsLog(rows.append, sources=[lambda engine: {"own": engine.state.steps}]).attach(trainer, tuned)
    trainer.run(range(7), max_epochs=1)
    assert [row["iteration"] for row in rows if "train/gradient_norm" in row] == [3, 6]
    assert [row["iteration"] for row in rows if "own" in row] == [3, 6]


def test_an_engine_without_an_optimizer_has_rows_without_a_rate():
    rows = []
    trainer = Engine(lambda engine, batch: batch)
    MetricsLog(rows.append, sources=[lambda engine: {"own": 1}]).attach(trainer)
    trainer.run([0.25])
    assert rows == [
        {"iteration": 1, "epoch": 1, "train/epoch": 1, "train/batch_loss": 0.25, "own": 1.0},
        {"iteration": 1, "epoch": 1, "train/epoch_avg_loss": 0.25},
    ]


def test_what_a_source_changes_afterwards_does_not_change_its_row():
    rows, kept = [], torch.tensor(0.0)
    trainer = Engine(lambda engine, batch: batch)
    MetricsLog(rows.append, sources=[lambda engine: {"own": kept.add_(1)}]).attach(trainer)
    trainer.run([0.0] * 3)
    assert column(rows, "own") == [1.0, 2.0, 3.0]


class Elsewhere(torch.Tensor):
    """A tensor as if on another device: reading one number of it would be waiting."""

    is_cpu = False

    def item(self):
        raise AssertionError("waited for the device")

    __float__ = __bool__ = item


def elsewhere(value):
    return torch.tensor(value).as_subclass(Elsewhere)


def test_nothing_on_a_device_is_read_before_the_rows_are_written():
    rows, kept, tuned = [], elsewhere(0.0), optimizer()
    tuned.param_groups[0]["lr"] = elsewhere(0.125)

    def step(engine, batch):
        tuned.step()
        engine.state.gradient_norm = elsewhere(3.0)
        return StepOutput(elsewhere(batch), {"half": elsewhere([batch / 2])}, 1)

    trainer = Engine(step)
    sources = [lambda engine: {"own": kept.add_(1), "count": elsewhere(7), "double": elsewhere(0.1).double()}]
    MetricsLog(rows.append, every=3, sources=sources).attach(trainer, tuned)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda engine: engine.terminate())
    trainer.run([1.0, NAN, 2.0, 3.0])
    assert [str(row["train/batch_loss"]) for row in rows] == ["1.0", "nan", "2.0"]
    assert column(rows, "own") == [1.0, 2.0, 3.0]
    assert rows[0]["train/gradient_norm"] == 3.0
    assert (rows[0]["train/learning_rate"], rows[0]["train/loss/half"], rows[0]["count"]) == (0.125, 0.5, 7)
    assert all(type(value) in (float, int) for row in rows for value in row.values())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda engine: {"iteration": 1.0}, "gives 'iteration', which the row has already"),
        (lambda engine: {"train/batch_loss": 1.0}, "gives 'train/batch_loss'"),
        (lambda engine: {"own": torch.ones(2)}, r"own has shape \[2\]; a tensor with one element is needed"),
        (lambda engine: {"own": "fast"}, "own is 'fast'; a number is needed"),
    ],
)
def test_what_a_source_cannot_give_is_told(source, message):
    trainer = Engine(lambda engine, batch: batch)
    MetricsLog(sources=[source]).attach(trainer)
    with pytest.raises(ValueError, match=message):
        trainer.run([1.0])


# ---------------------------------------------------------------------------------------------------- what it is given


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (0.25, 0.25),
        (1, 1.0),
        (np.float32(0.5), 0.5),
        (torch.tensor([2.0]), 2.0),
        ({"loss": torch.tensor(3.0, requires_grad=True), "y_pred": torch.ones(2)}, 3.0),
        (StepOutput(torch.tensor(4.0), {}, 8), 4.0),
    ],
)
def test_a_loss_is_found_in_what_an_iteration_gives(output, expected):
    rows = []
    trainer = Engine(lambda engine, batch: output)
    MetricsLog(rows.append).attach(trainer, optimizer())
    trainer.run([0])
    assert rows[0] == {
        "iteration": 1, "epoch": 1, "train/epoch": 1, "train/learning_rate": 0.5, "train/batch_loss": expected
    }  # fmt: skip


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ((torch.ones(2), torch.ones(2), torch.tensor(1.0)), r"gave tuple of 3, .*output_transform=lambda output"),
        ({"y_pred": torch.ones(2)}, "gave dict of 1, in which the log finds no loss"),
        (None, "gave None, in which the log finds no loss"),
        (torch.ones(2, 2), r"train/batch_loss has shape \[2, 2\]; a tensor with one element is needed"),
        ({"loss": None}, "train/batch_loss is None; a number is needed"),
        ({"loss": 1.0, "terms": {"a": torch.ones(3)}}, r"train/loss/a has shape \[3\]"),
    ],
)
def test_an_output_without_a_loss_is_told_at_once(output, message):
    trainer = Engine(lambda engine, batch: output)
    MetricsLog().attach(trainer, optimizer())
    with pytest.raises(ValueError, match=message):
        trainer.run([0, 0])
    assert trainer.state.iteration == 1


def test_output_transform_says_where_the_loss_is():
    rows = []
    model = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(model.weight, 1.0)
    torch.nn.init.zeros_(model.bias)
    tuned = torch.optim.SGD(model.parameters(), lr=0.0)
    trainer = create_supervised_trainer(
        model, tuned, torch.nn.functional.mse_loss, output_transform=lambda x, y, y_pred, loss: (y_pred, y, loss)
    )
    log = MetricsLog(rows.append)
    log.attach(
        trainer, tuned, output_transform=lambda output: {"loss": output[2], "terms": {"l1": output[0].abs().mean()}}
    )
    trainer.run([(torch.ones(2, 1) * 3, torch.ones(2, 1))])
    assert (rows[0]["train/batch_loss"], rows[0]["train/loss/l1"]) == (4.0, 3.0)


def test_a_count_below_one_is_refused():
    with pytest.raises(ValueError, match="every is 0"):
        MetricsLog(every=0)


# ---------------------------------------------------------------------------------------------------- order, resume


class Run:
    """A trainer of four batches an epoch with two evaluators, and the rows of its log."""

    def __init__(self, every):
        self.rows = []
        self.trainer = engine_of([1.0, 2.0, 3.0, 6.0])
        self.log = MetricsLog(self.rows.append, every=every)
        self.log.attach(self.trainer, optimizer())
        for tag, batches in (("val", 1), ("other", 2)):
            evaluator = Engine(lambda engine, batch: None)
            evaluator.add_event_handler(Events.STARTED, lambda engine: engine.state.metrics.update(score=1.0))
            self.log.attach_evaluation(evaluator, self.trainer, tag=tag)
            for event in (Events.EPOCH_COMPLETED, Events.ITERATION_COMPLETED(every=3)):
                self.trainer.add_event_handler(event, lambda _, own=evaluator, n=batches: own.run(range(n)))

    def until(self, iteration, start=0, state=None):
        """Go on from ``start``, where ``state`` was saved, to ``iteration``, and save."""
        kept = {}

        def save(engine):
            kept.update(self.log.state_dict())
            engine.terminate()

        if state is not None:
            self.log.load_state_dict(state)
            self.trainer.load_state_dict({"iteration": start, "max_epochs": 4, "epoch_length": 4})
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), save)
        self.trainer.run(range(4), max_epochs=None if state else 4)
        return kept


@settings(max_examples=20, deadline=None)
@given(every=st.integers(1, 20), first=st.sampled_from([1, 2, 3, 5, 6, 7]), second=st.sampled_from([9, 10, 11, 13]))
def test_iterations_never_go_back_and_a_resumed_run_writes_the_rows_of_the_whole(every, first, second):
    """Stopped and resumed twice, each time within an epoch, with two evaluators within epochs and after them."""
    whole = Run(every)
    whole.until(17)  # never comes
    rows, state, start = [], None, 0
    for end in (first, second, 17):
        piece = Run(every)
        state = piece.until(end, start, state)
        rows, start = rows + piece.rows, end
    iterations = [row["iteration"] for row in rows]
    assert iterations == sorted(iterations)
    assert [row["iteration"] for row in rows if "train/batch_loss" in row] == list(range(1, 17))
    assert column(rows, "train/epoch_avg_loss") == [3.0, 3.0, 3.0, 3.0]
    assert rows == whole.rows


def test_asking_for_the_state_writes_what_is_pending():
    run = Run(every=50)
    assert run.until(2) == {"loss_sum": 3.0, "samples": 2.0, "own_rates": []}
    assert [row["iteration"] for row in run.rows] == [1, 2]


def test_a_row_of_somebody_else_comes_after_those_that_are_pending():
    rows = []
    trainer = engine_of([1.0])
    log = MetricsLog(rows.append)
    log.attach(trainer, optimizer())
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda e: log.write({"iteration": 2, "own": 1}))
    trainer.run(range(3), max_epochs=1)
    assert [row["iteration"] for row in rows] == [1, 2, 2, 3, 3]
    assert rows[2] == {"iteration": 2, "own": 1}


def test_a_run_that_is_taken_back_has_written_what_it_did():
    """Loading a state within a run: rows that were pending come before those of the second try."""
    rows = []
    trainer = engine_of([1.0])
    log = MetricsLog(rows.append)
    log.attach(trainer)
    trainer.state.iteration, trainer.state.epoch, trainer.state.output = 7, 1, 2.0
    log(trainer)
    log.load_state_dict({"loss_sum": 5.0, "samples": 1.0, "own_rates": []})
    assert column(rows, "iteration") == [7]
    assert log.state_dict() == {"loss_sum": 5.0, "samples": 1.0, "own_rates": []}


def test_a_run_that_fails_has_its_last_rows_after_close():
    rows = []
    trainer = engine_of([1.0, 2.0])
    log = MetricsLog(rows.append)
    log.attach(trainer, optimizer())

    @trainer.on(Events.ITERATION_COMPLETED(once=2))
    def fail(engine):
        raise OSError("no more data")

    with pytest.raises(OSError, match="no more data"):
        trainer.run(range(4), max_epochs=1)
    assert rows == []
    log.close()
    assert column(rows, "train/batch_loss") == [1.0, 2.0]


# ---------------------------------------------------------------------------------------------------- writers


def test_a_writer_whose_disk_is_full_is_told_once_and_costs_its_own_rows(caplog):
    before, after, tried = [], [], []

    def full(row):
        tried.append(row["iteration"])
        if row["iteration"] in (2, 3):
            raise OSError(28, "No space left on device")

    trainer = engine_of([1.0])
    MetricsLog(before.append, full, after.append, every=2).attach(trainer)
    trainer.run(range(5), max_epochs=1)
    assert before == after
    assert column(after, "iteration") == tried == [1, 2, 3, 4, 5, 5]  # asked again: a disk can have room again
    assert [record.getMessage() for record in caplog.records] == [
        "rows are lost to test_a_writer_whose_disk_is_full_is_told_once_and_costs_its_own_rows.<locals>.full, "
        "the run goes on: [Errno 28] No space left on device"
    ]
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize("mistake", [KeyError("val/epe"), Diverged("a writer that judges")])
def test_a_mistake_in_a_writer_ends_the_run_when_the_others_have_their_rows(mistake, caplog):
    before, after = [], []

    def wrong(row):
        raise mistake

    trainer = engine_of([1.0])
    MetricsLog(before.append, wrong, after.append, every=3).attach(trainer)
    with pytest.raises(type(mistake)) as raised:
        trainer.run(range(5), max_epochs=1)
    assert raised.value is mistake
    assert column(before, "iteration") == column(after, "iteration") == [1, 2, 3]
    assert trainer.state.iteration == 3


def test_two_processes_write_the_mean_over_all_samples_and_the_first_ones_other_numbers(two_processes):
    answers = two_processes(
        textwrap.dedent("""
        import json, torch
        from ignite.engine import Engine
        from ignition import distributed
        from ignition.engine import StepOutput
        from ignition.handlers import MetricsLog

        with distributed.process_group("cpu", timeout_seconds=60):
            rank = distributed.rank()
            losses, samples = ([1.0, 2.0, 4.0], [3, 1, 1]) if rank == 0 else ([5.0, 4.0, float("nan")], [1, 1, 0])

            def step(engine, batch):
                engine.state.gradient_norm = 7.0 + rank
                i = engine.state.iteration - 1
                if rank == 0:
                    log.write({"iteration": i + 1, "alone": 1.0})
                return StepOutput(torch.tensor(losses[i]), {"a": torch.tensor(losses[i] * 2)}, samples[i])

            rows = []
            names = {"own": 1.0} if rank == 0 else {}  # a source may have nothing to say on another process
            log = MetricsLog(rows.append, every=2, sources=[lambda engine: names])
            trainer = Engine(step)
            log.attach(trainer)
            trainer.run(range(3), max_epochs=1)
            if rank == 1:  # alone: nobody is asked
                trainer.state.output = StepOutput(torch.tensor(1.0), {}, 1)
                log(trainer)
                log.close()
            print(json.dumps(rows))
        """)
    )
    rows, others = json.loads(answers[0]), json.loads(answers[1])
    assert others == []
    assert column(rows, "train/batch_loss") == [2.0, 3.0, 4.0]
    assert column(rows, "train/loss/a") == [4.0, 6.0, 8.0]
    assert column(rows, "train/gradient_norm") == [7.0, 7.0, 7.0]
    assert column(rows, "own") == [1.0, 1.0, 1.0]
    assert [row["iteration"] for row in rows if "alone" in row] == [1, 2, 3]
    assert [row["iteration"] for row in rows] == [1, 1, 2, 2, 3, 3, 3]
    assert column(rows, "train/epoch_avg_loss") == [pytest.approx((1.0 * 3 + 2.0 + 4.0 + 5.0 + 4.0) / 7)]


def test_a_step_that_was_left_out_is_told_at_once():
    rows, seen = [], []
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(model, optimizer, lambda model, x, progress: {"square": model(x).square().mean()})
    NonFiniteSteps().attach(trainer, optimizer)
    MetricsLog(rows.append, every=50).attach(trainer, optimizer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(len(rows)))
    batch = torch.ones(2, 1)
    trainer.run([batch, batch, batch * NAN, batch])
    assert seen == [0, 0, 3, 3]

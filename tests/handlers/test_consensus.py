import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from ignition.engine import build_trainer
from ignition.events import Stop
from ignition.handlers import Consensus


def plain():
    return Engine(lambda engine, batch: batch)


def test_whoever_asks_in_an_iteration_is_heard_in_it_though_attached_later():
    trainer, consensus = plain(), None
    consensus = Consensus.of(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda engine: consensus.ask("stop", "third"))
    trainer.run(range(10))
    assert trainer.state.iteration == 3
    assert trainer.state.stop == Stop("stopped", "third")
    assert consensus.decisions == [("stop", "third", 3)]


def test_an_engine_has_one():
    trainer = plain()
    assert Consensus.of(trainer) is Consensus.of(trainer)
    with pytest.raises(ValueError, match=r"an engine has one consensus.*Consensus\.of\(engine\)"):
        Consensus().attach(trainer)
    with pytest.raises(ValueError, match="a consensus one engine"):
        Consensus.of(trainer).attach(plain())


def test_a_save_comes_before_the_end_and_each_reason_is_the_first():
    trainer, order = plain(), []
    consensus = Consensus.of(trainer)
    consensus.when("save", lambda engine: order.append("save"))
    consensus.when("preempt", lambda engine: order.append("preempt"))

    @trainer.on(Events.ITERATION_COMPLETED(once=2))
    def ask(engine):
        consensus.ask("preempt", "time is up")
        consensus.ask("save", "before the end")
        consensus.ask("preempt", "another reason")

    trainer.run(range(5))
    assert order == ["save", "preempt"]
    assert trainer.state.stop == Stop("preempted", "time is up")
    assert [(what, at) for what, _, at in consensus.decisions] == [("save", 2), ("preempt", 2)]


def test_a_save_at_an_epochs_last_batch_waits_for_what_the_epochs_end_does():
    trainer, order = plain(), []
    consensus = Consensus.of(trainer)
    consensus.when("save", lambda engine: order.append(f"save {engine.state.iteration}"))
    consensus.poll(lambda engine: ("save", "often") if engine.state.iteration in (2, 4) and len(order) < 3 else None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: order.append("evaluation"))
    trainer.run(range(4))
    assert order == ["save 2", "evaluation", "save 4"]


def test_an_end_at_an_epochs_last_batch_leaves_nothing_of_the_epoch_out():
    trainer, done = plain(), []
    Consensus.of(trainer).poll(lambda engine: ("preempt", "time is up") if engine.state.iteration == 4 else None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: done.append(engine.state.epoch))
    trainer.run(range(4), max_epochs=3)
    assert done == [1] and trainer.state.iteration == 4
    assert trainer.state.stop == Stop("preempted", "time is up")


def test_a_rollback_ends_the_run_for_who_restores_it_and_the_end_comes_after():
    trainer = plain()
    consensus = Consensus.of(trainer)

    @trainer.on(Events.ITERATION_COMPLETED(once=2))
    def ask(engine):
        consensus.ask("stop", "enough")
        consensus.ask("rollback", "loss exploded")

    trainer.run(range(5))
    assert trainer.state.stop == Stop("rollback", "loss exploded")
    trainer.state.stop, trainer.state.iteration = None, 1  # what is restored
    trainer.run(range(5))
    assert trainer.state.stop == Stop("stopped", "enough")


def test_a_rollback_is_done_by_who_can():
    trainer, back = plain(), []
    Consensus.of(trainer).when("rollback", lambda engine: back.append(engine.state.iteration))
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=2), lambda engine: Consensus.of(engine).ask("rollback", "spike")
    )
    trainer.run(range(5))
    assert back == [2] and trainer.state.iteration == 5


def test_a_group_of_accumulated_batches_is_finished_first():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(model, optimizer, lambda model, batch, progress: {"x": model(batch).mean()}, accumulate=3)
    Consensus.of(trainer).poll(lambda engine: ("stop", "now") if engine.state.iteration >= 2 else None)
    trainer.run([torch.ones(1, 1)] * 9)
    assert (trainer.state.iteration, trainer.state.steps) == (3, 1)


def test_a_step_is_skipped():
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine, batch):
        optimizer.zero_grad()
        model(batch).sum().backward()
        optimizer.step()

    trainer = Engine(step)
    consensus = Consensus.of(trainer)
    with pytest.raises(ValueError, match="whose step is it"):
        consensus.ask("skip", "odd batch")
    consensus.attach(trainer, optimizer)

    @trainer.on(Events.ITERATION_STARTED(once=2))
    def ask(engine):
        consensus.ask("skip", "odd batch")

    before = model.weight.item()
    trainer.run([torch.ones(1, 1)] * 3)
    assert model.weight.item() == pytest.approx(before - 2 * 0.1)
    assert consensus.decisions == [("skip", "odd batch", 2)]


def test_what_nobody_can_do_is_an_error():
    trainer = plain()
    consensus = Consensus.of(trainer)
    with pytest.raises(ValueError, match="nobody knows what 'explode' is; ask for one of skip, tell, save, rollback"):
        consensus.ask("explode", "why not")
    consensus.poll(lambda engine: ("save", "to be safe"))
    with pytest.raises(
        RuntimeError, match=r"asked to save \(to be safe\), and nothing here saves: attach a Checkpoint"
    ):
        trainer.run(range(3))
    assert trainer.state.iteration == 1


def test_starting_again_attaches_nothing_twice():
    trainer, asked = plain(), []
    Consensus.of(trainer).poll(lambda engine: asked.append(engine.state.iteration))
    trainer.run(range(3), max_epochs=1)
    trainer.run(range(3), max_epochs=2)
    assert asked == [1, 2, 3, 3, 4, 5, 6, 6]  # every iteration, and at the end of each epoch


def test_two_processes_act_on_one_answer_in_the_same_iteration(two_processes):
    """Process 1 alone asks: for a skip in iteration 2, a save in 3, a rollback in 4, the end in 6."""
    answers = two_processes(
        """
import torch
from ignite.engine import Engine, Events
from torch import nn
from ignition import distributed
from ignition.handlers import Consensus

with distributed.process_group("cpu"):
    rank = distributed.rank()
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    def step(engine, batch):
        optimizer.zero_grad()
        model(batch).sum().backward()
        optimizer.step()
    trainer = Engine(step)
    consensus = Consensus.of(trainer)
    consensus.attach(trainer, optimizer)
    consensus.when("save", lambda engine: print("saved", engine.state.iteration))
    consensus.when("rollback", lambda engine: print("back", engine.state.iteration))
    script = {3: "save", 4: "rollback", 6: "stop"}
    consensus.poll(lambda e: (script[e.state.iteration], "odd") if rank and e.state.iteration in script else None)
    if rank:
        trainer.add_event_handler(Events.ITERATION_STARTED(once=2), lambda engine: consensus.ask("skip", "odd"))
    trainer.run([torch.ones(1, 1)] * 9)
    print(trainer.state.iteration, trainer.state.stop.reason, [tuple(d) for d in consensus.decisions])
"""
    )
    why = "odd (process 1)"
    decisions = [("skip", why, 2), ("save", why, 3), ("rollback", why, 4), ("stop", why, 6)]
    expected = f"saved 3\nback 4\n6 {why} {decisions}\n"
    assert answers == [expected, expected]

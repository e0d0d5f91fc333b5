"""What every public handler promises; a new one is picked up here by its name in ``ignition.handlers``."""

import inspect
import io
import math
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from rich.console import Console
from torch import nn

from ignition import handlers


def attached(handler, *where):
    handler.attach(*where)
    return handler


def clipping(rule, *shadow):
    return lambda w: attached(
        handlers.GradientClipping(rule(), shadow=[other() for other in shadow]), w.trainer, w.optimizer
    )


# How each is made and attached in a loop that is not ours; `w` is what such a loop has. A name may have variants.
MAKE = {
    "BufferKeeper": lambda w: attached(handlers.BufferKeeper(w.model), w.trainer, w.optimizer),
    "Checkpoint": lambda w: attached(
        handlers.Checkpoint(w.folder, {"model": w.model}, keep=2), w.trainer, Events.EPOCH_COMPLETED
    ),
    "Checkpoint, asynchronous": lambda w: attached(
        handlers.Checkpoint(w.folder, {"model": w.model}, keep_best=2, asynchronous=True), w.trainer
    ),
    "Consensus": lambda w: attached(handlers.Consensus(), w.trainer, w.optimizer),
    "EMA": lambda w: attached(handlers.EMA(w.model, decay=0.9), w.trainer, w.optimizer),
    "EarlyStopping": lambda w: attached(handlers.EarlyStopping("loss", "min", patience=99), w.evaluator, w.trainer),
    "EarlyStopping, epochs": lambda w: attached(
        handlers.EarlyStopping("loss", "min", patience=99, unit="epochs"), w.evaluator, w.trainer
    ),
    "GradientClipping": lambda w: attached(handlers.GradientClipping(max_norm=0.1), w.trainer, w.optimizer),
    "GradientClipping, AGC": clipping(handlers.AGC),
    "GradientClipping, AutoClip": clipping(lambda: handlers.AutoClip(percentile=50)),
    "GradientClipping, ZClip": clipping(lambda: handlers.ZClip(warmup=2), handlers.AutoClip),
    "LayerStatistics": lambda w: attached(
        handlers.LayerStatistics(w.model, w.rows.append, every=2), w.trainer, w.optimizer
    ),
    "LearningRate": lambda w: attached(handlers.LearningRate(w.optimizer, handlers.OneCycle(8)), w.trainer),
    "MetricsLog": lambda w: attached(handlers.MetricsLog(w.rows.append), w.trainer, w.optimizer),
    "NonFiniteSteps": lambda w: attached(handlers.NonFiniteSteps(max_skips=99), w.trainer, w.optimizer),
    "OutlierSteps": lambda w: attached(handlers.OutlierSteps(), w.trainer, w.optimizer),
    "Pictures": lambda w: attached(handlers.Pictures(w.draw, lambda name, image: None), w.evaluator),
    "Plateau": lambda w: attached(
        handlers.Plateau(handlers.LearningRate(w.optimizer, handlers.Constant()), metric="loss", mode="min"),
        w.evaluator,
    ),
    "Progress": lambda w: attached(handlers.Progress(console=Console(file=io.StringIO())), w.trainer),
    "RandomState": lambda w: handlers.RandomState(),
    "Recovery": lambda w: attached(handlers.Recovery({"model": w.model, "optimizer": w.optimizer}, every=3), w.trainer),
    "Signals": lambda w: attached(handlers.Signals(), w.trainer, w.evaluator),
    "Stability": lambda w: attached(handlers.Stability(tell=w.rows.append), w.trainer),
    "TermGradients": lambda w: w.ask_before_backward(handlers.TermGradients(w.model, w.rows.append, every=2)),
    "Throughput": lambda w: attached(handlers.Throughput(w.rows.append, every=2, warmup=0), w.trainer),
    "TimeLimit": lambda w: attached(handlers.TimeLimit(hours=99), w.trainer),
    "UnitActivity": lambda w: attached(handlers.UnitActivity(w.model, w.rows.append), w.evaluator, w.trainer),
    "ValueSchedule": lambda w: attached(
        handlers.ValueSchedule(handlers.Warmup(8), lambda value: setattr(w, "value", value)), w.trainer, w.optimizer
    ),
    "WatchedNumbers": lambda w: attached(handlers.WatchedNumbers(w.measure), w.evaluator),
}


def classes(*methods):
    """Public classes that have one of these methods."""
    found = [name for name in handlers.__all__ if inspect.isclass(getattr(handlers, name))]
    return [name for name in found if any(hasattr(getattr(handlers, name), method) for method in methods)]


HANDLERS = [*classes("attach"), "RandomState", "TermGradients"]
STATEFUL = [label for label in MAKE if hasattr(getattr(handlers, label.partition(",")[0]), "state_dict")]


class World(SimpleNamespace):
    """A loop of somebody else's: two plain engines, four batches an epoch, an evaluation after each."""

    def __init__(self, folder):
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        super().__init__(folder=folder, rows=[], model=model, optimizer=optimizer)
        self.batches = [torch.randn(3, 2) for _ in range(4)]
        self.before_backward = []
        self.trainer, self.evaluator = Engine(self.step), Engine(self.evaluate)
        self.trainer.state.steps = 0
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: self.evaluator.run(self.batches[:2]))

    def step(self, engine, batch):
        self.optimizer.zero_grad()
        output = self.model(batch)
        loss = output.square().mean()
        for ask in self.before_backward:
            ask(engine, {"square": loss, "size": output.abs().mean()}, {"square": 1.0, "size": 1.0})
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def ask_before_backward(self, handler):
        self.before_backward.append(handler)
        return handler

    def evaluate(self, engine, batch):
        outputs = self.model(batch)
        engine.state.metrics["loss"] = outputs.square().mean().item()
        return outputs, batch

    def draw(self, batch, outputs):
        return {"picture": outputs.new_full((3, 2, 2), outputs.sum().item())}

    def measure(self, batch, outputs):
        return {"mean": outputs.mean()}


@pytest.fixture
def make(tmp_path):
    """Make a world with the handler of that name in it."""
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def make(name, folder="checkpoints"):
        world = World(tmp_path / folder)
        return world, MAKE[name](world)

    yield make
    for number, handler in former.items():
        signal.signal(number, handler)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def test_needs_nothing_of_the_rest_of_the_project():
    program = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("yaml", "recipes") or name in (
            "ignition.config", "ignition.engine", "ignition.training", "ignition.recipe", "ignition.rundir"
        ):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
import ignition.handlers
print(sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "ignite", "tensorboardX")))
for name in ignition.handlers.__all__:
    if name not in ("MLflow", "WandB"):  # their packages need yaml
        getattr(ignition.handlers, name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"  # the package alone loads none of them


def test_every_public_name_is_listed_once_and_found():
    assert sorted(handlers.__all__) == sorted(set(handlers.__all__)) == dir(handlers)
    assert len(HANDLERS) >= 17 and len(STATEFUL) >= 14
    assert {label.partition(",")[0] for label in MAKE} == set(HANDLERS), "say in MAKE how it is made and attached"
    with pytest.raises(AttributeError, match=r"has no attribute 'Momentum' \(it has: AGC, EMA, AutoClip, "):
        _ = handlers.Momentum


@pytest.mark.parametrize("name", classes("attach", "state_dict", "__call__"))
def test_is_documented_and_easy_to_call(name):
    cls = getattr(handlers, name)
    assert inspect.getdoc(cls)
    parameters = list(inspect.signature(cls).parameters.values())
    most = {"EarlyStopping": 10, "Checkpoint": 11}.get(
        name, 8
    )  # more than eight are too many jobs, or one of many words
    assert len(parameters) <= most
    assert all(p.kind != p.POSITIONAL_OR_KEYWORD for p in parameters[2:]), "all but the first two are keyword-only"


@pytest.mark.parametrize("name", MAKE)
def test_works_on_a_plain_engine_with_numbers_that_are_not_finite_among_them(name, make):
    world, _ = make(name)
    world.batches[2] = torch.full((3, 2), math.nan)
    world.trainer.run(world.batches, max_epochs=2)
    assert world.trainer.state.iteration == 8


@pytest.mark.parametrize("name", MAKE)
def test_an_error_in_the_loop_goes_on_its_way(name, make):
    """V14: with a handler of EXCEPTION_RAISED that does not raise, ignite would go on with the next epoch."""
    world, _ = make(name)

    def fail(engine):
        raise OSError("disk")

    world.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=6), fail)
    with pytest.raises(OSError, match="disk"):
        world.trainer.run(world.batches, max_epochs=3)
    assert world.trainer.state.iteration == 6


@pytest.mark.parametrize("name", STATEFUL)
def test_its_state_goes_through_a_file_and_comes_back_the_same(name, make):
    world, handler = make(name)
    world.trainer.run(world.batches, max_epochs=2)
    state = through_a_file(handler.state_dict())
    _, other = make(name, "other")
    other.load_state_dict(state)
    assert equal(through_a_file(other.state_dict()), state)


@pytest.mark.parametrize("name", STATEFUL)
def test_a_run_that_starts_again_resets_nothing(name, make):
    """V4: STARTED fires on a resume as well."""
    world, handler = make(name)
    world.trainer.run(world.batches, max_epochs=2)
    state = through_a_file(handler.state_dict())
    world.trainer.fire_event(Events.STARTED)
    world.evaluator.fire_event(Events.STARTED)
    assert equal(through_a_file(handler.state_dict()), state)


@pytest.mark.parametrize("name", STATEFUL)
def test_a_run_resumed_in_the_middle_ends_where_the_straight_one_does(name, make):
    """Three epochs and three more, a batch that is not finite in each part: what it knows is what six epochs know."""

    def train(world, until):
        bad = torch.full((3, 2), math.nan)
        world.trainer.add_event_handler(
            Events.GET_BATCH_COMPLETED(event_filter=lambda engine, count: engine.state.iteration + 1 in (7, 18)),
            lambda engine: setattr(engine.state, "batch", bad),
        )
        # such a batch is left out here, so that there is something to compare after it
        handlers.NonFiniteSteps(max_skips=99).attach(world.trainer, world.optimizer)
        world.trainer.add_event_handler(Events.EPOCH_COMPLETED(once=until), lambda engine: engine.terminate())
        world.trainer.run(world.batches, max_epochs=6)

    straight, handler = make(name, "straight")
    train(straight, until=6)
    expected = through_a_file(handler.state_dict())

    first, handler = make(name, "first")
    train(first, until=3)
    saved = through_a_file([first.model.state_dict(), first.optimizer.state_dict(), handler.state_dict()])
    second, handler = make(name, "second")
    second.model.load_state_dict(saved[0])
    second.optimizer.load_state_dict(saved[1])
    handler.load_state_dict(saved[2])
    second.trainer.load_state_dict({"iteration": 12, "epoch_length": 4, "max_epochs": 6})
    train(second, until=6)
    assert torch.equal(straight.model.weight, second.model.weight) or name.startswith("LearningRate")
    assert equal(through_a_file(handler.state_dict()), expected)


@pytest.mark.parametrize("name", STATEFUL)
def test_a_failure_half_way_leaves_a_state_that_can_be_gone_on_from(name, make):
    world, handler = make(name)

    def fail(engine):
        raise OSError("disk")

    world.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=6), fail)
    with pytest.raises(OSError, match="disk"):
        world.trainer.run(world.batches, max_epochs=3)
    state = through_a_file(handler.state_dict())
    other, handler = make(name, "other")
    handler.load_state_dict(state)
    other.trainer.run(other.batches, max_epochs=2)
    assert other.trainer.state.iteration == 8

import copy
import itertools
import json
import math
import random
import signal

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import FastaiLRFinder
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignition.checkpoint_file import moved
from ignition.engine import build_trainer
from ignition.events import StepEvents
from ignition.handlers import EarlyStopping, GradientClipping, LearningRate, LearningRateFinder, OneCycle, Signals
from ignition.precision import Precision

NAN, INF = math.nan, math.inf


class Boom(Exception):
    pass


# ------------------------------------------------------------------------------------------------ known answers


class Bowl(nn.Module):
    """A loss of a known shape, with curvatures up to ``curvature``: SGD diverges above 2/curvature."""

    def __init__(self, curvature):
        super().__init__()
        self.place = nn.Parameter(torch.full((20,), curvature**-0.5))
        self.curvatures = torch.linspace(0.1, 1.0, 20) * curvature

    def forward(self, batch):
        place = self.place if batch is None else self.place - batch
        return 0.5 * (self.curvatures * place.square()).sum()


def step_of(model, optimizer, loss=lambda model, batch: model(batch)):
    def step(engine, batch):
        optimizer.zero_grad()
        value = loss(model, batch)
        value.backward()
        optimizer.step()
        return value.detach()

    return step


@pytest.mark.parametrize("curvature", [2.0, 8.0, 3000.0])
def test_a_bowl_of_known_curvature(curvature):
    model = Bowl(curvature)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    threshold = 2.0 / curvature
    noise = 0.1 * curvature**-0.5 * torch.randn(10, 20, generator=torch.Generator().manual_seed(0))
    curve = LearningRateFinder(model, optimizer).find(Engine(step_of(model, optimizer)), noise)
    for rate in (curve.steepest, curve.valley):
        assert threshold / 100 < rate < threshold
    assert threshold < curve.diverged < 3 * threshold
    assert curve.ended == "the loss rose to more than 4 times its lowest"
    assert len(curve.rates) == len(curve.losses) == len(curve.smoothed) < 100


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1))
    x = torch.randn(256, 2)
    y = (x[:, :1] * x[:, 1:]).sin()
    return model, list(zip(x.split(32), y.split(32)))


def error(model, batch):
    return nn.functional.mse_loss(model(batch[0]), batch[1])


def test_the_rate_that_is_found_trains_a_network_better_than_others():
    def final_loss(rate):
        model, batches = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        Engine(step_of(model, optimizer, error)).run(batches, max_epochs=20)
        with torch.no_grad():
            return sum(float(error(model, batch)) for batch in batches) / len(batches)

    model, batches = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    curve = LearningRateFinder(model, optimizer).find(Engine(step_of(model, optimizer, error)), batches)
    found = final_loss(curve.valley)
    assert found < 0.6 * final_loss(curve.valley / 30)
    assert found < 0.6 * final_loss(curve.valley * 300)


# --------------------------------------------------------------------------------------------- everything comes back


def bits(thing):
    """A copy that can be compared bit for bit."""
    if isinstance(thing, torch.Tensor):
        return str(thing.dtype), list(thing.shape), thing.detach().contiguous().numpy().tobytes()
    if isinstance(thing, dict):
        return {key: bits(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [bits(value) for value in thing]
    return copy.copy(thing)


class World:
    """A training that has come some way, with all that could be spoiled."""

    def __init__(self, kind):
        self.model, self.batches = network()
        self.model[1].eval()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.acted, self.fail = [], lambda: None
        self.clipping, self.rate = GradientClipping(max_norm=0.1), LearningRate(self.optimizer, OneCycle(500))
        if kind == "ignite":
            self.trainer = create_supervised_trainer(self.model, self.optimizer, self.square)
        else:
            self.trainer = build_trainer(
                self.model, self.optimizer, self.losses, accumulate=3 if kind == "accumulating" else 1
            )  # fmt: skip
        self.clipping.attach(self.trainer, self.optimizer)
        self.rate.attach(self.trainer)
        self.stopper = EarlyStopping("loss", "min", patience=99)
        for event in (*Events, *StepEvents):
            if event != Events.EXCEPTION_RAISED:
                self.trainer.add_event_handler(event, self.act)
        self.trainer.run(self.data(), max_epochs=2)

    def act(self, engine, *more):
        self.acted.append(engine.last_event_name)

    def losses(self, model, batch, progress):
        return {"square": self.square(model(batch[0]), batch[1])}

    def square(self, outputs, truth):
        self.fail()
        return nn.functional.mse_loss(outputs, truth)

    def data(self):
        return self.batches

    def everything(self):
        numpy_state = np.random.get_state()
        return bits({
            "model": self.model.state_dict(),
            "gradients": [parameter.grad for parameter in self.model.parameters()],
            "modes": [module.training for module in self.model.modules()],
            "optimizer": self.optimizer.state_dict(),
            "state": {k: v for k, v in vars(self.trainer.state).items() if k not in ("batch", "dataloader", "output")},
            "output": self.trainer.state.output,
            "flags": [self.trainer.should_terminate, self.trainer.should_interrupt, self.trainer.last_event_name],
            "handlers": [self.clipping.state_dict(), self.rate.state_dict(), len(self.acted)],
            "attached": {str(k): [id(entry[0]) for entry in v] for k, v in self.trainer._event_handlers.items()},
            "hooks": [len(self.optimizer._optimizer_step_pre_hooks), len(self.optimizer._optimizer_step_post_hooks)],
            "random": [torch.get_rng_state(), random.getstate(), [numpy_state[0], numpy_state[1].tolist()]],
        })  # fmt: skip

    def spoil_generators(self):
        torch.rand(1), random.random(), np.random.rand()


KINDS = ["ours", "accumulating", "ignite"]


def after(count, act):
    """A function that does ``act`` when called for the count-th time."""
    calls = itertools.count(1)
    return lambda: act() if next(calls) == count else None


def throw(error):
    raise error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["well", "step", "Ctrl-C", "data", "Signals"])
def test_everything_is_as_before_however_it_ends(kind, end):
    world = World(kind)
    before, batches = world.everything(), world.batches
    finder = LearningRateFinder(world.model, world.optimizer)

    def data():
        class Data:
            def __iter__(self):
                world.spoil_generators()
                yield from batches[:2]
                if end == "data":
                    raise OSError("disk")
                yield from batches[2:]

            def __len__(self):
                return len(batches)

        return Data()

    if end == "well":
        curve = finder.find(world.trainer, data(), keep=[world.clipping])
        assert len(curve.losses) > 30
        assert all(rate == expected for rate, expected in zip(curve.rates, [1e-7, 1e-7 * 1e8 ** (1 / 99)]))
    elif end == "data":
        with pytest.raises(OSError, match="disk"):
            finder.find(world.trainer, data())
    elif end == "Signals":
        world.fail = after(20, lambda: signal.raise_signal(signal.SIGTERM))
        with Signals() as signals:
            curve = finder.find(world.trainer, data(), until=signals.agree)
        assert signals.signal_number == signal.SIGTERM
        assert curve.ended == "it was asked to end"
        assert len(curve.losses) == (8 if kind == "accumulating" else 20)  # batch 20 is in the eighth group
    else:
        error = Boom() if end == "step" else KeyboardInterrupt()
        world.fail = after(20, lambda: throw(error))
        with pytest.raises(type(error)):
            finder.find(world.trainer, data(), keep=[world.clipping])
        assert len(finder.losses) == (7 if kind == "accumulating" else 19)
    assert world.everything() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loader", [False, True])
def test_a_training_goes_on_as_one_that_never_searched(kind, loader):
    def final(search, failing=False):
        world = World(kind)
        x, y = (torch.cat(part) for part in zip(*world.batches))
        data = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True) if loader else world.batches
        if search:
            world.fail = after(50, lambda: throw(Boom())) if failing else world.fail
            try:
                LearningRateFinder(world.model, world.optimizer).find(world.trainer, data)
            except Boom:
                world.fail = lambda: None
        world.trainer.state.max_epochs = None
        world.trainer.run(data, max_epochs=3)
        world.trainer.state.times = {}
        return world.everything()

    straight = final(search=False)
    for world in (straight, searched := final(search=True), failed := final(search=True, failing=True)):
        del world["attached"]
    assert searched == straight
    assert failed == straight


def test_within_an_iteration_of_the_run_it_leaves_the_run_alone():
    def final(search):
        world = World("ours")

        def look(engine):
            curves.append(LearningRateFinder(world.model, world.optimizer, steps=6).find(engine, world.batches))

        curves = []
        if search:
            world.trainer.add_event_handler(Events.EPOCH_COMPLETED, look)
        world.trainer.run(world.batches, max_epochs=4)
        return bits(world.model.state_dict()), len(curves)

    assert final(search=True) == (final(search=False)[0], 2)


def test_a_group_of_accumulated_batches_that_is_open_is_left_alone():
    world = World("accumulating")
    world.trainer.state.group_open = True
    with pytest.raises(ValueError, match="a group of accumulated batches is open: search before the run"):
        LearningRateFinder(world.model, world.optimizer).find(world.trainer, world.batches)


def test_no_handler_acts_but_those_that_are_kept():
    world = World("ours")
    clipped, acted = world.clipping.clipped, len(world.acted)
    norms = []
    world.trainer.add_event_handler(StepEvents.STEP_COMPLETED, note := lambda engine: norms.append(
        float(sum(p.grad.square().sum() for p in world.model.parameters() if p.grad is not None))))  # fmt: skip
    finder = LearningRateFinder(world.model, world.optimizer, end_lr=1e-3, steps=10)
    free = finder.find(world.trainer, world.batches)
    assert norms == []
    kept = finder.find(world.trainer, world.batches, keep=[world.clipping, note])
    assert len(norms) == 10
    assert (world.clipping.clipped, len(world.acted)) == (clipped, acted)
    assert free.losses[0] == kept.losses[0]
    with pytest.raises(ValueError, match="Signals cannot be kept: it is not attached"):
        finder.find(world.trainer, world.batches, keep=[Signals()])


def test_what_else_the_step_moves_comes_back_and_its_scheduler_does_not_interfere():
    model = Bowl(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    seen = []
    optimizer.register_step_post_hook(lambda *step: seen.append(optimizer.param_groups[0]["lr"]))

    def step(engine, batch):
        optimizer.zero_grad()
        loss = model(batch)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        return loss.item()

    step(None, None)
    seen.clear()
    before = bits([optimizer.state_dict(), scheduler.state_dict(), scaler.state_dict()])
    finder = LearningRateFinder(model, optimizer, steps=20, end_lr=1e-3, also=[scheduler, scaler])
    curve = finder.find(Engine(step), [None, None])
    assert seen == curve.rates
    assert bits([optimizer.state_dict(), scheduler.state_dict(), scaler.state_dict()]) == before


def test_the_loss_scale_of_a_trainer_that_names_its_scaler_comes_back():
    model = Bowl(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)

    def step(engine, batch):
        scaler.scale(model(batch)).backward()
        scaler.step(optimizer)
        scaler.update()
        return 1.0

    trainer = Engine(step)
    trainer.state.scaler = scaler  # as create_supervised_trainer does
    LearningRateFinder(model, optimizer).find(trainer, [None])
    assert (scaler.get_scale(), trainer.state.scaler) == (4.0, scaler)


# ------------------------------------------------------------------------------------------------------- the search


def mean_of_second(model, batch, progress):
    return {"value": 0 * model(batch[0]).sum() + batch[1].mean()}


@pytest.mark.parametrize("kind", ["ours", "ignite"])
def test_accumulated_batches_share_a_rate_and_count_by_their_mean(kind):
    model, place = nn.Linear(1, 1, bias=False), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if kind == "ours":
        trainer = build_trainer(model, optimizer, mean_of_second, accumulate=4)
    else:
        trainer = create_supervised_trainer(
            model, optimizer, lambda y, truth: 0 * y.sum() + truth.mean(), gradient_accumulation_steps=4
        )  # fmt: skip
    optimizer.register_step_post_hook(lambda *step: place.append(optimizer.param_groups[0]["lr"]))
    batches = [(torch.ones(2, 1), torch.full((2, 1), float(number))) for number in range(8)]
    curve = LearningRateFinder(model, optimizer, steps=10, diverge_factor=99).find(trainer, batches)
    assert place == curve.rates
    assert curve.losses == [1.5, 5.5] * 5
    assert curve.ended == "all rates were tried"


def test_short_data_are_gone_round_with_their_short_last_group():
    world = World("accumulating")
    finder = LearningRateFinder(world.model, world.optimizer, end_lr=1e-3, steps=6)
    assert len(finder.find(world.trainer, world.batches).losses) == 6  # eight batches: groups of three, three and two
    sizes = []
    world.trainer.add_event_handler(
        StepEvents.STEP_COMPLETED, note := lambda engine: sizes.append(engine.state.iteration)
    )
    finder.find(world.trainer, world.batches, keep=[note])
    assert sizes == [3, 6, 8, 11, 14, 16]


def test_data_without_a_length_are_gone_round_too():
    class Stream:
        def __iter__(self):
            return iter([torch.ones(1)] * 3)

    model = Bowl(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Engine(step_of(model, optimizer))
    assert len(LearningRateFinder(model, optimizer, steps=20, end_lr=1e-3).find(trainer, Stream()).losses) == 20


def scripted(losses, **settings):
    """The curve of a search that meets these losses."""
    parameter = nn.Parameter(torch.ones(1))
    model = nn.ParameterList([parameter])
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    with LearningRateFinder(model, optimizer, steps=len(losses), **settings) as finder:
        for loss, _ in zip(losses, finder.rates()):
            finder.record(loss)
    return finder.curve


def test_groups_keep_the_ratio_of_their_rates():
    parameters = [nn.Parameter(torch.ones(1)) for _ in range(3)]
    optimizer = torch.optim.SGD(
        [{"params": [parameters[0]], "lr": 0.001}, {"params": [parameters[1]]}, {"params": [parameters[2]], "lr": 0.0}],
        lr=0.01,
    )
    seen = []
    with LearningRateFinder(nn.ParameterList(parameters), optimizer, start_lr=1e-3, end_lr=1e2, steps=6) as finder:
        for rate in finder.rates():
            seen.append((rate, [group["lr"] for group in optimizer.param_groups]))
            finder.record(1.0)
    assert [rate for rate, _ in seen] == pytest.approx([1e-3, 1e-2, 1e-1, 1, 10, 100])
    for rate, rates in seen:
        assert rates == pytest.approx([rate / 10, rate, 0.0])
    assert [group["lr"] for group in optimizer.param_groups] == [0.001, 0.01, 0.0]
    finder.apply(5.0)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 5.0, 0.0])
    optimizer.param_groups[0]["lr"] = 10.0
    finder.apply(1.0)  # in the ratio that they have now
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1.0, 0.5, 0.0])


def test_a_rate_that_is_a_tensor_stays_the_same_tensor():
    parameters, rate = [nn.Parameter(torch.ones(1)) for _ in range(2)], torch.tensor(0.5)
    groups = [{"params": [parameters[0]], "lr": torch.tensor(0.25)}, {"params": [parameters[1]]}]
    optimizer = torch.optim.Adam(groups, lr=rate, foreach=False)
    with LearningRateFinder(nn.ParameterList(parameters), optimizer, steps=6) as finder:
        seen = []
        for _ in finder.rates():
            seen.append([float(group["lr"]) for group in optimizer.param_groups])
            finder.record(1.0)
    assert [highest for _, highest in seen] == pytest.approx(finder.curve.rates)
    assert [lower for lower, _ in seen] == pytest.approx([rate / 2 for rate in finder.curve.rates])
    assert optimizer.param_groups[1]["lr"] is rate
    assert float(rate) == 0.5


@pytest.mark.parametrize(
    ("losses", "ended", "count"),
    [
        ([1.0] * 30, "all rates were tried", 30),
        ([1.0] * 20 + [30.0] * 10, "the loss rose to more than 4 times its lowest", 21),
        ([1.0] * 20 + [NAN] * 10, "the loss was not finite for 3 steps in a row", 23),
        ([NAN] * 30, "the loss was not finite for 3 steps in a row", 3),
        ([1.0, NAN, INF] * 10, "all rates were tried", 30),
        ([-1.0] * 10 + [-5.0] * 20, "all rates were tried", 30),  # below zero, lower is still better
        ([-5.0] * 10 + [40.0] * 20, "the loss rose to more than 4 times its lowest", 11),
    ],
)
def test_a_search_ends_where_the_loss_has_left(losses, ended, count):
    curve = scripted(losses)
    assert (curve.ended, len(curve.losses)) == (ended, count)
    assert curve.diverged == (None if "tried" in ended else curve.rates[count - (3 if "finite" in ended else 1)])


def explode_from(place):
    """A step that trains until the place-th and gives NaN from then on."""
    calls = itertools.count()
    model = Bowl(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-7)
    step = step_of(model, optimizer, lambda model, batch: model(batch) * (1.0 if next(calls) < place else NAN))
    return model, optimizer, Engine(lambda engine, batch: float(step(engine, batch)))


def test_v22_a_loss_that_is_nan_ends_the_search_and_is_not_suggested():
    model, optimizer, trainer = explode_from(60)
    theirs = FastaiLRFinder()
    with theirs.attach(trainer, {"model": model, "optimizer": optimizer}, num_iter=100, end_lr=1.0) as engine, \
            pytest.warns(UserWarning, match="Run completed without loss diverging"):  # fmt: skip
        engine.run([None] * 100)
    losses = theirs.get_results()["loss"]
    assert len(losses) > 99  # it goes on for ever
    assert math.isnan(losses[theirs.get_results()["lr"].index(theirs.lr_suggestion()) + 1])  # the last before NaN

    model, optimizer, trainer = explode_from(60)
    curve = LearningRateFinder(model, optimizer, end_lr=1.0).find(trainer, [None] * 100)
    assert len(curve.losses) == 63
    assert [math.isnan(loss) for loss in curve.losses] == [False] * 60 + [True] * 3
    assert curve.diverged == curve.rates[60]
    assert "never falls" in curve.reason or curve.valley < curve.diverged / 2


def test_v22_an_error_leaves_ignites_weights_changed_and_its_handlers_attached():
    def attempt(search):
        model, optimizer, trainer = explode_from(99)
        trainer.add_event_handler(Events.ITERATION_COMPLETED(once=50), lambda engine: throw(Boom()))
        place = model.place.detach().clone()
        with pytest.raises(Boom):
            search(model, optimizer, trainer)
        handlers = sum(len(entries) for entries in trainer._event_handlers.values())
        return torch.equal(place, model.place), handlers

    def theirs(model, optimizer, trainer):
        with FastaiLRFinder().attach(trainer, {"model": model, "optimizer": optimizer}, end_lr=1.0) as engine:
            engine.run([None] * 100)

    def ours(model, optimizer, trainer):
        bad = itertools.chain([None] * 50, map(throw, [Boom()]))
        LearningRateFinder(model, optimizer, end_lr=1.0).find(
            trainer, type("Data", (), {"__iter__": lambda self: bad})()
        )

    assert attempt(ours) == (True, 1)
    unchanged, handlers = attempt(theirs)
    assert not unchanged
    assert handlers > 1


def test_one_bad_loss_does_not_spoil_the_average():
    losses = [5.0] * 30 + [5.0 - step / 10 for step in range(40)] + [1.0] * 5
    clean = scripted(losses)
    losses[10] = losses[45] = INF
    spoiled = scripted(losses)
    assert spoiled.valley == pytest.approx(clean.valley, rel=0.3)
    assert spoiled.ended == "all rates were tried"


# ------------------------------------------------------------------------------------------------------ a plain loop


def test_a_plain_loop_restores_however_it_is_left():
    world = World("ours")
    before = world.everything()
    for end in (None, Boom, KeyboardInterrupt, "break"):
        finder = LearningRateFinder(world.model, world.optimizer)
        with pytest.raises(end) if isinstance(end, type) else torch.no_grad(), finder, torch.enable_grad():
            for rate, (x, y) in zip(finder.rates(), itertools.cycle(world.batches)):
                assert world.optimizer.param_groups[0]["lr"] == rate
                world.optimizer.zero_grad()
                loss = nn.functional.mse_loss(world.model(x), y)
                loss.backward()
                with_no_handlers(world)
                world.optimizer.step()
                world.spoil_generators()
                finder.record(loss)
                if len(finder.losses) == 30 and end is not None:
                    if end == "break":
                        break
                    raise end
        assert finder.curve.ended == (
            "it was left before its end" if end else "the loss rose to more than 4 times its lowest"
        )
        assert world.everything() == before


def with_no_handlers(world):
    """Hooks of `watch` would count the steps of an engine that does not run; ours has none."""
    assert world.trainer.state.steps == 16


def test_what_is_done_wrong_is_said():
    model = Bowl(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    finder = LearningRateFinder(model, optimizer)
    with pytest.raises(RuntimeError, match="a search takes place within 'with finder:'"):
        finder.record(1.0)
    with pytest.raises(RuntimeError, match=r"no loss came for this rate: call record\(loss\) once for each"), finder:
        list(finder.rates())
    with pytest.raises(RuntimeError, match="this search is under way"), finder, finder:
        pass
    with finder:  # and all of these have closed it
        finder.record(2.0)
    assert finder.curve.losses == [2.0]
    trainer = Engine(step_of(model, optimizer))
    with pytest.raises(ValueError, match="data is an iterator, and its batches would be lost to training"):
        finder.find(trainer, iter([None]))
    other = LearningRateFinder(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(
        ValueError, match="the optimizer has not stepped in 100 batches: is it the one that trainer uses"
    ):
        other.find(trainer, [None])
    tuple_trainer = Engine(lambda engine, batch: (1, trainer._process_function(engine, batch)))
    with pytest.raises(ValueError, match=r"the trainer's output is a tuple and no loss; .* find\(..., loss=function\)"):
        finder.find(tuple_trainer, [None])
    assert finder.find(tuple_trainer, [None], loss=lambda output: output[1]).valley is not None
    optimizer.param_groups[0]["lr"] = 0.0
    with pytest.raises(ValueError, match=r"the optimizer's learning rates are \[0.0\]; one must be above 0"):
        finder.find(trainer, [None])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start_lr": 0.0}, "start_lr is 0.0 and end_lr 10.0; both must be above 0"),
        ({"start_lr": 1.0, "end_lr": 0.5}, "and end_lr the higher"),
        ({"end_lr": INF}, "end_lr inf"),
        ({"start_lr": NAN}, "start_lr is nan"),
        ({"steps": 5}, "steps is 5; a curve needs at least 6"),
        ({"smoothing": 0.5}, "smoothing is 0.5; it is a share of the search"),
        ({"diverge_factor": 1.0}, "diverge_factor is 1.0; it must be a number above 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    parameter = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match=message):
        LearningRateFinder(nn.ParameterList([parameter]), torch.optim.SGD([parameter], lr=0.1), **settings)


def test_an_optimizer_that_stops_stepping_ends_the_search():
    model = Bowl(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = step_of(model, optimizer)
    trainer = Engine(lambda engine, batch: step(engine, batch) if engine.state.iteration <= 8 else 1.0)
    curve = LearningRateFinder(model, optimizer).find(trainer, [None])
    assert curve.ended == "the optimizer did not step any more for 100 batches"
    assert len(curve.losses) == 8


TWO_PROCESSES = """
import json, math
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from ignition import distributed
from ignition.engine import build_trainer
from ignition.handlers import LearningRateFinder


def search():
    rank, counted = distributed.rank(), {"steps": 0, "bad_from": 9**9}
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def losses(model, batch, progress):
        counted["steps"] += 1
        loss = (model(batch) - 3).square().mean()
        return {"square": loss * math.nan if rank == 1 and counted["steps"] > counted["bad_from"] else loss}

    trainer = build_trainer(DistributedDataParallel(model), optimizer, losses, batch_size=4)
    batches = [torch.randn(4, 2, generator=torch.Generator().manual_seed(10 * rank + number)) for number in range(3)]
    batches.append(torch.ones(1 + rank, 2))  # a last batch that is smaller, and not alike on both
    before = [parameter.detach().clone() for parameter in model.parameters()]
    first = float((model(batches[0]) - 3).square().mean().detach())
    finder = LearningRateFinder(model, optimizer, steps=40)
    whole = finder.find(trainer, batches)
    counted.update(steps=0, bad_from=8)
    bad = finder.find(trainer, batches)
    counted.update(bad_from=9**9)
    answers = iter([False] * 4 + [rank == 1] + [True] * 99)
    asked = finder.find(trainer, batches, until=lambda: bool(distributed.agree(int(next(answers)))))
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), before))
    alike = [[[str(loss) for loss in curve.losses], curve.ended, curve.valley] for curve in (whole, bad, asked)]
    print(json.dumps([first, alike]))


with distributed.process_group("cpu"):
    search()
"""


def test_two_processes_see_the_mean_and_end_together(two_processes):
    (first, alike), (second, other) = (json.loads(output) for output in two_processes(TWO_PROCESSES))
    assert alike == other
    (losses, ended, valley), (bad_losses, bad_ended, _), (asked_losses, asked, _) = alike
    assert float(losses[0]) == pytest.approx((first + second) / 2)  # the mean, not the sum
    assert ended.startswith("the loss rose")
    assert 1e-3 < valley < 1.0
    assert bad_losses == [*losses[:8], "nan", "nan", "nan"]
    assert bad_ended == "the loss was not finite for 3 steps in a row"
    assert (len(asked_losses), asked) == (5, "it was asked to end")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_on_a_gpu_everything_comes_back_with_the_loss_scale(amp):
    precision = Precision("cuda", amp=amp)
    model, batches = network()
    model = model.to("cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    trainer = build_trainer(model, optimizer, lambda model, batch, progress: {"a": error(model, batch)},
                            precision=precision)  # fmt: skip
    trainer.run(batches)

    def everything():
        state = [model.state_dict(), optimizer.state_dict(), precision.state_dict(), torch.cuda.get_rng_state()]
        return bits(moved(state, "cpu"))

    before = everything()
    curve = LearningRateFinder(model, optimizer).find(trainer, batches)
    assert curve.valley is not None
    assert everything() == before

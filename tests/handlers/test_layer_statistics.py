"""What is told of each parameter against norms by hand, and at which steps."""

import math

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignition.engine import build_trainer
from ignition.handlers import GradientClipping, LayerStatistics, MetricsLog, NonFiniteSteps
from ignition.handlers.layer_statistics import spread_over_depth


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))


def losses(model, batch, progress):
    return {"square": model(batch).square().mean()}


def data(count):
    return list(torch.randn(count, 5, 3, generator=torch.Generator().manual_seed(1)))


def trained(model, count, *, clip=None, accumulate=1, **settings):
    """Rows told while a model is trained on so many batches."""
    rows = []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = build_trainer(model, optimizer, losses, accumulate=accumulate)
    statistics = LayerStatistics(model, rows.append, **settings)
    statistics.attach(trainer, optimizer)
    GradientClipping(max_norm=clip).attach(trainer, optimizer)
    trainer.run(data(count))
    return rows


def test_norms_are_those_of_the_step_before_and_after_it():
    model = network()
    (row,) = trained(model, 1, every=1)
    byhand = network()
    losses(byhand, data(1)[0], None)["square"].backward()
    for name, parameter in byhand.named_parameters():
        told = row["layers"][name]
        assert told["weight"] == pytest.approx(float(parameter.detach().norm()), rel=1e-6)
        assert told["gradient"] == pytest.approx(float(parameter.grad.norm()), rel=1e-6)
        if parameter.ndim >= 2:
            assert told["update"] == pytest.approx(0.1 * float(parameter.grad.norm()), rel=1e-4)
        else:
            assert "update" not in told
    assert (row["iteration"], row["epoch"], row["untouched"]) == (1, 1, [])


def test_steps_are_measured_closely_at_first_and_then_every_so_many():
    assert [row["iteration"] for row in trained(nn.Linear(3, 1), 210)] == [*range(10, 101, 10), 150, 200]
    rows = trained(nn.Linear(3, 1), 160, every=70)
    assert [row["iteration"] for row in rows] == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 140]


def test_with_accumulation_the_first_iterations_have_as_many_measurements_as_steps_allow():
    rows = trained(nn.Linear(3, 1), 220, accumulate=4)
    assert [row["iteration"] for row in rows] == [
        12,
        24,
        36,
        48,
        60,
        72,
        84,
        96,
        200,
    ]  # of steps of 4, the 50th is last


def test_gradients_are_the_raw_ones_where_it_comes_before_the_clipping():
    rough, clipped = trained(network(), 1, every=1), trained(network(), 1, every=1, clip=1e-3)
    assert rough[0]["layers"]["0.weight"]["gradient"] == clipped[0]["layers"]["0.weight"]["gradient"] > 0.01
    assert clipped[0]["layers"]["0.weight"]["update"] < 1e-3 < rough[0]["layers"]["0.weight"]["update"]


def test_a_step_left_out_has_no_update_and_numbers_that_are_not_finite_are_told_as_they_are():
    model, rows = nn.Linear(3, 1), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(model, optimizer, losses)
    statistics = LayerStatistics(model, rows.append, every=1)
    statistics.attach(trainer, optimizer)
    NonFiniteSteps().attach(trainer, optimizer)
    log = []
    MetricsLog(log.append, sources=[statistics.measures]).attach(trainer, optimizer)
    trainer.run([data(1)[0], torch.full((5, 3), math.inf), data(1)[0]])
    assert ["update" in row["layers"]["weight"] for row in rows] == [True, False, True]
    assert math.isnan(rows[1]["layers"]["weight"]["gradient"])
    assert ["train/update_ratio" in row for row in log if "train/batch_loss" in row] == [True, False, True]


def test_the_log_gets_the_median_ratio_of_weight_matrices_in_iterations_that_were_measured():
    model, rows, log = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)), [], []
    nn.init.zeros_(model[2].weight)  # has no ratio
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(model, optimizer, losses)
    statistics = LayerStatistics(model, rows.append, every=200)
    statistics.attach(trainer, optimizer)
    MetricsLog(log.append, sources=[statistics.measures]).attach(trainer, optimizer)
    trainer.run(data(20))
    told = {row["iteration"]: row["train/update_ratio"] for row in log if "train/update_ratio" in row}
    layers = rows[0]["layers"]
    first, second, third = (layers[name]["update"] / layers[name]["weight"] for name in
                            ("0.weight", "1.weight", "2.weight"))  # fmt: skip
    assert list(told) == [10, 20]
    assert told[10] == sorted([first, second, third])[1]


def test_a_ratio_that_is_nan_has_no_middle():
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    statistics = LayerStatistics(model, every=1)
    model(torch.ones(1, 1)).sum().backward()
    statistics.before_step(iteration=4)
    with torch.no_grad():
        model[0].weight.fill_(math.nan)
    statistics.after_step()
    engine = Engine(lambda engine, batch: None)
    engine.state.iteration = 4
    assert math.isnan(statistics.measures(engine)["train/update_ratio"])
    engine.state.iteration = 5
    assert statistics.measures(engine) == {}


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.later, self.never = nn.Linear(3, 1), nn.Linear(3, 1), nn.Linear(3, 1)
        self.frozen = nn.Linear(3, 1).requires_grad_(False)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        output = self.used(x) + self.frozen(x)
        return output + self.later(x) if self.calls >= 5 else output


def test_what_never_had_a_gradient_is_named_from_the_third_measurement_on():
    rows = trained(Branches(), 6, every=1)
    idle = ["later.weight", "later.bias", "never.weight", "never.bias"]
    assert [row["untouched"] for row in rows] == [[], [], idle, idle, idle[2:], idle[2:]]
    assert rows[0]["layers"]["never.weight"].keys() == {"weight"}
    assert not any(name.startswith("frozen") for name in rows[0]["layers"])


def test_matrices_beyond_the_limit_are_copied_evenly_over_the_depth():
    assert spread_over_depth([4, 4, 4, 4, 4], 12) == [0, 2, 4]
    assert spread_over_depth([4, 4, 4, 4, 4], 8) == [0, 4]
    assert spread_over_depth([99, 4, 4, 4, 4], 8) == [2, 4]
    assert spread_over_depth([], 0) == spread_over_depth([5], 4) == []
    assert sorted(spread_over_depth([1] * 37, 36)) == sorted(set(spread_over_depth([1] * 37, 36)))
    assert len(spread_over_depth([1] * 37, 36)) == 36
    model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(5)))
    (row,) = trained(model, 1, every=1, limit=27)
    assert [name for name, told in row["layers"].items() if "update" in told] == ["0.weight", "2.weight", "4.weight"]


def test_a_sparse_gradient_counts_as_the_dense_one():
    told = []
    for sparse in (False, True):
        torch.manual_seed(0)
        model = nn.EmbeddingBag(6, 2, sparse=sparse, mode="sum")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        statistics = LayerStatistics(model, every=1)
        model(torch.tensor([[0, 1, 1]])).sum().backward()
        statistics.before_step(1)
        optimizer.step()
        told.append(statistics.after_step()["layers"])
    assert told[0] == told[1]
    assert told[0]["weight"]["gradient"] == pytest.approx(math.sqrt(2 * (1 + 4)))


def test_parameters_of_many_types_are_told_in_their_order():
    model = nn.ParameterDict({
        "a": nn.Parameter(torch.full((2, 2), 1.0)), "b": nn.Parameter(torch.full((4,), 2.0, dtype=torch.bfloat16)),
        "c": nn.Parameter(torch.full((1, 4), 3.0, dtype=torch.float64)), "d": nn.Parameter(torch.full((4,), 4.0)),
    })  # fmt: skip
    for parameter in model.values():
        parameter.grad = torch.ones_like(parameter)
    statistics = LayerStatistics(model, every=1)
    statistics.before_step(1)
    layers = statistics.after_step()["layers"]
    assert {name: numbers["weight"] for name, numbers in layers.items()} == {"a": 2.0, "b": 4.0, "c": 6.0, "d": 8.0}
    assert {numbers["gradient"] for numbers in layers.values()} == {2.0}
    assert {name: numbers.get("update") for name, numbers in layers.items()} == {"a": 0, "b": None, "c": 0, "d": None}


def test_names_are_plain_in_a_compiled_model():
    model = torch.compile(nn.Sequential(nn.Linear(1, 1), torch.compile(nn.Linear(1, 1), backend="eager")),
                          backend="eager")  # fmt: skip
    statistics = LayerStatistics(model, every=1)
    statistics.before_step(1)
    assert list(statistics.after_step()["layers"]) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_all_of_a_step_comes_down_at_once(monkeypatch):
    model = network()
    losses(model, data(1)[0], None)["square"].backward()
    readings = []
    for name in ("tolist", "item", "__float__", "__bool__", "__int__", "numpy", "cpu"):
        real = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, *a, name=name, real=real: readings.append(name) or real(self, *a))  # noqa: E501 # fmt: skip
    statistics = LayerStatistics(model, every=2)
    for iteration in (101, 102, 103):
        statistics.before_step(iteration)
        statistics.after_step()
    monkeypatch.undo()
    assert readings == ["tolist"]


def test_a_resumed_run_tells_the_rows_of_the_one_that_was_not():
    def run(model, statistics, batches, optimizer, first=1):
        for iteration, batch in enumerate(batches, start=first):
            optimizer.zero_grad()
            losses(model, batch, None)["square"].backward()
            statistics.before_step(iteration)
            optimizer.step()
            statistics.after_step()

    def made(rows):
        model = Branches()
        model.calls = 5
        return model, torch.optim.SGD(model.parameters(), lr=0.1), LayerStatistics(model, rows.append, every=30)

    torch.manual_seed(3)
    straight, rows = [], []
    model, optimizer, statistics = made(straight)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    run(model, statistics, data(140), optimizer)

    model, optimizer, statistics = made(rows)
    model.load_state_dict(weights)
    run(model, statistics, data(140)[:17], optimizer)
    weights, state = model.state_dict(), statistics.state_dict()
    model, optimizer, statistics = made(rows)
    model.load_state_dict(weights)
    statistics.load_state_dict(state)
    run(model, statistics, data(140)[17:], optimizer, first=18)
    assert [row["iteration"] for row in rows] == [*range(10, 101, 10), 120]
    assert rows == straight
    assert rows[-1]["untouched"] == ["never.weight", "never.bias"]


def test_a_step_that_fails_leaves_nothing_behind():
    model = nn.Linear(1, 1)
    statistics = LayerStatistics(model, every=2)
    statistics.before_step(101)
    statistics.before_step(102)  # the step before it never ended
    assert statistics.after_step()["iteration"] == 102
    statistics.before_step(103)
    assert statistics.after_step() is None


def test_weights_are_the_same_bit_for_bit_with_it_and_without():
    with_it, without = network(), network()
    trained(with_it, 12, every=1)
    optimizer = torch.optim.SGD(without.parameters(), lr=0.1, momentum=0.9)
    build_trainer(without, optimizer, losses).run(data(12))
    assert all(torch.equal(one, other) for one, other in zip(with_it.parameters(), without.parameters()))


def test_two_processes_measure_the_same_and_one_tells(two_processes):
    program = """
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from ignition import distributed
from ignition.engine import build_trainer
from ignition.handlers import LayerStatistics
with distributed.process_group("cpu"):
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(model, optimizer, lambda model, x, _: {"square": model(x).square().mean()})
    told = []
    statistics = LayerStatistics(model, told.append, every=1)
    statistics.attach(trainer, optimizer)
    torch.manual_seed(distributed.rank())
    trainer.run([torch.randn(4, 3)])
    print(len(told), statistics.last["layers"])
"""
    first, second = two_processes(program)
    assert first.startswith("1 {'weight': {'weight': ")
    assert second.startswith("0 ")
    assert first[1:] == second[1:]


@pytest.mark.parametrize("settings", [{"every": 0}, {"limit": -1}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match="must be at least"):
        LayerStatistics(nn.Linear(1, 1), **settings)

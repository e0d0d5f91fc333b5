"""Gradients of loss terms against those by hand, and that nobody else notices that they were asked for."""

import logging
import math

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ignition.engine import build_trainer
from ignition.handlers import TermGradients
from ignition.loss_terms import LossWeights
from ignition.precision import Precision


class Trunk(nn.Module):
    """A trunk with two heads, registered in an order that is not the one in which they are used."""

    def __init__(self, wrap=lambda block, x: block(x)):
        super().__init__()
        torch.manual_seed(0)
        self.heads = nn.ModuleList([nn.Linear(4, 1), nn.Linear(4, 2)])
        self.end = nn.Linear(4, 4)
        self.block = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3))
        self.wrap = wrap

    def forward(self, x):
        x = self.end(self.wrap(self.block, x)).tanh()
        return self.heads[0](x), self.heads[1](x)


def losses(model, batch, progress):
    one, other = model(batch)
    return {"square": one.square().mean(), "size": other.abs().mean(), "fixed": torch.tensor(1.0)}


def batches(count=4):
    return list(torch.randn(count, 8, 3, generator=torch.Generator().manual_seed(1)))


WEIGHTS = {"square": 2.0, "size": 0.5, "fixed": 1.0}


def test_norms_and_cosines_are_those_of_the_last_matrix_that_is_shared():
    model = Trunk()
    terms = losses(model, batches()[0], None)
    row = TermGradients(model).measure(terms, WEIGHTS, iteration=7, epoch=2)
    square, size = (
        WEIGHTS[name] * torch.autograd.grad(terms[name], model.end.weight, retain_graph=True)[0].flatten()
        for name in ("square", "size")
    )
    told = row["terms"]
    assert (row["iteration"], row["epoch"], told["parameter"]) == (7, 2, "end.weight")
    assert told["norms"] == pytest.approx({"square": float(square.norm()), "size": float(size.norm())}, rel=1e-5)
    cosine = float(nn.functional.cosine_similarity(square, size, dim=0))
    assert told["cosines"] == pytest.approx({"square|size": cosine}, rel=1e-4)
    assert told["weights"] == {"square": 2.0, "size": 0.5}
    assert all(parameter.grad is None for parameter in model.parameters())


def test_terms_of_weight_nought_are_left_out_and_one_alone_is_not_measured():
    model = Trunk()
    terms = losses(model, batches()[0], None)
    assert TermGradients(model).measure(terms, {**WEIGHTS, "size": 0.0}) is None
    assert TermGradients(model).measure({"square": terms["square"]}, WEIGHTS) is None


def test_a_term_that_shares_nothing_is_left_out():
    model = nn.ModuleDict({"shared": nn.Linear(2, 2), "own": nn.Linear(2, 2)})
    x = torch.ones(1, 2)
    output = model["shared"](x)
    terms = {"a": output.sum(), "alone": model["own"](x).sum(), "b": -3 * output.sum()}
    told = TermGradients(model).measure(terms, dict.fromkeys(terms, 1.0))["terms"]
    assert told["parameter"] == "shared.weight"
    assert told["norms"] == pytest.approx({"a": 2.0, "b": 6.0})
    assert told["cosines"] == pytest.approx({"a|b": -1.0})
    apart = TermGradients(model)
    assert apart.measure({"a": terms["a"], "alone": terms["alone"]}, {"a": 1.0, "alone": 1.0}) is None
    assert not apart.off


def test_a_gradient_of_nought_has_a_norm_and_no_cosine_and_one_that_is_not_finite_is_told():
    model = nn.Linear(2, 1)
    output = model(torch.ones(1, 2)).sum()
    terms = {"flat": 0.0 * output, "up": output, "bad": math.nan * output}
    told = TermGradients(model).measure(terms, dict.fromkeys(terms, 1.0))["terms"]
    assert told["norms"]["flat"] == 0.0
    assert math.isnan(told["norms"]["bad"])
    assert list(told["cosines"]) == ["up|bad"]


def trained(model, told=None, every=1, count=4, accumulate=1, **settings):
    """Train with `TermGradients` telling to a list, or without them."""
    terms = None if told is None else TermGradients(model, told.append, every=every)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = build_trainer(
        model, optimizer, losses, weights=LossWeights(WEIGHTS), accumulate=accumulate, before_backward=terms, **settings
    )
    torch.manual_seed(5)
    trainer.run(batches(count))
    return terms


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_trainer_measures_the_first_batch_of_every_so_many_steps():
    told = []
    trained(Trunk(), told, every=2, count=12, accumulate=3)
    assert [row["iteration"] for row in told] == [4, 10]  # of the steps of iterations 1-3, 4-6, 7-9, 10-12


def test_a_term_that_is_left_out_from_now_on_is_measured_no_more():
    told, weights, model = [], LossWeights(), nn.Linear(3, 1)

    def three(model, batch, progress):
        output = model(batch)
        return {"square": output.square().mean(), "size": output.abs().mean(), "mean": output.mean()}

    trainer = build_trainer(
        model, torch.optim.SGD(model.parameters(), lr=0.1), three, weights=weights,
        before_backward=TermGradients(model, told.append, every=1),
    )  # fmt: skip
    trainer.run(batches(1))
    weights.leave_out("size")
    trainer.run(batches(1), max_epochs=2)
    assert [row["terms"]["weights"] for row in told] == [
        {"square": 1.0, "size": 1.0, "mean": 1.0}, {"square": 1.0, "mean": 1.0},
    ]  # fmt: skip


def again(block, x):
    return checkpoint(block, x, use_reentrant=False)


def again_with_fresh_numbers(block, x):
    return checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)


def twice(block, x):
    return checkpoint(block, x.requires_grad_(), use_reentrant=True)


def plain(block, x):
    return block(x)


@pytest.mark.parametrize("wrap", [plain, again, again_with_fresh_numbers])
def test_weights_buffers_and_random_numbers_are_the_same_bit_for_bit(wrap):
    """A checkpointed block is computed again, which changes running statistics and may draw numbers."""
    with_it, without, told = Trunk(wrap), Trunk(wrap), []
    with_it.end, without.end = nn.Identity(), nn.Identity()  # what is shared then lies within the block
    trained(with_it, told)
    after = torch.rand(1)
    trained(without)
    assert [row["terms"]["parameter"] for row in told] == ["block.0.weight"] * 4
    assert same(with_it, without)
    assert torch.equal(after, torch.rand(1))


def test_a_graph_that_runs_only_once_is_left_alone_and_that_is_said_once(caplog):
    with_it, without, told = Trunk(twice), Trunk(twice), []
    with caplog.at_level(logging.INFO, logger="ignition"):
        terms = trained(with_it, told)
    trained(without)
    assert same(with_it, without)
    assert terms.off
    assert told == []
    assert caplog.text.count("not measured: CheckpointFunctionBackward may be run only once") == 1


def test_a_compiled_model_is_left_alone(caplog):
    told, with_it, without = [], Trunk(), Trunk()
    for model in (with_it, without):
        model.compile(backend="aot_eager")
    with caplog.at_level(logging.INFO, logger="ignition"):
        terms = trained(with_it, told)
    trained(without)
    assert terms.off
    assert told == []
    assert same(with_it, without)
    assert "CompiledFunctionBackward may be run only once" in caplog.text


def test_small_gradients_do_not_vanish_under_fp16():
    model = Trunk()
    model.block = model.block[0]  # CPUs have no batch norm in 16 bits

    def small_terms():
        return {name: 1e-7 * term.float() for name, term in losses(model, batches()[0], None).items()}

    def told(terms, scale):
        return TermGradients(model).measure(terms, WEIGHTS, scale=scale)["terms"]

    exact = told(small_terms(), 1.0)
    with Precision(amp="fp16").autocast():
        terms = small_terms()
    scaled, vanished = told(terms, 16384.0), told(terms, 1.0)
    assert scaled["norms"] == pytest.approx(exact["norms"], rel=0.02)
    assert scaled["cosines"] == pytest.approx(exact["cosines"], abs=0.02)
    assert vanished["norms"] != pytest.approx(exact["norms"], rel=0.02)


def test_two_processes_train_on_as_if_nobody_measured(two_processes):
    program = """
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from ignition import distributed
from ignition.engine import build_trainer
from ignition.handlers import TermGradients

def losses(model, batch, progress):
    output = model(batch)
    return {"square": output.square().mean(), "size": output.abs().mean()}

with distributed.process_group("cpu"):
    for settings in ({}, {"find_unused_parameters": True}):
        models, told = [], []
        for measured in (True, False):
            torch.manual_seed(0)
            model = DistributedDataParallel(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)), **settings)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            terms = TermGradients(model, told.append, every=1) if measured else None
            trainer = build_trainer(model, optimizer, losses, accumulate=2, before_backward=terms)
            torch.manual_seed(distributed.rank())
            trainer.run([torch.randn(4, 3) for _ in range(6)])
            models.append(model)
        one, other = (list(model.parameters()) for model in models)
        print(len(told), all(map(torch.equal, one, other)), distributed.gather(one[0].sum().item())[0] == one[0].sum())
        print([row["terms"]["parameter"] for row in told])
"""
    first, second = two_processes(program)
    assert first == "3 True tensor(True)\n['1.weight', '1.weight', '1.weight']\n" * 2
    assert second == "0 True tensor(True)\n[]\n" * 2


def test_every_counts_steps():
    with pytest.raises(ValueError, match="every is 0; it counts steps"):
        TermGradients(nn.Linear(1, 1), every=0)

"""Measures how hard each loss term pulls at what the terms share, and whether they pull the same way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine
from torch import nn

from ignition import distributed
from ignition.checkpoint_file.modules import plain_name, unwrapped
from ignition.restoring import generators_restored

log = logging.getLogger(__name__)

Row = dict[str, Any]


class _Shared(NamedTuple):
    """Where gradients are compared: a weight matrix, its name, and the terms that reach it."""

    parameter: nn.Parameter
    name: str
    terms: list[str]


class _RunsOnce(Exception):
    """A graph that may not bear a second backward pass; names what is in it."""


class TermGradients:
    """Tells the gradient of each weighted loss term on the last weight matrix that all terms reach.

    A row has ``iteration``, ``epoch`` and ``terms``: ``norms``, the L2 norm of ``weight * gradient`` of each term,
    ``cosines`` between two of them by ``<one>|<other>`` (missing where a norm is 0), ``weights`` of the terms, and
    ``parameter``, the name of the matrix. It is the one that the forward pass uses last: the end of the trunk (Chen et
    al., GradNorm, 2018, take their norms there), and cheap to reach from the losses. Where no matrix is reached by all
    terms, it is one that most of them reach, and the others are left out; so are terms with weight 0, and terms that
    depend on no parameter at this batch. Fewer than two terms are not measured.

    Give it to the trainer as ``before_backward``; in a loop of your own call `measure` before ``backward``. Gradients
    that accumulate, the graph, random numbers and buffers stay as they are, so the weights are the same, bit for bit,
    with it and without. It stays off, and says why once, where the graph holds a `torch.autograd.Function` written in
    Python: those of ``torch.compile`` and of reentrant activation checkpointing cannot be run twice, and others need
    not bear it. Hooks on activations are called once more.

    Norms are those of the first batch of an accumulated step, and of process 0's share of it. Under fp16 the terms are
    scaled meanwhile, as for the backward pass.

    Measured on 2026-11-21 (docs/benchmarks.md): a measured step of a network of a millisecond a step takes 1.55 times
    as long, in the mean 1.1 % at ``every=50``; one of ResNet-18 1.01 times.

    Args:
        model: where to look for what terms share; may be wrapped.
        tell: takes a row, on process 0; for instance ``RunFolder.write_measurement``.
        every: steps between two measured ones.

    Attributes:
        last: the newest row.

    >>> model = nn.Linear(1, 1)
    >>> output = model(torch.ones(1, 1)).sum()
    >>> gradients = TermGradients(model)
    >>> row = gradients.measure({"up": output, "down": -output}, {"up": 1.0, "down": 0.5})
    >>> row["terms"]["norms"], row["terms"]["cosines"], row["terms"]["parameter"]
    ({'up': 1.0, 'down': 0.5}, {'up|down': -1.0}, 'weight')
    """

    def __init__(self, model: nn.Module, tell: Callable[[Row], object] | None = None, *, every: int = 50):
        if every < 1:
            raise ValueError(f"every is {every}; it counts steps, so it must be at least 1")
        self.tell, self.every = tell, every
        self.last: Row = {}
        self.off = False
        self._model = unwrapped(model)
        self._found: dict[tuple[str, ...], _Shared | None] = {}  # by the terms that there were

    def __call__(self, engine: Engine, terms: Mapping[str, torch.Tensor], weights: Mapping[str, float]) -> None:
        """``before_backward`` of a trainer: measure if the coming step's turn has come."""
        state: Any = engine.state
        if (state.steps + 1) % self.every or self.off or distributed.rank() != 0:
            return
        scale = getattr(state, "loss_scale", 1.0)
        self.measure(terms, weights, iteration=state.iteration, epoch=state.epoch, scale=scale)

    def measure(
        self,
        terms: Mapping[str, torch.Tensor],
        weights: Mapping[str, float],
        *,
        iteration: int = 0,
        epoch: int = 1,
        scale: float = 1.0,
    ) -> Row | None:
        """Measure, tell the row and give it; None where there is nothing to compare. The core, for any loop.

        Args:
            terms: 0-dim, unweighted, with their graphs.
            weights: of the terms.
            scale: what losses are multiplied by in the backward pass (fp16); taken out of the norms again.
        """
        weighed = {name: term for name, term in terms.items() if term.requires_grad and weights[name] != 0.0}
        if self.off or len(weighed) < 2:
            return None
        try:
            shared = self._shared(weighed)
            gradients = {} if shared is None else self._gradients(shared, weighed, weights, scale)
        except (_RunsOnce, RuntimeError) as error:
            self.off = True
            log.info("gradients of the loss terms are not measured: %s", str(error).partition("\n")[0])
            return None
        if shared is None or len(gradients) < 2:
            return None
        norms, cosines = _compare(gradients, scale)
        here = {"norms": norms, "cosines": cosines, "weights": {name: weights[name] for name in gradients}}
        self.last = {"iteration": iteration, "epoch": epoch, "terms": {**here, "parameter": shared.name}}
        if self.tell is not None:
            self.tell(self.last)
        return self.last

    def _gradients(
        self, shared: _Shared, terms: Mapping[str, torch.Tensor], weights: Mapping[str, float], scale: float
    ) -> dict[str, torch.Tensor]:
        """Of each term that reaches what is shared, flat, [elements], in float32 or wider."""
        found = {}
        # What activation checkpointing computes again may draw numbers and change running statistics.
        with generators_restored(), _buffers_restored(self._model):
            for name in shared.terms:
                factor = torch.full_like(terms[name], weights[name] * scale)
                (gradient,) = torch.autograd.grad(
                    terms[name], [shared.parameter], factor, retain_graph=True, allow_unused=True
                )
                if gradient is not None:
                    gradient = gradient.to_dense() if gradient.is_sparse else gradient
                    found[name] = gradient.flatten().to(torch.promote_types(gradient.dtype, torch.float32))
        return found

    def _shared(self, terms: Mapping[str, torch.Tensor]) -> _Shared | None:
        """What these terms share; looked for once, in their graphs.

        Raises:
            _RunsOnce: a graph that is to be left alone.
        """
        key = tuple(terms)
        if key not in self._found:
            reached = {name: _used(term) for name, term in terms.items()}
            best = (1, -1)  # a matrix that only one term reaches is not shared
            self._found[key] = None
            for name, parameter in self._model.named_parameters():
                users = [term for term in terms if parameter in reached[term]]
                if parameter.ndim < 2 or not users:
                    continue
                rank = len(users), max(reached[term][parameter] for term in users)
                if len(users) > 1 and rank > best:
                    best = rank
                    self._found[key] = _Shared(parameter, plain_name(name), users)
        return self._found[key]


def _used(term: torch.Tensor) -> dict[torch.Tensor, int]:
    """The leaves that ``term`` depends on, each with the number in the forward pass of the last operation that uses it.

    Raises:
        _RunsOnce: on the way is a Function written in Python.
    """
    last: dict[torch.Tensor, int] = {}
    nodes: list[Any] = [term.grad_fn] if term.grad_fn is not None else []
    seen = set(nodes)
    for node in nodes:  # grows
        if isinstance(node, torch.autograd.function.BackwardCFunction) and type(node).__name__ != "_DDPSinkBackward":
            raise _RunsOnce(f"{type(node).__name__} may be run only once")
        for following, _ in node.next_functions:
            if type(following).__name__ == "AccumulateGrad":
                leaf = following.variable
                last[leaf] = max(last.get(leaf, 0), node._sequence_nr())
            elif following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return last


@contextmanager
def _buffers_restored(model: nn.Module) -> Iterator[None]:
    """Buffers get their values back without the graph noticing that they were written to."""
    buffers = [buffer.data for buffer in model.buffers() if buffer.layout == torch.strided and 0 not in buffer.stride()]
    kept = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(value)


def _compare(gradients: Mapping[str, torch.Tensor], scale: float) -> tuple[dict[str, float], dict[str, float]]:
    """Norms, and cosines between each two; from the device in one transfer."""
    vectors = torch.stack(list(gradients.values())) / scale
    norms = torch.linalg.vector_norm(vectors, dim=1)
    directions = vectors / norms[:, None]
    first, second = torch.combinations(torch.arange(len(vectors), device=vectors.device)).T
    cosines = (directions[first] * directions[second]).sum(dim=1).clamp(-1.0, 1.0)
    numbers = torch.cat([norms, cosines]).tolist()
    by_term = dict(zip(gradients, numbers))
    pairs = zip(combinations(gradients, 2), numbers[len(gradients) :])
    return by_term, {f"{a}|{b}": cosine for (a, b), cosine in pairs if by_term[a] != 0.0 and by_term[b] != 0.0}

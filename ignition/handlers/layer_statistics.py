"""Measures weights, gradients and what a step changes, parameter by parameter, at sampled steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer

from ignition import distributed
from ignition.checkpoint_file.modules import plain_name, unwrapped
from ignition.distributed.sharding import own_shares
from ignition.events import StepEvents, watch
from ignition.handlers.gradients import norms

Row = dict[str, Any]


class _Measured(NamedTuple):
    """What was taken before a step; all of it stays on the device."""

    iteration: int
    epoch: int
    parameters: dict[str, nn.Parameter]
    weights: torch.Tensor  # norms, of all
    reached: list[str]  # those that have a gradient
    gradients: torch.Tensor  # norms, of those
    before: dict[str, torch.Tensor]  # copies of weight matrices


class LayerStatistics:
    """Tells the norms of weights, gradients and changes of every trained parameter, at one step in so many.

    A row has ``iteration``, ``epoch``, ``layers`` and ``untouched``. ``layers`` gives for each trained parameter, by
    its name in the model, ``weight`` and ``gradient``, the L2 norms before the step, and ``update``, that of the
    change by this very step. ``gradient`` and ``update`` are missing where there was no gradient; ``update`` also where
    the step was left out, and for whatever is no weight matrix (fewer than two dimensions). ``untouched`` names the
    parameters that had no gradient (``grad is None``) at any of the steps measured so far, from the third such step on.
    Numbers that are not finite are told as they are.

    Gradients are those that it finds: attach it before what clips them, so that they are the raw ones.

    Within the first 100 iterations a step is measured whenever 10 iterations have passed, since that is where a rate
    that is too high shows; later every so many. A measured step copies the weight matrices and waits for the device
    once, when everything comes down together; the others cost a comparison. Where the matrices have more elements than
    ``limit``, those copied are chosen evenly over the depth of the model: the first and last that fit, then the ones in
    the middle between them, and so on.

    Over many processes gradients are averaged before they are measured, so all measure the same, and process 0 tells.

    Measured on 2026-11-21 (docs/benchmarks.md): a measured step of ResNet-18 on a CPU takes 1.27 times as long, in the
    mean 0.55 % at ``every=50``; one of a network of a millisecond a step 0.45 %.

    Args:
        model: whose parameters; may be wrapped or compiled.
        tell: takes a row, on process 0; for instance ``RunFolder.write_measurement``.
        every: steps between two measured ones, after the first 100 iterations.
        limit: elements of weight matrices that are copied at most; the default is 256 MiB in float32.

    Attributes:
        last: the newest row.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 2.0)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    >>> statistics = LayerStatistics(model, every=1)
    >>> model(torch.ones(1, 1)).sum().backward()
    >>> statistics.before_step(iteration=1)
    >>> optimizer.step()
    >>> statistics.after_step()["layers"]
    {'weight': {'weight': 2.0, 'gradient': 1.0, 'update': 0.5}}
    """

    FIRST, APART = 100, 10  # within so many iterations, so many apart
    SURE = 3  # measured steps without a gradient that make a parameter untouched

    def __init__(
        self,
        model: nn.Module,
        tell: Callable[[Row], object] | None = None,
        *,
        every: int = 50,
        limit: int = 2**26,
    ):
        if every < 1:
            raise ValueError(f"every is {every}; it counts steps, so it must be at least 1")
        if limit < 0:
            raise ValueError(f"limit is {limit}; it counts elements, so it must be at least 0")
        self.tell, self.every, self.limit = tell, every, limit
        self.last: Row = {}
        self.steps = 0
        self._model = unwrapped(model)
        self._last = 0  # iteration that was measured last
        self._missed: dict[str, int] = {}  # measured steps without a gradient, of what never had one
        self._touched: set[str] = set()
        self._pending: _Measured | None = None
        self._ratio: tuple[int, float] | None = None  # iteration and median

    def attach(self, trainer: Engine, optimizer: Optimizer) -> None:
        """Measure steps of ``optimizer`` in ``trainer``, whoever made it."""
        watch(trainer, optimizer)
        trainer.add_event_handler(StepEvents.GRADIENTS_READY, self)
        trainer.add_event_handler(StepEvents.STEP_COMPLETED, self._end, True)
        trainer.add_event_handler(StepEvents.STEP_SKIPPED, self._end, False)

    def __call__(self, engine: Engine) -> None:
        self.before_step(engine.state.iteration, engine.state.epoch)

    def _end(self, engine: Engine, taken: bool) -> None:
        self.after_step(taken=taken)

    @torch.no_grad()
    def before_step(self, iteration: int, epoch: int = 1) -> None:
        """Measure weights and gradients, if this step's turn has come. With `after_step` the core, for any loop."""
        self.steps += 1
        self._pending = None
        early = iteration <= self.FIRST and iteration - self._last >= self.APART
        if not early and self.steps % self.every:
            return
        self._last = iteration
        named = self._model.named_parameters()
        parameters = {plain_name(name): parameter for name, parameter in named if parameter.requires_grad}
        gradients = {name: _values(p.grad) for name, p in parameters.items() if p.grad is not None}
        if parameters:
            self._pending = _Measured(
                iteration,
                epoch,
                parameters,
                norms(parameters.values()),
                list(gradients),
                norms(gradients.values()) if gradients else torch.zeros(0),
                self._copies({name: parameters[name] for name in gradients}),
            )

    def _copies(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
        matrices = [(name, parameter) for name, parameter in parameters.items() if parameter.ndim >= 2]
        places = spread_over_depth([parameter.numel() for _, parameter in matrices], self.limit)
        return {matrices[place][0]: matrices[place][1].detach().clone() for place in places}

    @torch.no_grad()
    def after_step(self, *, taken: bool = True) -> Row | None:
        """Measure the change, tell the row and give it; None where the step was not measured."""
        measured, self._pending = self._pending, None
        if measured is None:
            return None
        changed = list(measured.before) if taken else []
        parts = [measured.weights, measured.gradients]
        if changed:
            changes = [measured.before[name] for name in changed]
            torch._foreach_sub_(own_shares(changes), own_shares([measured.parameters[name] for name in changed]))
            parts.append(norms(changes))
        numbers = iter(torch.cat([part.to(measured.weights.device) for part in parts]).tolist())
        layers: dict[str, dict[str, float]] = {name: {"weight": next(numbers)} for name in measured.parameters}
        for name in measured.reached:
            layers[name]["gradient"] = next(numbers)
        for name in changed:
            layers[name]["update"] = next(numbers)
        self._note_touched(measured)
        self._ratio = _ratio(measured.iteration, layers)
        untouched = [name for name, missed in self._missed.items() if missed >= self.SURE]
        self.last = {
            "iteration": measured.iteration,
            "epoch": measured.epoch,
            "layers": layers,
            "untouched": untouched,
        }
        if self.tell is not None and distributed.rank() == 0:
            self.tell(self.last)
        return self.last

    def _note_touched(self, measured: _Measured) -> None:
        self._touched.update(measured.reached)
        missed = {name: self._missed.get(name, 0) + 1 for name in measured.parameters if name not in self._touched}
        self._missed = missed  # what is frozen meanwhile begins anew

    def measures(self, engine: Engine) -> dict[str, float]:
        """``train/update_ratio`` in the iteration of a measured step, a source for `MetricsLog`.

        The median over the weight matrices of ``update / weight``, where that was measured and weights are not all 0.
        """
        if self._ratio is None or self._ratio[0] != engine.state.iteration:
            return {}
        return {"train/update_ratio": self._ratio[1]}

    def state_dict(self) -> dict[str, Any]:
        """Where counting stands, and which parameters ever had a gradient."""
        return {
            "steps": self.steps,
            "last": self._last,
            "touched": sorted(self._touched),
            "missed": dict(self._missed),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there: the same steps are measured as without the interruption."""
        self.steps, self._last = state["steps"], state["last"]
        self._touched, self._missed = set(state["touched"]), dict(state["missed"])


def spread_over_depth(sizes: Sequence[int], limit: int) -> list[int]:
    """Which of things of these ``sizes`` to take so that they fit into ``limit``, evenly over the row; in order.

    >>> spread_over_depth([1, 1, 1, 1, 1], 5), spread_over_depth([1, 1, 1, 1, 1], 3), spread_over_depth([1, 9, 1], 3)
    ([0, 1, 2, 3, 4], [0, 2, 4], [0, 2])
    """
    if sum(sizes) <= limit:
        return list(range(len(sizes)))
    taken = []
    for place in _halving(len(sizes)):
        if sizes[place] <= limit:
            taken.append(place)
            limit -= sizes[place]
    return sorted(taken)


def _halving(count: int) -> Iterator[int]:
    """All of ``range(count)``: both ends, the middle, the middles between, and so on."""
    yield from dict.fromkeys((0, count - 1))
    spans = [(0, count - 1)]
    for low, high in spans:  # grows
        middle = (low + high) // 2
        if middle > low:
            yield middle
            spans += [(low, middle), (middle, high)]


def _values(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient; of a sparse one what is in it, equal rows added up."""
    return gradient.coalesce()._values() if gradient.is_sparse else gradient


def _ratio(iteration: int, layers: Mapping[str, Mapping[str, float]]) -> tuple[int, float] | None:
    """The median of update / weight; NaN if one of them is, since there is no middle then."""
    ratios = [
        numbers["update"] / numbers["weight"]
        for numbers in layers.values()
        if "update" in numbers and numbers["weight"] != 0
    ]
    if not ratios:
        return None
    return iteration, math.nan if any(map(math.isnan, ratios)) else median(ratios)

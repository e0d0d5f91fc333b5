"""Rules for how large gradients may be. `GradientClipping` follows one, and asks others without following them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from ignition.handlers.gradients import HALVES, Gradients, Number, alike, number, real_view, where


class Verdict(NamedTuple):
    """What a rule makes of one step's gradients.

    Attributes:
        clipped: the share of its units that are over their limit; 0 or 1 for a rule about the common norm.
        threshold: the one limit of all units; None where each has its own.
        factors: what each unit is to be multiplied by, [units]; None where that follows from the threshold.
    """

    clipped: Number
    threshold: Number | None = None
    factors: torch.Tensor | None = None


class ClippingRule(Protocol):
    """What a rule is. One that remembers something has ``state_dict`` and ``load_state_dict`` as well."""

    def judge(self, gradients: Gradients) -> Verdict:
        """Look at the gradients of one step, and remember of them what later steps need. Changes no gradient."""
        ...

    def cut(self, gradients: Gradients, verdict: Verdict) -> None:
        """Do to the gradients what the verdict on them says: nothing, where none is over its limit."""
        ...


class MaxNorm:
    """Scales all gradients so that their common L2 norm is at most ``max_norm`` (Pascanu et al., 2013).

    Gradients over the limit become what ``torch.nn.utils.clip_grad_norm_`` makes of them, to the bit.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> layer.weight.grad = torch.tensor([[3.0, 4.0]])
    >>> MaxNorm(1.0).judge(Gradients(layer.parameters())).clipped
    True
    """

    def __init__(self, max_norm: float):
        self.max_norm = _positive("max_norm", max_norm)

    def tighten(self, factor: float) -> None:
        """Multiply the limit."""
        self.max_norm *= factor

    def judge(self, gradients: Gradients) -> Verdict:
        return Verdict(gradients.size > self.max_norm, self.max_norm)

    def cut(self, gradients: Gradients, verdict: Verdict) -> None:
        gradients.scale(self.max_norm, verdict.clipped, slack=1e-6)  # as much as torch adds


class MaxValue:
    """Brings every element into -max_value..max_value; of complex ones, real and imaginary part each.

    Its units are whole gradients: one is over the limit if any of its elements is.

    >>> layer = nn.Linear(2, 1)
    >>> layer.weight.grad, layer.bias.grad = torch.tensor([[3.0, -4.0]]), torch.tensor([1.0])
    >>> MaxValue(2.0).judge(Gradients(layer.parameters())).clipped
    0.5
    """

    def __init__(self, max_value: float):
        self.max_value = _positive("max_value", max_value)

    def tighten(self, factor: float) -> None:
        """Multiply the limit."""
        self.max_value *= factor

    def judge(self, gradients: Gradients) -> Verdict:
        over = gradients.norms(math.inf) > self.max_value
        return Verdict(where(gradients.size > 0, number(over.float().mean()), 0.0), self.max_value)

    def cut(self, gradients: Gradients, verdict: Verdict) -> None:
        gradients.own()
        bound = torch.as_tensor(where(verdict.clipped > 0, self.max_value, math.inf))
        for group in alike(map(real_view, gradients.tensors)):
            here = bound.to(group[0])
            torch._foreach_clamp_max_(group, [here] * len(group))
            torch._foreach_clamp_min_(group, [-here] * len(group))


class AGC:
    """Keeps the gradient of each output unit small beside its weights: ``|g| <= clipping * max(|w|, eps)``.

    Adaptive gradient clipping (Brock et al., 2021), made for networks without normalisation. A unit is a row along the
    first dimension of a weight: [out, in] of a linear layer, [out, in, ...] of a convolution. A vector or a scalar
    (bias, gain) is one unit as a whole, as in the authors' code. They leave the weight of the last layer alone.

    Args:
        clipping: the largest ratio of a unit's gradient to its weights.
        eps: what a unit's weights count at least, so that units that start at zero can learn.
        skip: parameters that are left alone, for instance ``[model.head.weight]``.

    Raises:
        ValueError: from within a step, for a sparse gradient that is not left alone.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> layer.weight.data, layer.weight.grad = torch.tensor([[3.0, 4.0], [3.0, 4.0]]), torch.tensor([[0.0, 0], [3, 4]])
    >>> AGC(0.1).judge(Gradients(layer.parameters())).clipped
    0.5
    """

    def __init__(self, clipping: float = 0.01, eps: float = 1e-3, *, skip: Iterable[nn.Parameter] = ()):
        self.clipping, self.eps = _positive("clipping", clipping), _positive("eps", eps)
        several = isinstance(skip, Iterable) and not isinstance(skip, torch.Tensor)
        self.skip = tuple(skip) if several else ()
        if not several or not all(isinstance(entry, torch.Tensor) for entry in self.skip):
            raise ValueError(f"skip is {skip!r}; it must be several parameters, for instance model.head.parameters()")
        self._skipped = {id(parameter) for parameter in self.skip}

    def tighten(self, factor: float) -> None:
        """Multiply the limit."""
        self.clipping *= factor

    def judge(self, gradients: Gradients) -> Verdict:
        weights, tensors = self._judged(gradients)
        if not tensors:
            return Verdict(0.0)
        limits = self.clipping * _unit_norms(weights, gradients.norm).clamp(min=self.eps)
        factors = (limits / _unit_norms(tensors, gradients.norm)).clamp(max=1.0)
        factors = where(gradients.size > 0, factors, torch.ones_like(factors))
        return Verdict(number((factors < 1).float().mean()), factors=factors)

    def cut(self, gradients: Gradients, verdict: Verdict) -> None:
        if verdict.factors is not None:
            _, tensors = self._judged(gradients)
            shapes = [(len(tensor), *(1,) * (tensor.ndim - 1)) if tensor.ndim > 1 else () for tensor in tensors]
            parts = verdict.factors.split([math.prod(shape) for shape in shapes])
            factors = [part.view(shape).to(tensor.device) for part, shape, tensor in zip(parts, shapes, tensors)]
            torch._foreach_mul_(tensors, factors)

    def _judged(self, gradients: Gradients) -> tuple[list[Any], list[Any]]:
        """Parameters that are not left alone, and their gradients: first those with rows, then the others."""
        for parameter, _ in gradients.sparse:
            if id(parameter) not in self._skipped:
                raise ValueError(
                    f"AGC cannot clip the sparse gradient of a parameter of shape {tuple(parameter.shape)}; "
                    "give the parameter in skip, or make its layer with sparse=False"
                )
        pairs = [pair for pair in zip(gradients.parameters, gradients.tensors) if id(pair[0]) not in self._skipped]
        pairs.sort(key=lambda pair: pair[1].ndim < 2)
        return [parameter for parameter, _ in pairs], [tensor for _, tensor in pairs]


class AutoClip:
    """Scales gradients to a percentile of the norms seen so far, this step's included (Seetharaman et al., 2020).

    Norms count as they were before clipping; one that is not finite, or 0, does not count. The paper looks back at
    the whole run; here the history is bounded, and the oldest norm goes first.

    Args:
        percentile: 0 to 100, interpolated as numpy does; 10, as in the paper, clips nine steps out of ten.
        window: how many norms are remembered; None for 1000.

    >>> rule, layer = AutoClip(50), nn.Linear(1, 1, bias=False)
    >>> for value in (1.0, 2.0, 1000.0):
    ...     layer.weight.grad = torch.tensor([[value]])
    ...     verdict = rule.judge(Gradients(layer.parameters()))
    >>> verdict.threshold, verdict.clipped
    (2.0, True)
    """

    def __init__(self, percentile: float = 10.0, window: int | None = None):
        if not 0 <= percentile <= 100:
            raise ValueError(f"percentile is {percentile}; it must be a number from 0 to 100")
        if window is not None and window < 1:
            raise ValueError(f"window is {window}; it counts norms, so it must be at least 1, or None")
        self.percentile, self.window = percentile, window or 1000
        self._norms = torch.full((self.window,), math.nan, dtype=torch.float64)  # a ring; NaN where nothing is yet
        self._places = torch.arange(self.window)
        self._seen: Number = 0

    def judge(self, gradients: Gradients) -> Verdict:
        size = gradients.size
        norms, places, seen = (_like(size, value) for value in (self._norms, self._places, self._seen))
        counts = size > 0
        newest = where(counts, seen % self.window, -1)
        self._norms, self._places, self._seen = torch.where(places == newest, size, norms), places, seen + counts
        threshold = self._threshold()
        return Verdict(size > threshold, threshold)

    def _threshold(self) -> Number:
        held = where(self._seen < self.window, self._seen, self.window)
        rank = self.percentile / 100 * where(held > 0, held - 1, 0)
        ordered = self._norms.sort().values  # NaN comes last
        below, above = _at(ordered, rank // 1), _at(ordered, -(-rank // 1))
        return where(held > 0, below + (above - below) * (rank % 1), math.inf)

    def cut(self, gradients: Gradients, verdict: Verdict) -> None:
        gradients.scale(verdict.threshold, verdict.clipped)

    def state_dict(self) -> dict[str, Any]:
        """The norms remembered, the oldest first."""
        seen = int(self._seen)
        norms = self._norms.roll(-(seen % self.window)) if seen > self.window else self._norms[:seen]
        return {"norms": norms.cpu().clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember those norms; where the window is shorter now, the newest of them."""
        norms = state["norms"][-self.window :]
        self._norms = torch.full((self.window,), math.nan, dtype=torch.float64)
        self._norms[: len(norms)] = norms
        self._seen = len(norms)


class ZClip:
    """Scales down gradients whose norm is an outlier among those before (Kumar et al., 2025, arXiv 2504.02507).

    Mean and deviation of the norms are exponential moving averages. A norm that is ``s`` deviations above the mean,
    with ``s`` more than ``z``, is brought to ``mean + z * z / s * deviation``: the farther out, the lower. The averages
    take in the norm after clipping. The first ``warmup`` norms are not clipped: they give the first mean and deviation.
    A norm that is not finite, or 0, does not count.

    Args:
        z: how many deviations above the mean are still fine.
        alpha: what the averages keep at each step.
        warmup: norms, at least 2.

    >>> rule, layer = ZClip(warmup=2), nn.Linear(1, 1, bias=False)
    >>> for value in (1.0, 3.0, 12.0):  # after the first two: mean 2, deviation 1, so the third is 10 of them away
    ...     layer.weight.grad = torch.tensor([[value]])
    ...     verdict = rule.judge(Gradients(layer.parameters()))
    >>> verdict.threshold, verdict.clipped
    (2.625, True)
    """

    def __init__(self, z: float = 2.5, alpha: float = 0.97, *, warmup: int = 25):
        if not 0 < alpha < 1:
            raise ValueError(f"alpha is {alpha}; it must be a number between 0 and 1")
        if warmup < 2:
            raise ValueError(f"warmup is {warmup}; it counts norms, and a deviation takes at least 2")
        self.z, self.alpha, self.warmup = _positive("z", z), alpha, warmup
        self._averages: tuple[Number, Number, Number] = 0.0, 0.0, 0.0  # norms seen, their mean, their variance

    def judge(self, gradients: Gradients) -> Verdict:
        size = gradients.size
        seen, mean, variance = (_like(size, number) for number in self._averages)
        warming, counts = seen < self.warmup, size > 0
        norm = where(counts, size, mean)  # what does not count is as if it were the mean
        excess, allowed = norm - mean, self.z * variance**0.5
        outlier = excess > allowed
        limit = mean + where(outlier, allowed * allowed / where(outlier, excess, 1.0), allowed)
        threshold = where(warming, math.inf, limit)

        # Over the warm-up each norm weighs alike; from then on these are moving averages.
        taken = where(norm > threshold, threshold, norm)
        share = where(warming, 1 / (seen + 1), 1 - self.alpha) * counts
        moved = mean + share * (taken - mean)
        square = (taken - moved) * where(warming, taken - mean, taken - moved)
        self._averages = seen + counts, moved, variance + share * (square - variance)
        return Verdict(norm > threshold, threshold)

    def cut(self, gradients: Gradients, verdict: Verdict) -> None:
        gradients.scale(verdict.threshold, verdict.clipped)

    def state_dict(self) -> dict[str, Any]:
        """How many norms were seen, their mean and variance."""
        return dict(zip(("seen", "mean", "variance"), map(float, self._averages)))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._averages = state["seen"], state["mean"], state["variance"]


def _like(number: Number, value: Any) -> Any:
    """``value``, a float or a tensor, on the device of ``number``; a float gets there without a transfer."""
    if not isinstance(number, torch.Tensor):
        return value
    return value.to(number) if isinstance(value, torch.Tensor) else torch.full_like(number, value)


def _at(values: torch.Tensor, place: Number) -> Number:
    """One of ``values``, by a place that only the device may know."""
    if isinstance(place, torch.Tensor):
        return values.index_select(0, place.long().view(1)).view(())
    return float(values[int(place)])


def _unit_norms(tensors: list[torch.Tensor], beside: torch.Tensor) -> torch.Tensor:
    """Norms of all units of these tensors, those with rows first, [units] in their order, on one device."""
    norms, vectors = [], []
    for tensor in tensors:
        half = tensor.dtype in HALVES
        if tensor.ndim > 1:
            rest, dtype = tuple(range(1, tensor.ndim)), torch.float32 if half else None
            norms.append(torch.linalg.vector_norm(tensor, dim=rest, dtype=dtype))
        else:
            vectors.append(tensor.float() if half else tensor)
    if vectors:
        norms += [norm.view(1) for norm in torch._foreach_norm(vectors)]
    return torch.cat([norm.to(beside.device) for norm in norms])


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; it must be a number above 0")
    return value

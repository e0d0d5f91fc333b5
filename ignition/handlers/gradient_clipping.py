"""Measures gradients before every step and keeps them from being too large."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer

from ignition.events import StepEvents, watch
from ignition.handlers.clipping_rules import ClippingRule, MaxNorm, MaxValue, Verdict
from ignition.handlers.gradients import Gradients


class GradientClipping:
    """Clips gradients by a rule, and tells what other rules would have done; without a rule it only measures.

    Acts when gradients are accumulated, averaged over processes and unscaled, so a limit means the same under
    accumulation, DDP and fp16. The norm before clipping is left as ``engine.state.gradient_norm``: a 0-dim tensor on
    the device, which is never waited for. Gradients whose norm is not finite are left as they are, and no rule
    remembers it: clipping would turn them into a mixture of zeros and NaN that hides the fault from whoever judges
    them next (`NonFiniteSteps`).

    Args:
        rule: `MaxNorm`, `MaxValue`, `AGC`, `AutoClip`, `ZClip`, or one of your own (`ClippingRule`).
        max_norm: short for ``MaxNorm(max_norm)``.
        max_value: short for ``MaxValue(max_value)``.
        shadow: rules that are fed every step and reported, and change nothing. They go by the name of their class in
            small letters; a second one of a class is called ``zclip_2``.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> layer.weight.grad = torch.tensor([[3.0, 4.0]])
    >>> GradientClipping(max_norm=1.0).clip(layer.parameters()), layer.weight.grad
    (tensor(5.), tensor([[0.6000, 0.8000]]))
    """

    def __init__(
        self,
        rule: ClippingRule | None = None,
        *,
        max_norm: float | None = None,
        max_value: float | None = None,
        shadow: Iterable[ClippingRule] = (),
    ):
        given = {"rule": rule, "max_norm": max_norm, "max_value": max_value}
        if sum(value is not None for value in given.values()) > 1:
            told = " and ".join(f"{name} is {value}" for name, value in given.items() if value is not None)
            raise ValueError(f"{told}; give one of them, or none")
        if max_norm is not None:
            rule = MaxNorm(max_norm)
        if max_value is not None:
            rule = MaxValue(max_value)
        self.rule = None if rule is None else _checked("rule", rule)
        self.shadows = _named(shadow)
        if len({id(rule) for rule in self._rules.values()}) < len(self._rules):
            raise ValueError("the same rule object was given twice; it would see every step twice. Make two of them")
        self._counts: dict[str, torch.Tensor | int] = dict.fromkeys(self._rules, 0)
        self._latest: dict[str, Verdict] = {}
        self.tightened = 1.0  # what the rule's limit has been multiplied by

    @property
    def _rules(self) -> dict[str, ClippingRule]:
        """All rules by the prefix of what is told of them; the one that is followed comes last, and has none."""
        return {**self.shadows, **({} if self.rule is None else {"": self.rule})}

    @property
    def clipped(self) -> int:
        """How many steps were clipped so far. Reading it waits for the device."""
        return int(self._counts.get("", 0))

    @property
    def shadow_clipped(self) -> dict[str, int]:
        """How many steps each shadow would have clipped so far. Reading it waits for the device."""
        return {name: int(self._counts[name]) for name in self.shadows}

    def attach(self, engine: Engine, optimizer: Optimizer, event: Any = StepEvents.GRADIENTS_READY) -> None:
        """Clip the gradients of ``optimizer``'s parameters at ``event``, whoever made ``engine``."""
        watch(engine, optimizer)
        engine.add_event_handler(event, self, optimizer)

    def __call__(self, engine: Engine, optimizer: Optimizer) -> None:
        state: Any = engine.state
        state.gradient_norm = self.clip(p for group in optimizer.param_groups for p in group["params"])
        state.gradient_norm_step = state.steps  # who judges the norm can tell whether it is this step's

    @torch.no_grad()
    def clip(self, parameters: Iterable[nn.Parameter]) -> torch.Tensor:
        """Clip the gradients of ``parameters`` in place; their norm before, 0-dim. The core, for any loop."""
        gradients = Gradients(parameters)
        self._latest = {}
        if not gradients.parameters:
            return gradients.norm
        for name, rule in self.shadows.items():
            self._judge(name, rule, gradients)
        if self.rule is not None:
            verdict = self._judge("", self.rule, gradients)
            # Where the verdict is known already, most steps end here. To ask another device would be to wait for it.
            if isinstance(verdict.clipped, torch.Tensor) or verdict.clipped:
                self.rule.cut(gradients, verdict)
        return gradients.norm

    def _judge(self, name: str, rule: ClippingRule, gradients: Gradients) -> Verdict:
        """Ask a rule, and count and keep its answer."""
        verdict = self._latest[name] = rule.judge(gradients)
        clipped = verdict.clipped
        self._counts[name] += clipped.bool() if isinstance(clipped, torch.Tensor) else bool(clipped)
        return verdict

    def tighten(self, factor: float) -> bool:
        """Multiply the limit of the rule, for the rest of the run. False if it has none.

        `AutoClip` and `ZClip` find their limits by themselves.

        >>> clipping = GradientClipping(max_norm=1.0)
        >>> clipping.tighten(0.5), clipping.rule.max_norm
        (True, 0.5)
        """
        if not 0 < factor <= 1:
            raise ValueError(f"factor is {factor}; it lowers the limit, so it must be above 0, and at most 1")
        if not hasattr(self.rule, "tighten"):
            return False
        self.rule.tighten(factor)  # type: ignore[union-attr]
        self.tightened *= factor
        return True

    def measures(self, engine: Engine | None = None) -> dict[str, torch.Tensor | float]:
        """What the rules made of the latest step, a source for `MetricsLog`; tensors are 0-dim, on the device.

        ``train/clip_threshold`` and ``train/clipped`` of the rule, ``train/shadow/<name>/threshold`` and
        ``train/shadow/<name>/clipped`` of each shadow. The threshold is the limit of the norm (of each element, for
        `MaxValue`); it is infinite while a rule warms up, and `AGC`, with a limit for each unit, has none. Clipped is
        0 or 1, and for `AGC` the share of units that were, for `MaxValue` the share of gradients.
        """
        numbers: dict[str, torch.Tensor | float] = {}
        for name, verdict in self._latest.items():
            if verdict.threshold is not None:
                numbers[f"train/shadow/{name}/threshold" if name else "train/clip_threshold"] = verdict.threshold
            numbers[f"train/shadow/{name}/clipped" if name else "train/clipped"] = 1.0 * verdict.clipped
        return numbers

    def state_dict(self) -> dict[str, Any]:
        """How often it has clipped, what the rule remembers, and both of each shadow."""
        shadows = {name: self._state_of(name, rule) for name, rule in self.shadows.items()}
        return {**self._state_of("", self.rule), "shadow": shadows, "tightened": self.tightened}

    def _state_of(self, name: str, rule: ClippingRule | None) -> dict[str, Any]:
        remembers = hasattr(rule, "state_dict")
        statistics: Any = rule.state_dict() if remembers else {}  # type: ignore[union-attr]
        return {"rule": _kind(rule), "clipped": int(self._counts.get(name, 0)), "statistics": statistics}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there. A shadow that the state does not know begins anew.

        Raises:
            ValueError: the state was saved with another kind of rule.
        """
        if state["rule"] != _kind(self.rule):
            raise ValueError(
                f"this state of gradient clipping was saved with the rule {state['rule']}, and the rule here is "
                f"{_kind(self.rule)}. Use the same rule to go on"
            )
        if hasattr(self.rule, "tighten"):
            self.rule.tighten(state.get("tightened", 1.0) / self.tightened)  # type: ignore[union-attr]
            self.tightened = state.get("tightened", 1.0)
        saved = {"": state, **state["shadow"]}
        for name, rule in self._rules.items():
            if name in saved:
                self._counts[name] = saved[name]["clipped"]
                if hasattr(rule, "load_state_dict"):
                    rule.load_state_dict(saved[name]["statistics"])


def _named(shadow: Any) -> dict[str, ClippingRule]:
    """Each shadow by its name, in order."""
    if not isinstance(shadow, Iterable):
        raise ValueError(f"shadow is {shadow!r}; it must be several rules, for instance shadow=[ZClip()]")
    named: dict[str, ClippingRule] = {}
    for rule in shadow:
        first = name = _kind(_checked("shadow", rule)).lower()  # type: ignore[union-attr]
        number = 1
        while name in named:
            number += 1
            name = f"{first}_{number}"
        named[name] = rule
    return named


def _checked(name: str, rule: Any) -> ClippingRule:
    if isinstance(rule, type) or not (hasattr(rule, "judge") and hasattr(rule, "cut")):
        raise ValueError(f"{name} is {rule!r}; it must be a rule, for instance MaxNorm(1.0)")
    return rule


def _kind(rule: Any) -> str | None:
    return None if rule is None else type(rule).__name__

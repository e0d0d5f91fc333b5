"""Optimizers by name, with parameter groups that decay what should decay."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer


class GroupRule(Protocol):
    """Parameters in whose name ``pattern`` (a regular expression) is found get a rate or decay of their own."""

    pattern: str
    lr: float | None
    weight_decay: float | None


def build_optimizer(
    model: nn.Module,
    name: str,
    *,
    lr: float,
    weight_decay: float = 0.0,
    options: Mapping[str, Any] | None = None,
    decay_norms: bool = False,
    groups: Sequence[GroupRule] = (),
) -> Optimizer:
    """The torch.optim class ``name`` over ``model``'s trainable parameters.

    Biases and the parameters of normalisation layers (all that have fewer than two dimensions) are not decayed unless
    ``decay_norms``: decay serves to keep weights small, and these have no scale to keep. The fused implementation is
    taken where the class has one and the parameters' device supports it.

    Raises:
        ValueError: an unknown class or option, a rule that matches nothing, or no trainable parameter.
    """
    cls = _optimizer_class(name)
    if cls is torch.optim.LBFGS:
        raise ValueError("optimizer.name: LBFGS calls the model itself several times a step, which no loop here does")
    known = inspect.signature(cls).parameters
    options = dict(options or {})
    for option in options:
        if option not in known or option in ("params", "lr", "weight_decay"):
            allowed = ", ".join(key for key in known if key not in ("params", "lr", "weight_decay"))
            raise ValueError(f"optimizer.options: {name} has no option '{option}' (it has: {allowed})")
    if weight_decay and "weight_decay" not in known:
        raise ValueError(f"optimizer.weight_decay: {name} has no weight decay; set it to 0")
    parameters = parameter_groups(model, lr=lr, weight_decay=weight_decay, decay_norms=decay_norms, groups=groups)
    if "weight_decay" not in known:
        for group in parameters:
            del group["weight_decay"]
    devices = {p.device.type for group in parameters for p in group["params"]}
    if "fused" in known and devices <= {"cuda", "cpu"} and not ({"foreach", "fused", "capturable"} & options.keys()):
        options["fused"] = True
    try:
        return cls(parameters, lr=lr, **options)  # type: ignore[call-arg]
    except (TypeError, ValueError) as error:
        raise ValueError(f"optimizer: {name} refuses its settings: {error}") from error


def parameter_groups(
    model: nn.Module, *, lr: float, weight_decay: float, decay_norms: bool, groups: Sequence[GroupRule]
) -> list[dict[str, Any]]:
    """Trainable parameters by the rule they fall under and whether they are decayed; the first matching rule wins.

    How many groups there are does not depend on rates and decays, so that a run may go on with other ones.
    """
    found: dict[tuple[int, bool], dict[str, Any]] = {}
    matched = [False] * len(groups)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate, decay, under = lr, weight_decay, -1
        for number, rule in enumerate(groups):
            if re.search(rule.pattern, name):
                matched[number], under = True, number
                rate = rule.lr if rule.lr is not None else rate
                decay = rule.weight_decay if rule.weight_decay is not None else decay
                break
        bare = parameter.ndim < 2 and not decay_norms
        group = found.setdefault((under, bare), {"params": [], "lr": rate, "weight_decay": 0.0 if bare else decay})
        group["params"].append(parameter)
    unmatched = [rule.pattern for rule, hit in zip(groups, matched) if not hit]
    if unmatched:
        some = ", ".join(name for name, _ in list(model.named_parameters())[:3])
        raise ValueError(f"optimizer.groups: no trainable parameter matches {unmatched} (names are like {some})")
    if not found:
        raise ValueError("the model has no trainable parameter")
    return list(found.values())


def _optimizer_class(name: str) -> type[Optimizer]:
    classes = {
        key: value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer
    }
    if name in classes:
        return classes[name]
    by_lower = {key.lower(): key for key in classes}
    near = by_lower.get(name.lower()) or next(iter(difflib.get_close_matches(name, classes, 1)), None)
    hint = f" Did you mean '{near}'?" if near else f" There are: {', '.join(sorted(classes))}."
    raise ValueError(f"optimizer.name: torch.optim has no '{name}'.{hint}")


def options_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Each parameter group's options (weight decay, betas, ...) but for its rate."""
    return [
        {name: value for name, value in group.items() if name not in ("params", "lr", "initial_lr")}
        for group in optimizer.param_groups
    ]


def set_options(optimizer: Optimizer, options: list[dict[str, Any]]) -> list[str]:
    """Give each parameter group the options that `options_of` gave; says what was another before.

    A state that is loaded into an optimizer brings the options with it that it was saved under.
    """
    changed = []
    for group, own in zip(optimizer.param_groups, options, strict=True):
        changed += [
            f"{name}={value} (was {group.get(name)})" for name, value in own.items() if group.get(name) != value
        ]
        group.update(own)
    return list(dict.fromkeys(changed))

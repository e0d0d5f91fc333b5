"""What moves the weights, by the config: loss weights, optimizer, clipping, average."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import nn

from ignition.assembly.recipe_parts import AssemblyError
from ignition.config import Config
from ignition.handlers.clipping_rules import AGC, AutoClip, ClippingRule, MaxNorm, MaxValue, ZClip
from ignition.handlers.ema import EMA
from ignition.handlers.gradient_clipping import GradientClipping
from ignition.loss_terms import LossWeights
from ignition.optimizer import build_optimizer


def loss_weights(config: Config) -> LossWeights:
    """The config's loss weights; where it names none, every term of the recipe counts 1."""
    if not config.loss:
        return LossWeights()
    weights: dict[str, float | Callable[[float], float]] = {}
    for name, schedule in config.loss.items():
        weights[name] = schedule.value(0.0) if schedule.constant else schedule.value
    return LossWeights(weights)


def optimizer_of(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """The config's optimizer over the model's trainable parameters.

    Raises:
        AssemblyError: an unknown class or option, or a group rule that matches nothing.
    """
    settings = config.optimizer
    try:
        return build_optimizer(
            model,
            settings.name,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            options=settings.options,
            decay_norms=settings.decay_norms,
            groups=settings.groups,
        )
    except ValueError as error:
        raise AssemblyError(str(error)) from error


def clipping_of(config: Config, model: nn.Module) -> GradientClipping:
    """The config's clipping, with the kinds that only tell what they would do.

    Raises:
        AssemblyError: a pattern of ``clip.skip`` matches no parameter.
    """
    shadows: dict[str, Callable[[], ClippingRule]] = {
        "norm": lambda: MaxNorm(1.0), "agc": AGC, "autoclip": AutoClip, "zclip": ZClip
    }  # fmt: skip
    return GradientClipping(
        _clipping_rule(config, model), shadow=[shadows[kind]() for kind in config.logging.shadow_clipping]
    )


def _clipping_rule(config: Config, model: nn.Module) -> ClippingRule | None:
    clip = config.clip
    match clip.kind:
        case "norm":
            return MaxNorm(clip.max_norm)
        case "value":
            return MaxValue(clip.max_value)
        case "agc":
            return AGC(clip.clipping, clip.eps, skip=_matching(model, clip.skip))
        case "autoclip":
            return AutoClip(clip.percentile)
        case "zclip":
            return ZClip(clip.z, clip.alpha, warmup=clip.warmup)
        case _:
            return None


def _matching(model: nn.Module, patterns: list[str]) -> list[nn.Parameter]:
    named = dict(model.named_parameters())
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in named):
            raise AssemblyError(f"clip.skip: '{pattern}' is found in no parameter's name, such as {next(iter(named))}")
    return [parameter for name, parameter in named.items() if any(re.search(pattern, name) for pattern in patterns)]


def average_of(config: Config, model: nn.Module, module: nn.Module | None = None) -> EMA | None:
    """The average of the weights, if the config asks for one; in ``module``, if the model cannot be copied."""
    if config.ema is None:
        return None
    return EMA(model, decay=config.ema.decay, warmup=config.ema.warmup, module=module)

"""Small trainings broken on purpose beside healthy twins, to be looked at by the detectors that read evaluations.

A network of two hidden layers of 64 ReLUs learns what a fixed random network says of 16 numbers: three terms of two
outputs each, of unit variance, with noise. 2048 samples, batches of 32, 1280 steps, an evaluation before the first
step and after every 32; SGD with momentum and Adam, each with several rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

TERMS = ("position", "scale", "rotation")
RATES = {"SGD": 0.02, "Adam": 1e-3}
STEPS, EVERY, BATCH = 1280, 32, 32


@dataclass(frozen=True)
class Fault:
    """What is different from the healthy twin."""

    rates: tuple[float, ...] = (1.0,)  # what the learning rate is multiplied by, each a run
    samples: int = 2048
    weights: dict[str, float] = field(default_factory=dict)
    noise_for: str = ""  # this term's targets are noise
    validation_samples: int = 512
    noise: float = 0.2  # of the targets; they have unit variance without it


FAULTS = {
    "none": Fault(rates=(0.3, 1.0, 3.0)),
    "none, 32 validation samples": Fault(rates=(0.3, 1.0, 3.0), validation_samples=32),
    "32 training samples": Fault(samples=32),
    "32 training samples, noisy ones": Fault(samples=32, noise=1.0),
    "rate x 1/300": Fault(rates=(1 / 300,)),
    "rate x 30": Fault(rates=(30.0,)),
    "a term weighted 1/1000": Fault(weights={"rotation": 1e-3}),
    "a term that cannot be predicted": Fault(noise_for="rotation"),
}


def runs(fault: Fault, seeds: int) -> Iterator[list[dict[str, Any]]]:
    """The evaluations of each run with that fault."""
    for optimizer in RATES:
        for factor in fault.rates:
            for seed in range(seeds):
                yield train(fault, optimizer, factor * RATES[optimizer], seed)


def train(fault: Fault, optimizer: str, rate: float, seed: int) -> list[dict[str, Any]]:
    """A run; ends early where a loss is not finite."""
    draw = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    teacher = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 6))
    inputs, targets = _data(teacher, fault.samples, fault, draw)
    held_out = _data(teacher, fault.validation_samples, fault, draw)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 6))
    weights = torch.tensor([fault.weights.get(term, 1.0) for term in TERMS])
    steps: torch.optim.Optimizer
    if optimizer == "SGD":
        steps = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    else:
        steps = torch.optim.Adam(model.parameters(), lr=rate)
    rows, total = [_evaluate(model, 0, held_out, weights)], 0.0
    rows[0]["training"] = rows[0]["validation"]
    for step in range(1, STEPS + 1):
        chosen = torch.randint(len(inputs), (BATCH,), generator=draw)
        loss = weights @ _errors(model(inputs[chosen]), targets[chosen])
        steps.zero_grad()
        loss.backward()
        steps.step()
        total += float(loss.detach())
        if step % EVERY == 0:
            rows.append({**_evaluate(model, step, held_out, weights), "training": total / EVERY})
            total = 0.0
            if not rows[-1]["finite"]:
                break
    return rows


def _data(teacher: nn.Module, count: int, fault: Fault, draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs [count,16] and targets [count,6] of unit variance."""
    inputs = torch.randn(count, 16, generator=draw)
    reference = torch.randn(4096, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        usual, targets = teacher(reference), teacher(inputs)
    targets = (targets - usual.mean(0)) / usual.std(0) + fault.noise * torch.randn(count, 6, generator=draw)
    if fault.noise_for:
        place = 2 * TERMS.index(fault.noise_for)
        targets[:, place : place + 2] = torch.randn(count, 2, generator=draw)
    return inputs, targets


def _errors(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean square of each term [3]."""
    return (outputs - targets).square().unflatten(1, (3, 2)).mean((0, 2))


@torch.no_grad()
def _evaluate(
    model: nn.Sequential, step: int, held_out: tuple[torch.Tensor, torch.Tensor], weights: torch.Tensor
) -> dict[str, Any]:
    inputs, targets = held_out
    values, units = inputs, {}
    for number, layer in enumerate(model):
        values = layer(values)
        if isinstance(layer, nn.ReLU):
            units[f"layer {number}"] = (int((values == 0).all(0).sum()), values.shape[1])
    errors = _errors(values, targets)
    return {
        "iteration": step,
        "validation": float(weights @ errors),
        "errors": dict(zip(TERMS, errors.tolist())),
        "trivial": dict(zip(TERMS, _errors(targets.mean(0).expand_as(targets), targets).tolist())),
        "signals": {"std_ratio": float(values.std(0).mean() / targets.std(0).mean())},
        "units": units,
        "finite": bool(torch.isfinite(errors).all()),
    }

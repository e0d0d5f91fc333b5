"""Small networks trained at rates from far too low to far too high, and what the doctor says of each training.

Truth is what a rate leads to, beside the best one for the same network, optimizer and seed: of what the best gains in
training loss over `STEPS` steps, ``fine`` gains at least 90 %; ``too high`` and ``too low`` gain less than 50 %, above
and below the best rate. What is between is told as well and counts for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor, nn

from ignition.stability import LearningRateTooHigh, LearningRateTooLow, NonFinite, SlowDivergence, UpdateRatio

STEPS = 220
RATES = [10 ** (half / 2) for half in range(-10, 3)]
SEEDS = (0, 1)
MEASURE_EVERY = 10  # steps from one measurement of the update ratios to the next

Batches = Callable[[], tuple[Tensor, Tensor]]


@dataclass
class Training:
    """How one training went, and what was found in it."""

    began: float
    ended: float
    found: set[str] = field(default_factory=set)


def regression(seed: int) -> tuple[nn.Module, Batches, nn.Module]:
    """Three layers that learn what another network makes of 16 numbers."""
    random = torch.Generator().manual_seed(100 + seed)
    torch.manual_seed(seed)
    teacher = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 1)).requires_grad_(False)
    for parameter in teacher.parameters():
        parameter.mul_(2)

    def batch() -> tuple[Tensor, Tensor]:
        inputs = torch.randn(64, 16, generator=random)
        return inputs, teacher(inputs) + 0.1 * torch.randn(64, 1, generator=random)

    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    return model, batch, nn.MSELoss()


def gratings(seed: int) -> tuple[nn.Module, Batches, nn.Module]:
    """A small convolutional network with batch norm that tells 8 orientations of noisy gratings [32,1,12,12]."""
    random = torch.Generator().manual_seed(100 + seed)
    torch.manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")

    def batch() -> tuple[Tensor, Tensor]:
        target = torch.randint(0, 8, (32,), generator=random)
        angle = (target * math.pi / 8)[:, None, None]
        phase = 6.3 * torch.rand(32, 1, 1, generator=random)
        image = torch.sin(0.9 * (angle.cos() * x + angle.sin() * y) + phase)
        return (image + 0.7 * torch.randn(32, 12, 12, generator=random))[:, None], target

    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 8),
    )  # fmt: skip
    return model, batch, nn.CrossEntropyLoss()


NETWORKS = {"regression": regression, "gratings": gratings}
OPTIMIZERS: dict[str, Callable] = {
    "SGD": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, momentum=0.9),
    "AdamW": lambda parameters, rate: torch.optim.AdamW(parameters, lr=rate),
}


def train(network: str, optimizer: str, rate: float, seed: int) -> Training:
    """Train, leave out steps that are not finite, and ask the detectors at every step."""
    model, batch, criterion = NETWORKS[network](seed)
    weights = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    stepper = OPTIMIZERS[optimizer](model.parameters(), rate)
    too_high, too_low, non_finite, slow, ratios = (
        LearningRateTooHigh(), LearningRateTooLow(), NonFinite(), SlowDivergence(), UpdateRatio(),
    )  # fmt: skip
    losses: list[float] = []
    found: set[str] = set()
    for step in range(STEPS):
        inputs, target = batch()
        stepper.zero_grad()
        loss = criterion(model(inputs), target)
        loss.backward()
        losses.append(float(loss.detach()))
        norm = float(nn.utils.get_total_norm([p.grad for p in model.parameters()]))
        measured, middle = {}, None
        if math.isfinite(norm) and math.isfinite(losses[-1]):
            before = {name: p.detach().clone() for name, p in weights.items()} if step % MEASURE_EVERY == 0 else {}
            stepper.step()
            measured = {name: float((weights[name].detach() - old).norm() / old.norm()) for name, old in before.items()}
            middle = median(measured.values()) if measured else None
        findings = [
            too_high.update(step, losses[-1], middle),
            too_low.update(step, losses[-1], middle),
            non_finite.update(step, {"loss": losses[-1]}, {"all": norm}),
            slow.update(step, losses[-1]),
            *(ratios.update(step, measured) if measured else []),
        ]
        found |= {f.name for f in findings if f and (f.severity != "info" or f.name == "learning_rate_too_low")}
    ended = median(losses[-20:])
    return Training(median(losses[:20]), ended if math.isfinite(ended) else math.inf, found)


def kinds() -> Iterator[tuple[str, Training]]:
    """Every training, and whether its rate was fine, too high, too low or between."""
    for network in NETWORKS:
        for optimizer in OPTIMIZERS:
            for seed in SEEDS:
                trained = [train(network, optimizer, rate, seed) for rate in RATES]
                best = min(range(len(RATES)), key=lambda i: trained[i].ended)
                began = trained[0].began  # at the lowest rate the first losses are those of the network as it was made
                for i, training in enumerate(trained):
                    gain = (began - training.ended) / (began - trained[best].ended)
                    bad = "too high" if i > best else "too low"
                    yield ("fine" if gain >= 0.9 else bad if gain < 0.5 else "between"), training


def rates() -> None:
    """Train all, and print what was found in each kind."""
    torch.set_num_threads(1)
    of_kind: dict[str, list[Training]] = {"fine": [], "between": [], "too high": [], "too low": []}
    for kind, training in kinds():
        of_kind[kind].append(training)
    names = ["learning_rate_too_high", "learning_rate_too_low", "update_ratio", "slow_divergence", "non_finite"]
    count = sum(map(len, of_kind.values()))
    print(f"\n### {count} small trainings, by what the rate led to: share with each finding, %\n")
    print(f"| rate | trainings | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    for kind, trainings in of_kind.items():
        shares = [100 * sum(name in training.found for training in trainings) / len(trainings) for name in names]
        print(f"| {kind} | {len(trainings)} | {' | '.join(f'{share:.0f}' for share in shares)} |")

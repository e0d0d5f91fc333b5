"""What measuring a run from within costs: layers and loss terms beside a usual step, units beside a usual evaluation.

Measured and usual steps take turns in one training, so that a machine which slows down slows both; figures are ratios
of medians. At ``every=50`` the mean cost is a fiftieth of what a measured step costs more.

    python benchmarks/measurement_overhead.py [--steps 60]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torchvision.models import resnet18

from ignition.engine import build_evaluator, build_trainer
from ignition.handlers.layer_statistics import LayerStatistics
from ignition.handlers.term_gradients import TermGradients
from ignition.handlers.unit_activity import UnitActivity


def mlp() -> tuple[nn.Module, torch.Tensor]:
    layers = [nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)]
    return nn.Sequential(*layers), torch.randn(64, 256)


def residual() -> tuple[nn.Module, torch.Tensor]:
    return resnet18(num_classes=10), torch.randn(16, 3, 32, 32)


def losses(model: nn.Module, batch: torch.Tensor, progress: Any) -> dict[str, torch.Tensor]:
    output = model(batch)
    return {"square": output.square().mean(), "size": output.abs().mean()}


def of_steps(make: Callable[[], tuple[nn.Module, torch.Tensor]], what: str, steps: int) -> tuple[float, float]:
    """Milliseconds of a usual step and of a measured one: the second of each two."""
    torch.manual_seed(0)
    model, batch = make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    terms = TermGradients(model, every=2) if what == "terms" else None
    trainer = build_trainer(model, optimizer, losses, before_backward=terms)
    if what == "layers":
        LayerStatistics(model, every=2).attach(trainer, optimizer)
    times: list[float] = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: times.append(-time.perf_counter()))

    def end(engine: Engine) -> None:
        times[-1] += time.perf_counter()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, end)
    trainer.run([batch] * steps)
    times = times[20:]  # of which some were measured closely, and all warmed up
    return 1000 * statistics.median(times[0::2]), 1000 * statistics.median(times[1::2])


def of_evaluations(make: Callable[[], tuple[nn.Module, torch.Tensor]], rounds: int) -> tuple[float, float]:
    """Milliseconds of a batch of a usual evaluation, and of one in which units are looked at."""
    torch.manual_seed(0)
    model, batch = make()
    usual = build_evaluator(model, lambda model, batch: model(batch))
    watched = build_evaluator(model, lambda model, batch: model(batch))
    UnitActivity(model).attach(watched, usual)
    times: dict[Engine, list[float]] = {usual: [], watched: []}
    for _ in range(rounds):
        for evaluator, seconds in times.items():
            began = time.perf_counter()
            evaluator.run([batch] * 10)
            seconds.append((time.perf_counter() - began) / 10)
    return 1000 * statistics.median(times[usual]), 1000 * statistics.median(times[watched])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, one thread")
    print(f"{'network':12} {'what':8} {'usual ms':>9} {'measured':>9} {'ratio':>6} {'mean at every=50':>17}")
    for make, steps in ((mlp, 40 * arguments.steps), (residual, arguments.steps)):
        for what in ("layers", "terms", "units"):
            found = of_evaluations(make, steps // 10) if what == "units" else of_steps(make, what, 20 + steps)
            usual, measured = found
            mean = "" if what == "units" else f"{(measured / usual - 1) / 50:+.2%}"
            print(f"{make.__name__:12} {what:8} {usual:9.3f} {measured:9.3f} {measured / usual:6.2f} {mean:>17}")


if __name__ == "__main__":
    main()

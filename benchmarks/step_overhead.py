"""What one training iteration costs beside the loops that people write.

All loops take turns (A B C A B C ...), so that a machine which slows down slows all of them; figures are ratios of
medians to the bare loop of the same run, and the difference in microseconds.

    python benchmarks/step_overhead.py [--steps 2000] [--repeats 7]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from ignite.contrib.handlers import ProgressBar
from ignite.engine import Engine, Events
from ignite.handlers import TerminateOnNan
from ignite.handlers.tensorboard_logger import OutputHandler, TensorboardLogger
from ignite.metrics import RunningAverage
from torch import nn

from ignition.engine import build_trainer
from ignition.handlers.buffer_keeper import BufferKeeper
from ignition.handlers.gradient_clipping import GradientClipping
from ignition.handlers.layer_statistics import LayerStatistics
from ignition.handlers.learning_rate import LearningRate
from ignition.handlers.metrics_log import MetricsLog
from ignition.handlers.non_finite import NonFiniteSteps
from ignition.handlers.recovery import Recovery
from ignition.handlers.schedules import OneCycle
from ignition.handlers.stability import Stability
from ignition.handlers.tensorboard import TensorBoard
from ignition.randomness import IterationSeed
from ignition.rundir import RunFolder

Loop = Callable[[list[torch.Tensor]], None]


def parts() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Linear(8, 8)
    return model, torch.optim.SGD(model.parameters(), lr=1e-3)


def bare(folder: Path) -> Loop:
    model, optimizer = parts()

    def loop(data: list[torch.Tensor]) -> None:
        for batch in data:
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()

    return loop


def careful(folder: Path) -> Loop:
    """Clip, schedule, finite check, running mean, loss read at every step: what a careful person writes by hand."""
    model, optimizer = parts()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=10_000_000)

    def loop(data: list[torch.Tensor]) -> None:
        mean = 0.0
        for batch in data:
            optimizer.zero_grad()
            loss = model(batch).square().mean()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            if torch.isfinite(norm):
                optimizer.step()
            schedule.step()
            mean = 0.98 * mean + 0.02 * loss.item()

    return loop


def plain_engine(folder: Path) -> Loop:
    model, optimizer = parts()

    def step(engine: Engine, batch: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    engine = Engine(step)
    return lambda data: engine.run(data, max_epochs=1) and None


def stock_handlers(folder: Path) -> Loop:
    """ignite's own handlers, each iteration, as its examples attach them."""
    model, optimizer = parts()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=10_000_000)

    def step(engine: Engine, batch: torch.Tensor) -> float:
        optimizer.zero_grad()
        loss = model(batch).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    engine = Engine(step)
    RunningAverage(output_transform=lambda loss: loss).attach(engine, "loss")
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: schedule.step())
    engine.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
    ProgressBar(file=(folder / "bar").open("w")).attach(engine, ["loss"])
    logger = TensorboardLogger(log_dir=str(folder / "stock"))
    logger.attach(
        engine,
        log_handler=OutputHandler("train", output_transform=lambda loss: {"loss": loss}),
        event_name=Events.ITERATION_COMPLETED,
    )
    return lambda data: engine.run(data, max_epochs=1) and None


def ours(every: int, *, tensorboard: bool = False, doctor: bool = False) -> Callable[[Path], Loop]:
    """Our step with clipping, guard, schedule, seeds and a row of metrics.jsonl for every iteration.

    With the ``doctor`` it is all that a run of ours does by default: measurements of the layers every 50 steps, buffers
    that can be given back, findings from each row, snapshots for a rollback every 50 steps.
    """

    def make(folder: Path) -> Loop:
        model, optimizer = parts()
        trainer = build_trainer(model, optimizer, lambda model, batch, _: {"square": model(batch).square().mean()})
        IterationSeed(0).attach(trainer)
        run = RunFolder.create_at(folder / f"ours-{every}-{tensorboard}-{doctor}")
        stability = Stability(tell=run.write_incident)
        if doctor:
            LayerStatistics(model, stability).attach(trainer, optimizer)
            BufferKeeper(model).attach(trainer, optimizer)
        GradientClipping(max_norm=1.0).attach(trainer, optimizer)
        NonFiniteSteps().attach(trainer, optimizer)
        rate = LearningRate(optimizer, OneCycle(10_000_000))
        rate.attach(trainer)
        writers = [run.write_metrics] + ([TensorBoard(run.path)] if tensorboard else [])
        if doctor:
            writers.append(stability)
            stability.attach(trainer)
            Recovery({"model": model, "optimizer": optimizer}, rate, every=50).attach(trainer)
        MetricsLog(*writers, every=every).attach(trainer, optimizer)
        return lambda data: trainer.run(data, max_epochs=1) and None

    return make


LOOPS: dict[str, Callable[[Path], Loop]] = {
    "bare loop": bare,
    "plain ignite engine": plain_engine,
    "careful by hand": careful,
    "ignition, every=50": ours(50),
    "ignition, every=1": ours(1),
    "ignition, every=50, TensorBoard": ours(50, tensorboard=True),
    "ignition, every=50, the doctor": ours(50, doctor=True),
    "ignite's stock handlers": stock_handlers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    data = [torch.randn(16, 8) for _ in range(arguments.steps)]
    with tempfile.TemporaryDirectory() as name:
        loops = {title: make(Path(name)) for title, make in LOOPS.items()}
        times: dict[str, list[float]] = {title: [] for title in loops}
        for loop in loops.values():
            loop(data[:200])
        for _ in range(arguments.repeats):
            for title, loop in loops.items():
                began = time.perf_counter()
                loop(data)
                times[title].append((time.perf_counter() - began) / arguments.steps * 1e6)
    medians = {title: statistics.median(values) for title, values in times.items()}
    base = medians["bare loop"]
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, one thread, "
          f"medians of {arguments.repeats} interleaved rounds of {arguments.steps} steps")  # fmt: skip
    print(f"{'loop':34} {'us a step':>10} {'over bare':>10} {'ratio':>7}")
    for title, median in medians.items():
        print(f"{title:34} {median:10.1f} {median - base:10.1f} {median / base:7.2f}")


if __name__ == "__main__":
    main()

"""To whom a run tells its numbers and pictures: its folder, the terminal, TensorBoard, W&B, MLflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ignite.engine import Engine
from torchvision.utils import save_image

from ignition import distributed, handlers
from ignition.assembly import AssemblyError
from ignition.config import Config
from ignition.handlers.progress import Progress
from ignition.handlers.tensorboard import TensorBoard
from ignition.rundir import RunFolder

Row = dict[str, Any]


class Reporting:
    """Makes the writers that the config asks for; rows, pictures and the end of a run go to all of them.

    Process 0 alone has any.

    Attributes:
        writers: what `MetricsLog` hands rows to. The run folder comes first: the others may fail.
        progress: the one that shows them on the terminal.

    Raises:
        AssemblyError: a service is asked for whose package is not installed.
    """

    def __init__(self, config: Config, run: RunFolder, trainer: Engine):
        self.run, self.trainer = run, trainer
        self.progress = Progress(metrics=tuple(dict.fromkeys(("val/loss", config.checkpoint.metric))))
        self._tensorboard: TensorBoard | None = None
        self._services: list[Any] = []
        if distributed.rank() == 0:
            if config.logging.tensorboard:
                self._tensorboard = TensorBoard(run.path)
            self._services = [*_wandb(config, run), *_mlflow(config, run)]
        others = [self._tensorboard] if self._tensorboard is not None else []
        self.writers: list[Callable[[Row], None]] = [run.write_metrics, self.progress, *others, *self._services]

    def picture(self, name: str, image: torch.Tensor) -> None:
        """Keep a picture of an evaluation: float [3,H,W] in 0..1."""
        state = self.trainer.state
        save_image(image, self.run.picture(state.epoch, name))
        for board in (self._tensorboard, *self._services):
            if hasattr(board, "image"):
                board.image(name, image, state.iteration)

    def rewind(self, iteration: int) -> None:
        """Take away what later iterations have told: they come again. Services keep what they have."""
        if distributed.rank() == 0:
            self.run.rewind_metrics(iteration)
            if self._tensorboard is not None:
                self._tensorboard.rewind(iteration)

    def close(self, *, failed: bool) -> None:
        """Nothing comes any more."""
        self.run.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        for service in self._services:
            service.close(failed=failed)


def _wandb(config: Config, run: RunFolder) -> list[Any]:
    settings = config.logging.wandb
    if settings is None:
        return []
    try:
        service = handlers.WandB  # looked up here: only who asks for it needs its package
    except ImportError as error:
        raise AssemblyError(f"logging.wandb: {error}") from error
    name = settings.name or run.path.name
    return [service(settings.project, folder=run.path, name=name, mode=settings.mode, config=config.to_dict())]


def _mlflow(config: Config, run: RunFolder) -> list[Any]:
    settings = config.logging.mlflow
    if settings is None:
        return []
    try:
        service = handlers.MLflow
    except ImportError as error:
        raise AssemblyError(f"logging.mlflow: {error}") from error
    name, shown = run.path.name, config.to_dict()
    return [service(settings.uri, folder=run.path, experiment=settings.experiment, name=name, config=shown)]

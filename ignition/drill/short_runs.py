"""A recipe cut down to a run of ten batches, in which something happens at a known iteration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Events
from torch import nn

from ignition.events import stop
from ignition.loss_terms import Progress
from ignition.recipe import Recipe, Splits, optional

if TYPE_CHECKING:
    from ignition.training import Training

BATCHES, EPOCHS = 5, 2
ITERATIONS = BATCHES * EPOCHS
VALIDATION_BATCHES = 2

# What is done after an iteration, before anything is saved of it.
Acts = Mapping[int, Callable[["Training"], None]]


class FewSamples:
    """The first ``count`` samples of a dataset, from the first again where it has fewer; all else is the dataset's.

    >>> few = FewSamples([7, 8], 5)
    >>> len(few), few[3]
    (5, 8)
    """

    def __init__(self, dataset: Any, count: int):
        self.dataset, self.count = dataset, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index % len(self.dataset)] if len(self.dataset) < self.count else self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # while it is being unpickled there is none yet
            raise AttributeError(name)
        return getattr(self.dataset, name)


def shortened(recipe: type[Recipe], acts: Acts) -> type[Recipe]:
    """The same recipe with a few batches of data and the end after `EPOCHS`; ``acts`` happen after their iterations."""

    class Short(recipe):  # type: ignore[misc, valid-type]
        def __init__(self, settings: Any, data: Any):
            super().__init__(settings, data)
            self._batch_size = data.batch_size

        def datasets(self) -> Splits:
            splits: Any = super().datasets()
            if not isinstance(splits, Splits):
                return splits  # for the run to complain about
            few = VALIDATION_BATCHES * self._batch_size
            return Splits(
                train=_few(splits.train, BATCHES * self._batch_size),
                val=_few(splits.val, few),
                test=_few(splits.test, few) if splits.test is not None else None,
                others={name: _few(dataset, few) for name, dataset in splits.others.items()},
            )

        def handlers(self, training: Training) -> None:
            own = optional(super(), "handlers")  # type: ignore[arg-type]
            if own is not None:
                own(training)
            training.trainer.add_event_handler(
                Events.EPOCH_COMPLETED(once=EPOCHS), lambda engine: stop(engine, "the drill ends here")
            )
            for iteration, act in acts.items():
                training.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), _doing(act, training))

    return Short


def short_of_memory(recipe: type[Recipe], iteration: int) -> type[Recipe]:
    """The same recipe, for whose batch of that iteration there is no memory when it is tried first."""

    class Greedy(recipe):  # type: ignore[misc, valid-type]
        _asked = False

        def losses(self, model: nn.Module, batch: Any, progress: Progress) -> dict[str, torch.Tensor]:
            if model.training and progress.iteration == iteration and not self._asked:
                self._asked = True
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 GiB. (a drill)")
            terms: dict[str, torch.Tensor] = super().losses(model, batch, progress)
            return terms

    return Greedy


def _few(dataset: Any, count: int) -> Callable[[], Any]:
    """A function that makes it, where the recipe gives one, and else too: what is empty is told as of the run."""

    def make() -> Any:
        whole = dataset if hasattr(dataset, "__getitem__") else dataset()
        return FewSamples(whole, count) if len(whole) else whole

    return make


def _doing(act: Callable[[Training], None], training: Training) -> Callable[[Any], None]:
    return lambda engine: act(training)

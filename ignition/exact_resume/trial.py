"""A process of the check: trains as ``ignition.run`` does, notes what it sees, and ends or dies where it is told."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ignite.engine import Engine, Events

from ignition import checkpoint_file, distributed, run
from ignition.assembly import AssemblyError
from ignition.command_line import guarded
from ignition.exact_resume.digest import digest, leaves
from ignition.exact_resume.notebook import Notebook
from ignition.exact_resume.plan import WARM, Plan, choose
from ignition.handlers.consensus import Consensus
from ignition.rundir import LAST_CHECKPOINT, RunFolder

if TYPE_CHECKING:
    from ignition.recipe import Recipe
    from ignition.training import Training


@dataclass
class Order:
    """What a process is told: the command line of `ignition.run`, where to note what it sees, and where to end.

    Attributes:
        folder: of the notes, a file for each process of the run.
        asked: N and M as the user gave them; plan: as it was chosen, by the first process of all, once it is known how
            long an iteration takes.
        kill: whether the run is saved and killed; otherwise it goes to the end.
    """

    recipe: str
    config: str | None
    settings: list[str]
    run: str
    folder: str
    resume: bool = False
    kill: bool = False
    asked: tuple[int, int] | None = None
    plan: tuple[int, int, int] | None = None

    def words(self) -> str:
        """As one word of a command line."""
        return json.dumps(asdict(self))


class Trial:
    """Follows an order.

    Args:
        order: what to do.
    """

    def __init__(self, order: Order):
        self.order = order
        self.plan = Plan(*order.plan) if order.plan is not None else None
        self._notes = Path(order.folder) / f"notes-{os.environ.get('RANK', '0')}.jsonl"
        self._began = time.perf_counter()

    def train(self) -> int:
        """Train to where the order says. Returns the exit code of `ignition.run`, if it comes back."""
        order = self.order
        words = [order.recipe, "--resume" if order.resume else "--output", order.run, *order.settings]
        arguments = run.parser().parse_intermixed_args(words + (["--config", order.config] if order.config else []))
        self.notebook = Notebook(self._notes)
        try:
            code = run.train(arguments, change=self._watched)
            if code == 0:
                last = RunFolder(order.run).checkpoints / LAST_CHECKPOINT
                saved = {place: digest(value) for place, value in leaves(checkpoint_file.load(last))}
                self.notebook.write({"saved": saved})
        finally:
            self.notebook.close()
        return code

    def _watched(self, recipe: type[Recipe]) -> type[Recipe]:
        """The recipe, noted down. Not a subclass: loader workers have to find what they unpickle by its name."""
        trial, losses, handlers = self, recipe.losses, getattr(recipe, "handlers", None)

        def noted(self: Any, model: Any, batch: Any, progress: Any) -> Any:
            trial.notebook.see(batch)
            return losses(self, model, batch, progress)

        def attach(self: Any, training: Training) -> None:
            if handlers is not None:
                handlers(self, training)
            trial.attach(training)

        recipe.losses, recipe.handlers = noted, attach  # type: ignore[method-assign, attr-defined]
        return recipe

    def attach(self, training: Training) -> None:
        """Note, save, kill and end where it is due; after all that comes before a save."""
        self.notebook.attach(training)
        self._training = training
        training.trainer.add_event_handler(Events.ITERATION_COMPLETED, self._after)

    def _after(self, engine: Engine) -> None:
        iteration = engine.state.iteration
        if self.plan is None:
            self._choose(iteration)
            return
        if self.order.kill and iteration == self.plan.save:
            Consensus.of(engine).ask("save", "it is interrupted next")
        if self.order.kill and iteration == self.plan.kill and distributed.rank() == 0:
            self._training.checkpoint.wait()  # one that is written in the background
            os.kill(os.getpid(), signal.SIGKILL)
        if iteration == self.plan.end:
            Consensus.of(engine).ask("preempt", "the comparison ends here")

    def _choose(self, iteration: int) -> None:
        """Make the plan, once an iteration is known to take how long, and tell it."""
        training, now = self._training, time.perf_counter()
        length, epochs = len(training.data.loader), training.config.trainer.epochs
        if iteration < min(WARM, length * epochs - 1):
            self._began = now
            return
        try:
            plan = choose(self.order.asked, epoch_length=length, accumulate=training.config.trainer.accumulate,
                          iterations=length * epochs, seconds=now - self._began)  # fmt: skip
        except ValueError as error:
            raise AssemblyError(str(error)) from error
        self.plan = Plan(*distributed.from_first(plan))
        self.notebook.write({"plan": self.plan, "seconds": now - self._began, "epoch_length": length})
        self._after(training.trainer)


def main() -> int:
    """Follow the order in the one word of the command line."""
    order = Order(**json.loads(sys.argv[1]))
    return guarded(Trial(order).train)


if __name__ == "__main__":
    sys.exit(main())

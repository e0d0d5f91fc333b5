"""Runs an incident again from the state before it, and asks of batch and state which one was guilty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from ignition.events import StepEvents
from ignition.incidents.rebuilding import rebuild
from ignition.incidents.replayed import Comparison, Replayed, Step
from ignition.incidents.trial import Trial, Trials
from ignition.incidents.verdict import Limits, Verdict, judge, limit_of
from ignition.rundir import Bundle, RunFolder, RunFolderError

OTHERS = 4  # batches of the same epoch that a batch is compared with
WINDOW = 64  # iterations before a state, of which the log says what is usual
ONE_BY_ONE = 64  # samples that are left out one after the other, where none can be run alone

Row = Mapping[str, Any]


class Replay:
    """One incident of a run, built anew in a folder of its own; nothing is written into the run.

    No doctor looks, and nothing is evaluated or saved. What was done about incidents on the way is done again, and the
    learning rates are those of the log. A recipe's own handlers are attached as they were.

    Args:
        run: the run.
        bundle: the incident's.
        scratch: an empty folder, for what a training has to write.
        overrides: ``key=value`` settings, such as another place of the data.

    Raises:
        RunFolderError: the bundle has no state that leads to the incident, or cannot be read.
        RecipeError, ConfigError, AssemblyError, BadCheckpoint: it cannot be built; says why.
    """

    def __init__(self, run: RunFolder, bundle: Bundle, scratch: Path, overrides: Sequence[str] = ()):
        incident = self.incident = bundle.read_incident()
        if not {"first", "last", "before", "sampler", "made_on"} <= incident.keys():
            raise RunFolderError(f"{bundle.path}: its incident.json cannot be read, or is none")
        if incident["before"] is None:
            raise RunFolderError(f"{bundle.path}: no state was at hand that leads to the incident, so it cannot be run")
        self.notes: list[str] = []
        self.training = rebuild(run, bundle, scratch, overrides, self.notes)
        self.training.log.writers[:] = [self._note_row]
        self.training.log.every = 1
        self.acted = [row for row in run.incidents.read() if row.get("done")]
        self.logged = _rows_of_steps([*run.read_metrics(), *bundle.read_rows()])
        self.trials = Trials(self.training, self._set_rates)
        self.length = len(self.training.data.loader)
        self.first, self.last = self._group(max(incident["first"], 1))[0], max(incident["first"], incident["last"], 1)
        self.before = int(incident["before"]["iteration"])
        self.result = Replayed(incident, self._batches(self.first), notes=self.notes)
        self._weights: dict[torch.nn.Parameter, torch.Tensor] = {}
        self._moved = 0.0

    # -------------------------------------------------------------------------------------------------- running

    def run(self) -> Replayed:
        """Do it.

        Raises:
            RunFolderError: a handler of the recipe's has ended it.
            KeyboardInterrupt: a signal has.
        """
        training, trainer = self.training, self.training.trainer
        trainer.add_event_handler(Events.GET_BATCH_STARTED, self._test_before)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._test_then)
        trainer.add_event_handler(StepEvents.GRADIENTS_READY, self._before_step)
        trainer.add_event_handler(StepEvents.STEP_COMPLETED, self._after_step)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._end)
        try:
            with training.signals:
                trainer.run(training.data.loader, max_epochs=training.config.trainer.epochs)
        finally:
            training.data.loader.close()
            training.reporting.close(failed=False)
        if training.signals.signal_number is not None:
            raise KeyboardInterrupt
        state: Any = trainer.state
        if len(self.result.tests) < 2 or state.iteration < self.last:
            why = getattr(getattr(state, "stop", None), "reason", "it has no further iterations")
            raise RunFolderError(f"the replay ended at iteration {state.iteration} of {self.last}: {why}")
        self._conclude()
        return self.result

    def _test_before(self, engine: Engine) -> None:
        """Before the first batch is fetched, the state is that of the bundle."""
        if engine.state.iteration == self.before and not self.result.tests:
            test = self._test(self.before)
            self.result.tests.append(test)
            if test.why_bad(test.guilty):
                self._try_samples(test)

    def _test_then(self, engine: Engine) -> None:
        """After all other handlers of that moment: what they have done to the weights is part of the state."""
        iteration = engine.state.iteration
        if iteration == self.first:
            test = self._test(self.first - 1)
            self.result.tests.append(test)
            if not self.result.samples:
                self._try_samples(test)
            if all(one.judged().spoilt for one in self.result.tests):
                self.result.of_the_moment = self._is_of_the_moment(test)
        elif iteration == self._group(self.last)[0]:
            self.result.tests.append(self._test(iteration - 1))

    def _before_step(self, engine: Engine) -> None:
        self._set_rates(engine.state.iteration)
        self._weights = {p: p.detach().clone() for p in self.training.model.parameters()}

    @torch.no_grad()
    def _after_step(self, engine: Engine) -> None:
        moved = sum(float((p - kept).float().norm()) ** 2 for p, kept in self._weights.items())
        norm = sum(float(kept.float().norm()) ** 2 for kept in self._weights.values())
        self._moved = math.sqrt(moved / norm) if norm else 0.0

    def _note_row(self, row: Row) -> None:
        if "train/batch_loss" not in row:
            return
        logged = self.logged.get(row["iteration"], {})
        self.result.steps.append(
            Step(
                row["iteration"],
                row["train/batch_loss"],
                logged.get("train/batch_loss"),
                row.get("train/gradient_norm"),
                logged.get("train/gradient_norm"),
                self._moved,
            )
        )
        self._moved = 0.0

    def _end(self, engine: Engine) -> None:
        for row in self.acted:
            if row["iteration"] == engine.state.iteration:
                self._act(row)
        if engine.state.iteration >= self._group(self.last)[-1]:
            self.training.log.flush()
            engine.terminate(skip_completed=True)

    def _act(self, row: Row) -> None:
        """Do what was done then and lasts. Rates are those of the log anyway, and no rollback lies in between."""
        if row["action"] == "leave_out":
            self.training.loss_weights.leave_out(row["subject"])
        if row["action"] == "tighten_clip":
            self.training.clipping.tighten(self.training.config.stability.cut)

    def _set_rates(self, iteration: int) -> None:
        """The rates that the log has of that step, whoever had changed them: a schedule, a plateau, an action."""
        row = self.logged.get(iteration, {})
        first = row.get("train/learning_rate")
        for number, group in enumerate(self.training.optimizer.param_groups):
            rate = row.get(f"train/learning_rate/{group.get('name', number)}", first) if number else first
            if rate is None:
                continue
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    # -------------------------------------------------------------------------------------------------- testing

    def _group(self, iteration: int) -> range:
        """The iterations of the group of accumulated batches that this one is of."""
        accumulate = self.training.config.trainer.accumulate
        epoch, place = divmod(iteration - 1, self.length)
        begin = place - place % accumulate
        end = min(begin + accumulate, self.length)
        return range(epoch * self.length + begin + 1, epoch * self.length + end + 1)

    def _batches(self, iteration: int) -> list[list[int]]:
        """The samples of the batches of its group."""
        sampler = self.training.data.sampler
        return [sampler.indices(*divmod(one - 1, self.length)) for one in self._group(iteration)]

    def _test(self, state: int) -> Comparison:
        """Its batches and others of the same epoch, in the state of now, which is that after iteration ``state``."""
        guilty = self._batches(self.first)
        epoch = (self.first - 1) // self.length
        others = {}
        for begin in self._other_groups(len(guilty)):
            places = range(begin, begin + len(guilty))
            batches = [self.training.data.sampler.indices(epoch, place) for place in places]
            others[tuple(places)] = self.trials.group(batches, self.first)
        known = list((self.result.tests[0].others if self.result.tests else others).values())
        return Comparison(state, self.trials.group(guilty, self.first), others, self._limits(state, known))

    def _other_groups(self, size: int) -> list[int]:
        """Where in the epoch other groups of that size begin, evenly spread."""
        epoch = (self.first - 1) // self.length
        accused = {
            (one - 1) % self.length for one in range(self.first, self.last + 1) if (one - 1) // self.length == epoch
        }
        accused |= {(one - 1) % self.length for one in self._group(self.first)}
        whole = range(0, self.length - size + 1, max(self.training.config.trainer.accumulate, 1))
        free = [begin for begin in whole if accused.isdisjoint(range(begin, begin + size))]
        count = min(OTHERS, len(free))
        return [free[(2 * number + 1) * len(free) // (2 * count)] for number in range(count)]

    def _try_samples(self, test: Comparison) -> None:
        """Each sample of the guilty batches alone, and the batches without the worst, the two worst, and so on."""
        result = self.result
        result.samples_in = test.iteration
        for sample in dict.fromkeys(sample for batch in result.batches for sample in batch):
            result.samples[sample] = self._alone([sample])
        suspects = _outliers({sample: one for sample, one in result.samples.items() if one is not None})
        if None not in result.samples.values():
            for count in range(1, len(suspects) + 1):
                if self._fine_without(suspects[:count], test):
                    return
        elif len(result.samples) <= ONE_BY_ONE:  # none can be run alone; to leave each one out tells as much
            any(self._fine_without([sample], test) for sample in result.samples)

    def _fine_without(self, samples: list[int], test: Comparison) -> bool:
        """Whether the batches are fine without these, which are guilty then."""
        result = self.result
        rest = [[one for one in batch if one not in samples] for batch in result.batches]
        if not all(rest):
            return False
        trial = self._alone(rest[0]) if len(rest) == 1 else self.trials.group(rest, self.first)
        if trial is None or test.why_bad(trial):
            return False
        result.bad_samples, result.without = samples, trial
        return True

    def _alone(self, samples: list[int]) -> Trial | None:
        """A step on these; None where they are too few for it, as one is for a batch norm."""
        try:
            return self.trials.alone(samples, self.first)
        except (ValueError, RuntimeError):
            return None

    def _is_of_the_moment(self, test: Comparison) -> bool:
        """Whether what is bad in ``test`` is fine with the loss weights and random numbers of the iterations before."""
        places, earlier = next(iter(test.others)), self._group(self.first)[0] - len(self._group(self.first))
        if earlier < 1:
            return False
        batches = [self.training.data.sampler.indices((self.first - 1) // self.length, place) for place in places]
        return not test.why_bad(self.trials.group(batches, earlier))

    def _conclude(self) -> None:
        result = self.result
        before, then = result.tests[:2]
        verdict = judge(before.judged(), then.judged(), samples=result.bad_samples)
        if verdict.guilty == "neither" and len(result.tests) > 2:
            verdict = judge(before.judged(), result.tests[2].judged())
        if result.of_the_moment and verdict.guilty == "state":
            where = f"{before.judged().told} in the state of iteration {before.iteration} too"
            but = "fine with the loss weights and random numbers of the iteration before"
            verdict = Verdict("state", f"{where}, but {but}: look at what the loss does from iteration {self.first} on")
        if verdict.guilty == "neither":
            verdict = Verdict("neither", self._why_not())
        elif verdict.guilty == "state":
            verdict = Verdict("state", verdict.reason + self._leap())
        result.verdict = verdict

    def _limits(self, state: int, others: Sequence[Trial]) -> Limits:
        """What is usual up to a state, by the log; where it has little, by other batches in the state before too."""
        end = min(state, self.first - 1)  # what comes later is what is judged
        rows = [self.logged[i] for i in range(end - WINDOW + 1, end + 1) if i in self.logged]
        losses = [row["train/batch_loss"] for row in rows]
        norms = [row["train/gradient_norm"] for row in rows if "train/gradient_norm" in row]
        if len(losses) < 2 * OTHERS:
            losses += [one.loss for one in others]
        if len(norms) < 2 * OTHERS:
            norms += [one.gradient_norm for one in others]
        return Limits(limit_of(losses), limit_of(norms))

    def _leap(self) -> str:
        """The step that changed the weights most, if it stands out."""
        taken = [step for step in self.result.steps if step.moved and step.iteration < self.first]
        if len(taken) < 3:
            return ""
        largest = max(taken, key=lambda step: step.moved)
        usual = sorted(step.moved for step in taken)[(len(taken) - 1) // 2]
        if largest.moved < 5 * usual:
            return ""
        return (
            f"; the step of iteration {largest.iteration} changed them by {_percent(largest.moved)} of their norm "
            f"(usual here: {_percent(usual)}){self._rate_of(largest.iteration)}"
        )

    def _rate_of(self, iteration: int) -> str:
        """In words, if the learning rate of that step was another than that of the one before."""
        name = "train/learning_rate"
        rate, earlier = (self.logged.get(one, {}).get(name) for one in (iteration, iteration - 1))
        if not rate or not earlier or 0.5 < rate / earlier < 2:
            return ""
        return f", with {rate / earlier:.3g} times the learning rate of the step before"

    def _why_not(self) -> str:
        """Why nothing is bad this time."""
        shown = next((step for step in self.result.steps if step.iteration == self.incident["first"]), None)
        if shown is not None and shown.identical:
            return (
                "it came again just so, and neither its batch nor the others are beyond the limits: what was found is "
                "no more than usual here, or needs many steps to show"
            )
        if self.result.identical:
            return (
                "it does not show again, though all that the log has came out the same: the log lacks the iteration "
                "in which it began, or it came from outside"
            )
        return (
            "it does not show again: a fault from outside (memory, a device, a file that has been changed since), what "
            "another machine computes otherwise, or something that no seed decides"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _rows_of_steps(rows: Sequence[Row]) -> dict[int, Row]:
    """The rows of iterations, by iteration; a later one counts."""
    return {int(row["iteration"]): row for row in rows if "train/batch_loss" in row and "iteration" in row}


def _outliers(trials: Mapping[int, Trial]) -> list[int]:
    """Samples that are not finite, or far above the others of the batch in loss or gradient norm; the worst first."""
    finite = [one for one in trials.values() if one.finite]
    limits = Limits(limit_of(one.loss for one in finite), limit_of(one.gradient_norm for one in finite))

    def excess(trial: Trial) -> float:
        return max(trial.loss / limits.loss, trial.gradient_norm / limits.gradient_norm) if trial.finite else math.inf

    found = [sample for sample, one in trials.items() if limits.why_bad(one.loss, one.gradient_norm)]
    return sorted(found, key=lambda sample: excess(trials[sample]), reverse=True)

"""Hands the rows of epochs and evaluations to the detectors that look at them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ignition.stability.absolute import PRESET, AbsoluteLimits
from ignition.stability.advice import RunSettings
from ignition.stability.collapse import Collapse
from ignition.stability.dead_term import DeadTerm
from ignition.stability.finding import Finding
from ignition.stability.known_changes import KnownChanges
from ignition.stability.non_finite_evaluation import NonFiniteEvaluation
from ignition.stability.overfitting import Overfitting
from ignition.stability.plateau import Plateau
from ignition.stability.slow_convergence import SlowConvergence
from ignition.stability.unstable_validation import UnstableValidation

LOSS, TERM, SIGNAL, BASELINE = "val/loss", "val/loss/", "val/signal/", "baseline/"
# Detectors that compare losses: they begin anew where the loss is another sum of its terms, on purpose.
OF_WEIGHTS = ("overfitting", "unstable_validation", "slow_convergence", "plateau", "absolute")

Weights = Callable[[int], Mapping[str, float]]


class EvaluationRows:
    """Reads ``train/epoch_avg_loss``, ``val/...``, and ``baseline/...`` of the run's start.

    Args:
        settings: those of the run, for the advice.
        changes: what is changed on purpose.
        metric: the one that matters most.
        mode: of ``metric``: ``min`` where lower is better, ``max`` where higher is.
        rules: ``relative``, or ``absolute`` for `AbsoluteLimits` in place of three detectors.
        weights: gives the weights of the loss terms at an iteration, empty where each counts 1; None: not known.
    """

    def __init__(
        self,
        settings: RunSettings,
        changes: KnownChanges,
        *,
        metric: str,
        mode: Literal["min", "max"],
        rules: Literal["relative", "absolute"],
        weights: Weights | None = None,
    ):
        if rules not in ("relative", PRESET):
            raise ValueError(f"rules is {rules!r}; it can be 'relative' or '{PRESET}'")
        self.changes, self.metric, self.mode, self.weights = changes, metric, mode, weights
        target_mode, decay = (mode if metric != LOSS else None), settings.weight_decay
        self.detectors: dict[str, Any] = {
            "non_finite_evaluation": NonFiniteEvaluation(),
            "plateau": Plateau(mode=mode, metric=metric, settings=settings),
            "dead_term": DeadTerm(settings=settings),
            "collapse": Collapse(settings=settings),
        }
        if rules == PRESET:
            self.detectors["absolute"] = AbsoluteLimits()
        else:
            self.detectors |= {
                "overfitting": Overfitting(target_mode=target_mode, settings=settings, weight_decay=decay),
                "unstable_validation": UnstableValidation(settings=settings),
                "slow_convergence": SlowConvergence(settings=settings, weight_decay=decay),
            }
        self._last = -1
        self._began = False
        self._training: float | None = None  # loss of the last epoch
        self._trivial: dict[str, float] = {}  # scores of the trivial predictor

    def begin(self, iteration: int, loss: float) -> None:
        """The loss of a batch; the first one is about what the untrained network has."""
        if self._began or not math.isfinite(loss):
            return
        self._began = True
        if "slow_convergence" in self.detectors:
            self.detectors["slow_convergence"].update(iteration, loss)

    def read_baseline(self, numbers: Mapping[str, float]) -> None:
        """Remember what the trivial predictor scores; what is not finite is none."""
        self._trivial |= {
            name.removeprefix(BASELINE): value
            for name, value in numbers.items()
            if name.startswith(BASELINE) and math.isfinite(value)
        }

    def read_epoch(self, iteration: int, numbers: Mapping[str, float], rate_share: float) -> Finding | None:
        """Look at the training loss of an epoch."""
        if not self._is_new(iteration):
            return None
        training = numbers["train/epoch_avg_loss"]
        self._training = training if math.isfinite(training) else None
        if "slow_convergence" not in self.detectors or not self.changes.same_sum(iteration):
            return None  # what the loss was at first says nothing any more
        found: Finding | None = self.detectors["slow_convergence"].update(iteration, training, rate_share=rate_share)
        return found

    def read(self, iteration: int, numbers: Mapping[str, float], rate_share: float) -> list[Finding | None]:
        """Look at an evaluation; one that is older than the last is passed over."""
        if not self._is_new(iteration):
            return []
        ramping, score = self.changes.ramping(iteration), numbers.get(self.metric)
        watched = {name: numbers[name] for name in dict.fromkeys((LOSS, self.metric)) if name in numbers}
        found: list[Finding | None] = [self.detectors["non_finite_evaluation"].update(iteration, watched)]
        if LOSS in numbers and not ramping:
            found += self._loss(iteration, numbers[LOSS], score)
        if score is not None and not (ramping and self.metric == LOSS):
            plateau = self.detectors["plateau"]
            found.append(plateau.update(iteration, score, training=self._training, rate_share=rate_share))
        found += self._terms(iteration, numbers)
        signals = {name[len(SIGNAL) :]: value for name, value in numbers.items() if name.startswith(SIGNAL)}
        if signals:
            collapse = self.detectors["collapse"]
            found += collapse.update(iteration, signals, ramping=not self.changes.settled(iteration))
        return found

    def _loss(self, iteration: int, loss: float, score: float | None) -> list[Finding | None]:
        found: list[Finding | None] = []
        if "absolute" in self.detectors:
            known = self._training is not None
            return self.detectors["absolute"].update(iteration, self._training, loss) if known else found
        found.append(self.detectors["unstable_validation"].update(iteration, loss))
        if self._training is not None:
            target = score if self.metric != LOSS else None
            found.append(self.detectors["overfitting"].update(iteration, self._training, loss, target))
        return found

    def _terms(self, iteration: int, numbers: Mapping[str, float]) -> list[Finding]:
        """What the terms' errors say beside those of the trivial predictor, where it has some."""
        if not self._trivial:
            return []
        errors: dict[str, float] = {}
        trivial: dict[str, float] = {}
        terms = [name[len(TERM) :] for name in numbers if name.startswith(TERM)]
        for term in terms:
            # A metric of the term's name may be an error too, where the trivial predictor has no losses; or a score, of
            # which more is better, as a term 1 - SSIM and a metric SSIM are.
            score = self.metric == f"val/{term}" and self.mode == "max"
            for name in (f"loss/{term}",) if score else (f"loss/{term}", term):
                if f"val/{name}" in numbers and name in self._trivial:
                    errors[term], trivial[term] = numbers[f"val/{name}"], self._trivial[name]
                    break
        if not errors:
            return []
        weights = None if self.weights is None else self.weights(iteration) or dict.fromkeys(terms, 1.0)
        found: list[Finding] = self.detectors["dead_term"].update(iteration, errors, trivial, weights)
        return found

    def _is_new(self, iteration: int) -> bool:
        """Whether it is no older than the last; what a known change makes meaningless is forgotten."""
        if iteration < self._last:
            return False
        if self.changes.of_weights(self._last, iteration):
            for name in OF_WEIGHTS:
                if name in self.detectors and not (name == "plateau" and self.metric != LOSS):
                    self.detectors[name].reset()
        self._last = iteration
        return True

    def state_dict(self) -> dict[str, Any]:
        """The last epoch's loss, and the trivial predictor's scores; detectors have states of their own."""
        return {
            "last": self._last,
            "began": self._began,
            "training": self._training,
            "trivial": dict(self._trivial),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._last, self._began, self._training = state["last"], state["began"], state["training"]
        self._trivial = dict(state["trivial"])

"""Numbers that say how a run went, by name: any metric, at its end or its best, and figures of how steady it was."""

from __future__ import annotations

import difflib
import math
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from ignition.comparison.run_summary import Point, RunSummary
from ignition.stability.collapse import RULES
from ignition.stability.finding import NAMES
from ignition.stability.loss_spike import LossSpike

LAST = 5  # evaluations whose spread says how steady a run has become
BEFORE_JUMP = 32  # losses that a jump is measured from
# What the doctor can find, by name; a collapse by what has collapsed as well.
FINDINGS = [*NAMES, *dict.fromkeys(rule.name for rule in RULES)]


class UnknownFigure(ValueError):
    """No run has a number of that name; lists those that there are."""


@dataclass(frozen=True)
class Own:
    """A figure of a run as a whole.

    Attributes:
        what: in words.
        of: how it is got.
        better: ``low``, ``high``, or empty where neither is.
        of_loss: whether it is in units of the loss, so that it means nothing beside a run with another loss.
        ratio: whether it is a size whose own spread grows with it, so that it is compared by factors.
        tested: whether a difference is held against chance; what a config or a machine decides is not.
    """

    what: str
    of: Callable[[RunSummary], float]
    better: str = ""
    of_loss: bool = False
    ratio: bool = False
    tested: bool = True


def spread(values: list[float]) -> float:
    """Standard deviation of the last five values, of the population; NaN with fewer than two.

    >>> spread([9.0, 1.0, 2.0, 1.0, 2.0, 1.5])
    0.4472135954999579
    """
    last = values[-LAST:]
    return statistics.pstdev(last) if len(last) > 1 and all(map(math.isfinite, last)) else math.nan


def spikes(losses: list[float]) -> int:
    """How many of ``losses`` the doctor calls spikes.

    >>> spikes([2.0 + 0.1 * (i % 7) for i in range(64)] + [9.0])
    1
    """
    detector = LossSpike()
    finite = [loss for loss in losses if math.isfinite(loss)]
    return sum(detector.update(iteration, loss) is not None for iteration, loss in enumerate(finite))


def largest_jump(losses: list[float]) -> float:
    """The most that a loss is times the median of the 32 before it; NaN with fewer.

    >>> largest_jump([2.0] * 40 + [9.0])
    4.5
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    windows = (finite[end - BEFORE_JUMP : end + 1] for end in range(BEFORE_JUMP, len(finite)))
    return max((_ratio(window[-1], statistics.median(window[:-1])) for window in windows), default=math.nan)


def _ratio(value: float, median: float) -> float:
    return value / median if median > 0 else math.nan


def setbacks(values: list[float], mode: str) -> float:
    """Share of the values that are worse than the one before; NaN with fewer than two.

    >>> setbacks([5.0, 4.0, 4.5, 3.0, 2.0], "min")
    0.25
    """
    steps = list(pairwise(values))
    if not steps:
        return math.nan
    return sum(after > before if mode == "min" else after < before for before, after in steps) / len(steps)


def _losses(run: RunSummary, first_epoch: bool = False) -> list[float]:
    points = run.series.get("train/batch_loss", [])
    return [point.value for point in points if not first_epoch or point.epoch == 1]


def _gap(run: RunSummary) -> float:
    validation, training = run.values("val/loss"), run.values("train/epoch_avg_loss")
    return validation[-1] - training[-1] if validation and training else math.nan


def _improvement(run: RunSummary) -> float:
    training = run.values("train/epoch_avg_loss")
    return training[0] - training[-1] if training else math.nan


def _clip_rate(run: RunSummary) -> float:
    clipped = run.values("train/clipped")
    return statistics.fmean(clipped) if clipped else math.nan


OWN: dict[str, Own] = {
    "val_loss_std": Own("standard deviation of the last five validation losses",
                        lambda run: spread(run.values("val/loss")), "low", of_loss=True, ratio=True),
    "improvement": Own("training loss of the first epoch less that of the last", _improvement, "high", of_loss=True),
    "gap": Own("validation loss less training loss, last epoch", _gap, "low", of_loss=True),
    "spikes": Own("losses that the doctor calls spikes", lambda run: float(spikes(_losses(run))), "low"),
    "spikes_first_epoch": Own("the same in the first epoch", lambda run: float(spikes(_losses(run, True))), "low"),
    "largest_jump": Own("the most that a loss is times the median of the 32 before",
                        lambda run: largest_jump(_losses(run)), "low", ratio=True),
    "clip_rate": Own("share of steps that were clipped", _clip_rate, tested=False),
    "findings": Own("what the doctor found", lambda run: float(len(run.incidents)), "low"),
    "epochs": Own("epochs trained", lambda run: max((float(row.get("epoch", 0)) for row in run.rows), default=0.0),
                  tested=False),
    "seconds": Own("from the first row to the last", lambda run: run.seconds, tested=False),
}  # fmt: skip


def _at(points: list[Point], epoch: float) -> float:
    return next((point.value for point in points if point.epoch == epoch), math.nan)


Read = Callable[[RunSummary, list[Point]], float]


def _values(points: list[Point]) -> list[float]:
    return [point.value for point in points]


WORDS: dict[str, tuple[str, Read]] = {
    "final": ("the last value", lambda run, points: points[-1].value),
    "first": ("the first value", lambda run, points: points[0].value),
    "best": ("the value at the epoch that checkpoint.metric calls the best",
             lambda run, points: _at(points, run.best_epoch)),
    "lowest": ("the lowest value", lambda run, points: min(_values(points))),
    "highest": ("the highest value", lambda run, points: max(_values(points))),
    "change": ("the last value less the first", lambda run, points: points[-1].value - points[0].value),
    "spread": ("standard deviation of the last five values", lambda run, points: spread(_values(points))),
    "rises": ("share of values above the one before", lambda run, points: setbacks(_values(points), "min")),
    "falls": ("share of values below the one before", lambda run, points: setbacks(_values(points), "max")),
}  # fmt: skip
RATIOS = ("spread",)
PLUS = " + "
EPOCH = re.compile(r"epoch (\d+)")


def split(name: str) -> tuple[str, str]:
    """A figure's name as word and metric; one without a word is the last value.

    >>> split("best val/epe"), split("epoch 2 val/epe"), split("val/epe"), split("gap")
    (('best', 'val/epe'), ('epoch 2', 'val/epe'), ('final', 'val/epe'), ('', 'gap'))
    """
    name = " ".join(name.split())
    if name in OWN or name.startswith("findings/"):
        return "", name
    word, space, metric = name.rpartition(" ")
    return (word, metric) if space else ("final", name)


def full(name: str) -> str:
    """A figure's name in one form, so that equal ones are equal.

    >>> full("val/epe"), full("best  val/epe"), full("gap"), full("val/xy + val/scale")
    ('final val/epe', 'best val/epe', 'gap', 'final val/xy + final val/scale')
    """
    return PLUS.join(" ".join(filter(None, split(part))) for part in name.split(PLUS))


def figure(run: RunSummary, name: str) -> float:
    """The figure called ``name`` of a run; NaN where the run has it not.

    ``gap`` and the like, ``findings/<what>``, a metric (``val/epe``: its last value), a word and a metric
    (``best val/epe``, ``epoch 2 val/epe``, ``spread val/ap``), or a sum of such (``val/xy + val/scale``).
    """
    if PLUS in name:
        return sum(figure(run, part) for part in name.split(PLUS))
    word, metric = split(name)
    if not word:
        if metric in OWN:
            return OWN[metric].of(run)
        what = metric.removeprefix("findings/")
        return float(sum(what in (row.get("name"), row.get("subject")) for row in run.incidents))
    points = run.series.get(metric, [])
    if word not in ("first", "change"):
        points = [point for point in points if point.iteration > 0] or points
    if not points:
        return math.nan
    at = EPOCH.fullmatch(word)
    return _at(points, float(at[1])) if at else WORDS[word][1](run, points)


def of_loss(name: str) -> bool:
    """Whether a figure is in units of the whole loss: another loss has other units."""
    if PLUS in name:
        return any(map(of_loss, name.split(PLUS)))
    _, metric = split(name)
    return OWN[metric].of_loss if metric in OWN else metric in ("val/loss", "train/epoch_avg_loss", "train/batch_loss")


def is_ratio(name: str) -> bool:
    """Whether a figure is compared by factors and not by differences."""
    if PLUS in name:
        return False
    word, metric = split(name)
    return OWN[metric].ratio if metric in OWN else word in RATIOS


def known_figures(runs: list[RunSummary]) -> list[str]:
    """All metrics that any of the runs has."""
    return sorted({name for run in runs for name in run.series if not name.startswith("train/loss/")})


def check_figure(name: str, metrics: list[str] | None = None) -> None:
    """Look whether ``name`` can be a figure, and with ``metrics`` whether there is such a metric.

    Raises:
        UnknownFigure: it cannot; lists what can.
    """
    if PLUS in name:
        for part in name.split(PLUS):
            check_figure(part, metrics)
        return
    word, metric = split(name)
    if not word:
        what = metric.removeprefix("findings/")
        if metric not in OWN and what not in FINDINGS:
            raise UnknownFigure(f"the doctor finds no '{what}'. Known: {', '.join(FINDINGS)}")
        return
    if word not in WORDS and not EPOCH.fullmatch(word):
        raise UnknownFigure(f"'{word}' is not said of a metric. Known: {', '.join(WORDS)}, epoch <number>")
    if "/" not in metric:
        raise UnknownFigure(_unknown(metric, [*OWN, *(metrics or [])]))
    if metrics is not None and metric not in metrics:
        raise UnknownFigure(_unknown(metric, [*OWN, *metrics]))


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    meant = f" Did you mean '{near[0]}'?" if near else ""
    listed = ", ".join(metric for metric in known if not metric.startswith("baseline/"))
    return f"no metric '{name}'.{meant} Known: {listed}; before a metric may stand {', '.join(WORDS)}, epoch N"

"""The one meaning of better, and how a score is read: every handler that compares scores uses these."""

from __future__ import annotations

import math
from typing import Any, Literal

from ignite.engine import Engine

from ignition import distributed

Mode = Literal["min", "max"]


def better(new: float, best: float | None, mode: Mode, threshold: float = 0.0, relative: bool = False) -> bool:
    """Whether ``new`` improves on ``best`` by more than ``threshold``.

    What is not finite is never better. The first finite score (``best`` is None) always is.

    Args:
        mode: ``min`` where lower scores are better, ``max`` where higher ones are.
        threshold: how much better it must be, at least 0.
        relative: ``threshold`` is a share of ``|best|``, so that it means the same for scores of either sign.

    >>> better(0.8, 0.9, "min"), better(float("nan"), 0.9, "min"), better(-1.5, -1.0, "max", 0.1, relative=True)
    (True, False, False)
    """
    check_mode(mode)
    if not math.isfinite(new):
        return False
    if best is None:
        return True
    margin = threshold * abs(best) if relative else threshold
    return new > best + margin if mode == "max" else new < best - margin


def check_mode(mode: str) -> Mode:
    """``mode`` itself, or a ValueError that says what it can be."""
    if mode == "min" or mode == "max":
        return mode  # type: ignore[return-value]
    raise ValueError(f"mode is {mode!r}; it can be 'min' (lower is better) or 'max' (higher is better)")


def read_score(engine: Engine, metric: str) -> float:
    """The metric of that name on ``engine``, as process 0 has it, so that all processes decide alike.

    ``val/loss`` finds the metric ``loss`` where no metric has the full name: a tag in front is for people to read.

    Raises:
        KeyError: the engine has no such metric; names those that it has.
        TypeError: the metric is not a single number.
    """
    metrics = engine.state.metrics
    name = metric if metric in metrics else metric.partition("/")[2]
    if name not in metrics:
        known = ", ".join(sorted(map(str, metrics))) or "none"
        raise MissingMetric(
            f"no metric '{metric}' on this engine (known: {known}). Attach the metric before the handler that reads it."
        )
    value: Any = metrics[name]
    try:
        own = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"the metric '{metric}' is no single number but {type(value).__name__}: {value!r}") from error
    return float(distributed.from_first(own))


class MissingMetric(KeyError):
    """A handler was told to read a metric that the engine does not have."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would show the sentence in quotes


def check_same(saved: dict[str, Any], **settings: str) -> None:
    """Raise a ValueError where a saved state was made under other settings than these: its numbers would mean nothing.

    >>> check_same({"metric": "loss", "mode": "min"}, metric="loss", mode="max")
    Traceback (most recent call last):
        ...
    ValueError: the saved state is of mode 'min', this one is of mode 'max'. Resume with what it was saved with.
    """
    for name, value in settings.items():
        if saved[name] != value:
            raise ValueError(
                f"the saved state is of {name} {saved[name]!r}, this one is of {name} {value!r}. "
                "Resume with what it was saved with."
            )

"""Losses over rising learning rates: what they suggest, and their picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FEWEST = 6  # finite losses below which a curve says nothing
FLAT = 0.1  # a valley begins where this share of its fall is done; before that the curve counts as flat
CHANCE = 3.0  # errors of a fall up to which it is taken for chance


@dataclass(frozen=True)
class LearningRateCurve:
    """What a search has measured, and what follows from it.

    Of several parameter groups, rates are those of the group with the highest one.

    Attributes:
        rates, losses: each rate that was tried, rising, and the loss that the steps before it led to; over many
            processes their mean. Losses may be infinite or NaN.
        smoothed: losses averaged over neighbours on both sides, so that nothing lags; NaN where they are not finite.
        ended: why the search ended, in words.
        lowest: the rate at which the smoothed loss is lowest.
        diverged: the rate at which the loss had left for good; None if it never did.
        steepest: the rate at which the smoothed loss falls fastest over the logarithm of the rate (Smith, 2017).
        valley: the rate two thirds down the valley: from where the loss begins to fall to where it is lowest, over
            the logarithm of the rate. As a rule the better first guess, since it does not hang on one point.
        reason: why nothing is suggested, in words; empty where something is.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    ended: str
    lowest: float | None = None
    diverged: float | None = None
    steepest: float | None = None
    valley: float | None = None
    reason: str = ""

    @classmethod
    def of(
        cls, rates: list[float], losses: list[float], *, width: float, ended: str, diverged: float | None = None
    ) -> LearningRateCurve:
        """Smooth ``losses`` over ``width`` steps to each side, and see what they suggest.

        >>> losses = [1.0, 1.0, 1.0, 1.0, 0.8, 0.5, 0.2, 0.2, 0.6, 3.0]
        >>> curve = LearningRateCurve.of([10.0**step for step in range(-7, 3)], losses, width=0, ended="")
        >>> curve.steepest, curve.valley, curve.lowest
        (0.01, 0.01, 0.1)
        """
        smoothed = _smooth(np.array(losses), width)
        known = np.flatnonzero(np.isfinite(smoothed))
        if len(known) < FEWEST:
            reason = f"only {len(known)} of {len(losses)} losses were finite"
            return cls(rates, losses, smoothed.tolist(), ended, None, diverged, reason=reason)
        curve, raw, kept = smoothed[known], np.array(losses)[known], [rates[place] for place in known]
        lowest = int(curve.argmin())
        down = curve[: lowest + 1]
        fall = float(down.max() - curve[lowest])
        begin = int(np.flatnonzero(down >= down.max() - FLAT * fall)[-1])
        reason = _doubt(raw, curve, begin, lowest, width)
        if reason:
            return cls(rates, losses, smoothed.tolist(), ended, kept[lowest], diverged, reason=reason)
        steepest = int(np.gradient(curve, np.log10(kept))[: lowest + 1].argmin())
        valley = begin + 2 * (lowest - begin) // 3
        return cls(rates, losses, smoothed.tolist(), ended, kept[lowest], diverged, kept[steepest], kept[valley])

    def loss_at(self, rate: float) -> float:
        """The smoothed loss at ``rate``, between those that were tried; NaN outside."""
        known = np.isfinite(self.smoothed)
        if not known.any():
            return math.nan
        places, values = np.log(np.array(self.rates)[known]), np.array(self.smoothed)[known]
        return float(np.interp(math.log(rate), places, values, left=math.nan, right=math.nan))

    def draw(self, path: str | Path, *, title: str = "Learning rate search", present: float | None = None) -> None:
        """Write a picture to ``path``; its suffix says which kind (.png, .svg, .pdf).

        Args:
            present: a rate to mark beside the suggestions, such as the one in use.
        """
        figure = Figure(figsize=(9, 5.5), dpi=110, layout="constrained")  # pyplot's figures are the user's
        axes = figure.add_subplot()
        axes.set(xscale="log", xlabel="learning rate (log scale)", ylabel="training loss", title=title)
        low, high = _range(np.array(self.losses), np.array(self.smoothed))
        self._draw_losses(axes, high)
        for rate, name, color, marker in (
            (self.steepest, "steepest", "tab:orange", "o"),
            (self.valley, "valley", "tab:green", "D"),
            (present, "in use", "tab:purple", "s"),
        ):
            if rate is not None:
                axes.axvline(rate, color=color, linewidth=1, linestyle="--", zorder=1)
                axes.plot(rate, min(self.loss_at(rate), high), marker, color=color, markersize=10,
                          markeredgecolor="white", label=f"{name}: {written(rate)}", zorder=5)  # fmt: skip
        if self.diverged is not None:
            axes.axvline(self.diverged, color="tab:red", linestyle=":", label=f"diverged: {written(self.diverged)}")
        axes.set_ylim(low, high)
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.legend(loc="best", framealpha=0.9)
        if self.reason:
            paper = {"facecolor": "white", "alpha": 0.9, "edgecolor": "none"}
            words = f"no suggestion: {self.reason}"
            axes.text(0.5, 0.02, words, transform=axes.transAxes, ha="center", wrap=True, bbox=paper)
        figure.savefig(path)

    def _draw_losses(self, axes: Axes, high: float) -> None:
        rates, losses, smoothed = np.array(self.rates), np.array(self.losses), np.array(self.smoothed)
        inside = losses <= high  # no NaN, no infinity
        axes.plot(rates, smoothed, color="tab:blue", linewidth=2.5, label="smoothed", zorder=3)
        axes.plot(rates[inside], losses[inside], ".", color="0.55", markersize=5, label="each step", zorder=2)
        if not inside.all():
            axes.plot(rates[~inside], np.full_like(rates[~inside], high), "^", color="tab:red", clip_on=False,
                      label="each step, higher or not finite", zorder=4)  # fmt: skip


def written(rate: float) -> str:
    """A rate with two digits, as people write it.

    >>> written(0.000123), written(0.05), written(3.04)
    ('1.2e-4', '0.05', '3')
    """
    return f"{rate:.2g}" if rate >= 0.01 else f"{rate:.1e}".replace("e-0", "e-")


def _smooth(losses: np.ndarray, width: float) -> np.ndarray:
    """Gaussian means over ``width`` steps to each side; NaN where a loss is not finite, which has no part in others.

    An explosion at the end would hide the valley before it, so no loss counts as more than the highest up to the
    lowest, and as much again. The first steps have neighbours on one side only and would wander: they share a mean.
    """
    known = np.isfinite(losses)
    if not known.any() or width < 0.1:
        return np.where(known, losses, math.nan)
    lowest = int(np.where(known, losses, math.inf).argmin())
    high = losses[: lowest + 1][known[: lowest + 1]].max()
    tame = np.minimum(np.where(known, losses, 0.0), high + (high - losses[lowest]))
    steps = np.arange(len(losses))
    centres = np.maximum(steps, min(1.5 * width, len(losses) / 2))
    weights = np.exp(-0.5 * ((centres[:, None] - steps) / width) ** 2) * known
    return np.where(known, weights @ tame / np.maximum(weights.sum(axis=1), 1e-300), math.nan)


def _doubt(losses: np.ndarray, smoothed: np.ndarray, begin: int, lowest: int, width: float) -> str:
    """Why the losses may not fall at all from those up to ``begin`` to the last ones down to ``lowest``, in words.

    Steps scatter, and of many places the lowest was looked for, so a difference of means has to be three times its
    error (Welch's). Batches that come round and round scatter among themselves though their mean stands still: so
    where the curve is flat for long, what it wanders there counts, twice over, if that is less.
    """
    before, near = losses[: begin + 1], losses[max(begin + 1, lowest - round(2 * width)) : lowest + 1]
    fall = before.mean() - near.mean() if len(near) else 0.0
    if fall <= 1e-6 * abs(before.mean()):
        return f"the loss never falls; it begins with {before.mean():.3g}"
    error = math.sqrt(before.var() / len(before) + near.var() / len(near))
    if len(before) > 8 * width > 0:
        error = min(error, 2 * float(smoothed[: begin + 1].std()))
    if fall <= CHANCE * error:
        return f"the loss falls by {fall:.2g} only, give or take {error:.2g}; larger batches would tell"
    return ""


def _range(losses: np.ndarray, smoothed: np.ndarray) -> tuple[float, float]:
    """What of the losses a picture shows: all up to the lowest point, and some room above."""
    if not np.isfinite(smoothed).any():
        return 0.0, 1.0
    lowest = int(np.nanargmin(smoothed))
    before = losses[: lowest + 1][np.isfinite(losses[: lowest + 1])]
    low, high = min(float(before.min()), float(np.nanmin(smoothed))), float(np.quantile(before, 0.98))
    room = (high - low) or abs(high) or 1.0
    return low - 0.08 * room, high + 0.3 * room

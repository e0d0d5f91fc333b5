"""Curves as an SVG picture, drawn without a library, so that the same numbers always give the same file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from html import escape

COLOURS = ("#4d4d4d", "#d1495b", "#00798c", "#edae49", "#66a182", "#8d5b9b", "#2e4057", "#c57b57", "#5c80bc", "#9a8c98")
WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 28, 40
ROW = 18  # of the legend, px


@dataclass(frozen=True)
class Line:
    """A curve: what it is called, its points, and the number of its colour; a thin one is one of several seeds."""

    name: str
    points: list[tuple[float, float]]
    colour: int
    thin: bool = False


def chart(title: str, lines: list[Line], *, below: str = "epoch", log: bool = False) -> str:
    """``lines`` over each other, as an SVG element; a name of several lines stands in the legend once.

    What is not finite is a gap. With ``log``, values above nought on a logarithmic scale.

    >>> text = chart("val/epe", [Line("a", [(1, 2.0), (2, 1.0)], 0)])
    >>> text.startswith("<svg"), "polyline" in text, ">a</text>" in text
    (True, True, True)
    """
    shown = [replace(line, points=[(x, y) for x, y in line.points if _fits(y, log)]) for line in lines]
    xs = [x for line in shown for x, _ in line.points] or [0.0, 1.0]
    ys = [_scaled(y, log) for line in shown for _, y in line.points] or [0.0, 1.0]
    left, right = _span(xs)
    low, high = _span(ys)
    names = list(dict.fromkeys(line.name for line in shown))
    height = HEIGHT + ROW * len(names)

    def place(x: float, y: float) -> str:
        from_left, up = (x - left) / (right - left), (_scaled(y, log) - low) / (high - low)
        across, down = LEFT + from_left * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f},{down:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-weight="bold">{escape(title)}</text>',
        *_axes(left, right, low, high, below, log),
    ]
    for line in shown:
        points = " ".join(place(x, y) for x, y in line.points)
        stroke = f'stroke="{COLOURS[line.colour % len(COLOURS)]}" stroke-width="{1 if line.thin else 2}"'
        parts.append(f'<polyline fill="none" {stroke} opacity="{0.55 if line.thin else 1}" points="{points}"/>')
    colours = {line.name: COLOURS[line.colour % len(COLOURS)] for line in shown}
    for row, name in enumerate(names):
        y = HEIGHT + ROW * row + 8
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + 24}" y1="{y - 4}" y2="{y - 4}" stroke="{colours[name]}" '
                     f'stroke-width="3"/><text x="{LEFT + 32}" y="{y}">{escape(name)}</text>')  # fmt: skip
    return "\n".join([*parts, "</svg>"])


def _axes(left: float, right: float, low: float, high: float, below: str, log: bool) -> Iterable[str]:
    floor, ceiling, end = HEIGHT - BOTTOM, TOP, WIDTH - RIGHT
    yield f'<path d="M{LEFT},{ceiling} V{floor} H{end}" fill="none" stroke="#999"/>'
    for share in (0.0, 0.5, 1.0):
        y, value = floor - share * (floor - ceiling), low + share * (high - low)
        shown = 10**value if log else value
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{shown:.3g}</text>'
        if share:
            yield f'<path d="M{LEFT},{y:.1f} H{end}" stroke="#e5e5e5"/>'
        x = LEFT + share * (end - LEFT)
        yield f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{left + share * (right - left):.3g}</text>'
    yield f'<text x="{(LEFT + end) / 2:.1f}" y="{floor + 30}" text-anchor="middle" fill="#666">{escape(below)}</text>'


def _fits(y: float, log: bool) -> bool:
    return math.isfinite(y) and (y > 0 or not log)


def _scaled(y: float, log: bool) -> float:
    return math.log10(y) if log else y


def _span(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2)

"""Settings from the command line: ``optimizer.lr=5e-5``."""

from __future__ import annotations

from collections.abc import Iterable

from ignition.config.inheritance import join
from ignition.config.node import Node
from ignition.config.problems import Place, Problem
from ignition.config.reading import Document, read_value


def read_overrides(overrides: Iterable[str]) -> Document:
    """Overrides as one mapping; of two for the same key the later one counts.

    >>> read_overrides(["optimizer.lr=5e-5", "loss.smooth={from: 0, to: 0.1, epochs: 5}"]).root.plain()
    {'optimizer': {'lr': 5e-05}, 'loss': {'smooth': {'from': 0, 'to': 0.1, 'epochs': 5}}}
    """
    parts: list[Node] = []
    problems: list[Problem] = []
    for override in overrides:
        place = Place.on_command_line(override)
        key, equals, text = (part.strip() for part in override.partition("="))
        path = [step.strip() for step in key.split(".")]
        if not equals:
            problems.append(Problem.at(place, "expected key=value, for instance optimizer.lr=5e-5"))
        elif not all(path):
            problems.append(Problem.at(place, f"'{key}' is not a key; keys are written like optimizer.lr"))
        elif path == ["base"]:
            problems.append(Problem.at(place, "base can be set in a file only"))
        else:
            value = read_value(text, place)
            problems += value.problems
            if value.whole:
                node = value.root
                for step in reversed(path):
                    node = Node({step: node}, place)
                parts.append(node)
    return Document(join(parts), problems)

"""In which settings configs differ, and in how many things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Path = tuple[str, ...]

ABSENT = "(not there)"
# What makes no other experiment of a run: its seed, and how it is shown, loaded and cut into jobs.
APART = {
    ("trainer", "seed"), ("trainer", "threads"), ("trainer", "job_hours"), ("trainer", "wait_minutes"),
    ("data", "workers"), ("hypothesis",), ("logging",),
}  # fmt: skip
BY_KEY = ("recipe", "loss", "data", "trainer", "optimizer")  # of these each key is a thing, of the others the section


@dataclass(frozen=True)
class Difference:
    """A setting that is not the same in all configs: its dotted key, and its value in each of them."""

    key: str
    values: tuple[Any, ...]


def experiment(config: Mapping[str, Any]) -> dict[Path, Any]:
    """The settings by key that make an experiment: two runs that share them differ by seed alone.

    >>> experiment({"trainer": {"seed": 3, "epochs": 2}, "logging": {"every": 5}})
    {('trainer', 'epochs'): 2}
    """
    return {
        key: value
        for key, value in _flat(config)
        if not any(key[: len(apart)] == apart for apart in APART)
    }  # fmt: skip


def differences(configs: list[Mapping[str, Any]]) -> list[Difference]:
    """Every setting in which the configs of some experiments differ, in the order in which configs name them.

    A section that one of them does not have is one difference, and its value all that it has in the others.

    >>> differences([{"optimizer": {"lr": 0.1}, "ema": None}, {"optimizer": {"lr": 0.2}, "ema": {"decay": 0.9}}])
    [Difference(key='optimizer.lr', values=(0.1, 0.2)), Difference(key='ema', values=(None, {'decay': 0.9}))]
    """
    return list(_walk(list(configs), ()))


def things(found: list[Difference]) -> list[str]:
    """What was changed, by section; in sections of independent settings each of them is one.

    >>> things([Difference("schedule.name", ("a", "b")), Difference("schedule.patience", (1, 2)),
    ...         Difference("loss.kl.to", (1.0, 0.5))])
    ['schedule', 'loss.kl']
    """
    names = []
    for difference in found:
        parts = difference.key.split(".")
        names.append(".".join(parts[:2]) if parts[0] in BY_KEY else parts[0])
    return list(dict.fromkeys(names))


def word(found: list[Difference]) -> str:
    """What can be said from configs that differ so: one thing, or several at once.

    >>> word([Difference("optimizer.lr", (0.1, 0.2))])
    'one thing changed: optimizer.lr'
    """
    changed = things(found)
    if not changed:
        return "the configs are the same but for the seed"
    if len(changed) == 1:
        return f"one thing changed: {changed[0]}"
    return (
        f"{len(changed)} things changed at once ({', '.join(changed)}): which of them did it cannot be told from these "
        "runs"
    )


def _walk(values: list[Any], path: Path) -> Iterator[Difference]:
    if path in APART:
        return
    if len(path) == 1 and path[0] in BY_KEY:
        values = [value if isinstance(value, Mapping) else {} for value in values]
    else:
        values = [ABSENT if value == {} else value for value in values]  # an empty section sets nothing
    if all(isinstance(value, Mapping) for value in values):
        for key in dict.fromkeys(key for value in values for key in value):
            yield from _walk([value.get(key, ABSENT) for value in values], (*path, str(key)))
    elif any(value != values[0] for value in values):
        yield Difference(".".join(path), tuple(values))


def _flat(value: Mapping[str, Any], path: Path = ()) -> list[tuple[Path, Any]]:
    found: list[tuple[Path, Any]] = []
    for key, item in value.items():
        here = (*path, str(key))
        if isinstance(item, Mapping):
            found += _flat(item, here)
        else:
            found.append((here, item))
    return found

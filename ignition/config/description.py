"""The reference page of all settings, written from their types: ``python -m ignition.config.description``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from ignition.config.layout import ANY, Layout, Slot, fields_by_key
from ignition.config.node import dotted
from ignition.config.section import Section
from ignition.config.sections import Config
from ignition.config.value_schedule import Fixed
from ignition.config.writing import to_yaml

END = "...\n"  # what YAML writes after a lone scalar
PREFACE = """\
# Settings

A config is a YAML file; what it does not say has a default. `key=value` on the command line overrides it
(`optimizer.lr=5e-5 early_stop=null 'loss.smooth={from: 0, to: 0.1, epochs: 5}'`), and of two overrides of one key the
later counts. Everything is checked before anything runs, and everything that is wrong is reported at once, with file,
line and column:

    configs/depth.yaml:5:3: unknown key 'trainer.epocs'. Did you mean 'epochs'?
    configs/depth.yaml:9:1: unknown key 'lr'. It belongs under 'optimizer'.
    command line: optimizer.weight_decay=abc: expected a number, found text 'abc'

A run's `config.yaml` holds every setting, defaults included, and can be used as a config itself.

## Inheritance

`base: other.yaml` (relative to the file it stands in) takes all settings of another config, which may have a base of
its own. What the file says is laid over that, and the command line over both:

- A mapping goes into a mapping, key by key. Anything else, a list too, replaces what was there.
- `null` takes a section back to its defaults: `early_stop: null` switches it off, as `clip: null` does.
- Another kind inherits nothing of its section: after `schedule.name: plateau` over a `cosine`, the keys of the cosine
  are gone. The same holds for `clip.kind`, and for a weight that is a ramp in one file and a switch in the other.
- Another name drops what belongs to the old one: a changed `optimizer.name` drops the inherited `optimizer.options`, a
  changed `data.val.name` the inherited `data.val.root`. The other keys stay.

## Numbers that change over the run

A weight in `loss` is a number, a ramp, one ramp after another, or a switch, by epochs done (with a fraction, so a ramp
moves with every batch):

    loss:
      reconstruction: 1.0
      kl: {from: 0.0, to: 1.0, epochs: 50}                    # a straight line over the first 50 epochs, then 1
      smooth: {from: 1.0, to: 0.1, epochs: 5, start: 10, shape: cosine}
      cyclic: {from: 0.0, to: 1.0, cycles: 4, epochs: 10, rise: 0.5}  # four times: 5 epochs up, 5 at 1; then 1
      warmup_only: {at: {0: 1.0, 50: 0.0}}                    # 1 until epoch 50, then 0

## YAML, strictly

Words are read as YAML 1.2 reads them: `1e-4` is a number, `010` is 10, and only `true` and `false` are booleans, so
that `off`, `no`, `12:30:45`, `1_000` and dates are text. Text is never taken for a number, nor `true` for 1. NaN and
infinity are refused. A key given twice is an error, and so are tags (`!!python/...`) and merge keys (`<<`, for which
there is `base`). Anchors and aliases work.
"""


def describe() -> str:
    """The page as markdown: a preface, then a table for each section."""
    parts = [PREFACE, "## Top level\n", table(Config)]
    for slots in _alike():
        names = ", ".join(f"`{dotted(slot.path).replace(f'.{ANY}', '[...]')}`" for slot in slots)
        parts += [f"## {names}\n", *_body(slots[0])]
    return "\n".join(parts)


def table(section: type[Section], *, without: str | None = None) -> str:
    """A section's keys as a markdown table, also for a recipe's own ``Settings``."""
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, info in fields_by_key(section).items():
        if key != without:
            meaning = info.description or _first_line(info.annotation)
            cells = (f"`{key}`", _kind(info.annotation, info), _default(info), meaning)
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _alike() -> list[list[Slot]]:
    """The sections in the order of the config, those of one class together; loss weights are told in words above."""
    order = list(fields_by_key(Config))
    groups: dict[tuple[type[Section], ...], list[Slot]] = {}
    for path, slot in Layout.of(Config).slots.items():
        if path and path != ("loss", ANY):
            alike = groups.setdefault(slot.classes, [])
            if not any(path[: len(other.path)] == other.path for other in alike):  # a section may hold its like
                alike.append(slot)
    return sorted(groups.values(), key=lambda slots: (order.index(str(slots[0].path[0])), len(slots[0].path)))


def _body(slot: Slot) -> Iterator[str]:
    if len(slot.classes) == 1:
        yield f"{_first_line(slot.classes[0])}\n"
        yield table(slot.classes[0])
        return
    for kind, cls in slot.kinds().items():
        yield f"### `{slot.chooser}: {kind}`\n"
        yield f"{_first_line(cls)}\n"
        if len(cls.model_fields) > 1:
            yield table(cls, without=str(slot.chooser))


def _kind(annotation: Any, info: FieldInfo) -> str:
    """What a value may be, in words."""
    origin, members = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _kind(members[0], info)
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in members)
    if origin in (list, tuple):
        return f"list of {_plural(_kind(members[0], info))}"
    if origin is dict:
        return "mapping"
    if origin is not None or type(annotation).__name__ == "UnionType":
        kinds = [_kind(member, info) for member in members if member is not type(None)]
        return " or ".join(dict.fromkeys(kinds)) + (" or null" if type(None) in members else "")
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    if annotation is Fixed or annotation is float:
        return f"number{_limits(info)}"
    names = {int: f"whole number{_limits(info)}", bool: "true or false", str: "text", Any: "section"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _plural(kind: str) -> str:
    return f"{kind}s" if kind in ("section", "number", "whole number") else kind


def _limits(info: FieldInfo) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found = [f"{sign} {getattr(mark, name)}" for name, sign in signs.items()
             for mark in info.metadata if getattr(mark, name, None) is not None]  # fmt: skip
    return f" {', '.join(found)}" if found else ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Section):
        key, first = next(iter(value))
        return f"`{key}: {first}`" if key in ("name", "kind") else ""
    return f"`{value}`" if value and isinstance(value, str) else f"`{to_yaml(value).removesuffix(END).strip()}`"


def _first_line(annotation: Any) -> str:
    """The first line of the docstring of a section, or of the one section an annotation holds."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return (annotation.__doc__ or "").strip().split("\n")[0]
    for member in get_args(annotation):
        text = _first_line(member)
        if text:
            return text
    return ""


if __name__ == "__main__":
    sys.stdout.write(describe())

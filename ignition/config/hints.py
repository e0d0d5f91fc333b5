"""What to do about an unknown key: the near miss, or where it belongs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ignition.config.layout import ANY, Layout, Slot, fields_by_key
from ignition.config.node import Node, Path, dotted

OTHER_NAMES = {  # as other libraries call it -> the key here
    "pct_start": "warmup_fraction",
    "div_factor": "start_factor",
    "final_div_factor": "final_factor",
    "anneal_strategy": "anneal",
    "max_lr": "lr",
    "learning_rate": "lr",
    "num_workers": "workers",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
    "mixed_precision": "amp",
    "accumulation_steps": "accumulate",
    "eta_min": "floor_factor",
    "grad_clip": "max_norm",
}


def near_miss(word: object, known: Iterable[str]) -> str | None:
    """The word of ``known`` that was probably meant, or None."""
    text, known = str(word), list(known)
    by_letters = {"".join(filter(str.isalnum, key)).lower(): key for key in known}
    same = by_letters.get("".join(filter(str.isalnum, text)).lower())
    return same or next(iter(difflib.get_close_matches(text, known, n=1, cutoff=0.6)), None)


def unknown_key(path: Path, root: Node, layout: Layout) -> str:
    """Why the key at ``path`` is refused, and what was probably meant."""
    section, key = path[:-1], str(path[-1])
    slot = layout.at(section) or Slot(section, ())
    node = root.nearest(section)
    if key in slot.keys:
        return f"{dotted(path)}: '{key}' {_of_another_kind(slot, key, node)}"
    meant = OTHER_NAMES.get(key)
    near = meant if meant in slot.keys else near_miss(key, _keys(slot, node))
    places = _places_of(key, layout)
    belongs = f"It belongs {_or(places)}" if places else ""
    if not places and _places_of(meant, layout):
        belongs = f"It belongs {_or(_places_of(meant, layout))} as '{meant}'"
    text = f"unknown key '{dotted(path)}'."
    if belongs and near and meant not in slot.keys:
        return f"{text} {belongs}; or did you mean '{near}'?"
    if near:
        return f"{text} Did you mean '{near}'?"
    if belongs:
        return f"{text} {belongs}."
    if "options" in slot.keys:
        return f"{text} Further arguments of the class go under '{dotted(section)}.options'."
    return f"{text} Known here: {', '.join(_keys(slot, node)) or 'none'}."


def _of_another_kind(slot: Slot, key: str, node: Node) -> str:
    """Why a key that the section can have is not allowed now."""
    owners = [cls for cls in slot.classes if key in fields_by_key(cls)]
    if isinstance(slot.chooser, str):
        kinds = ", ".join(kind for kind, cls in slot.kinds().items() if cls in owners)
        chosen = node.value.get(slot.chooser)
        here = f"here it is {chosen.value}" if chosen is not None else "here none is given"
        return f"belongs to {dotted((*slot.path, slot.chooser))}: {kinds}, and {here}"
    others = [other for other in node.value if not any(other in fields_by_key(cls) for cls in owners)]
    return f"does not go together with {', '.join(map(repr, others))}"


def _keys(slot: Slot, node: Node) -> list[str]:
    """The keys of the kind that was chosen, or of all where none is."""
    chosen = node.value.get(slot.chooser) if isinstance(slot.chooser, str) else None
    cls = slot.kinds().get(chosen.value) if chosen is not None and isinstance(chosen.value, str) else None
    return list(fields_by_key(cls)) if cls else slot.keys


def _places_of(key: str | None, layout: Layout) -> list[Path]:
    """The sections that have ``key``, wherever such a section stands once."""
    return [path for path, slot in layout.slots.items() if key in slot.keys and ANY not in path]


def _or(places: list[Path]) -> str:
    words = [f"under '{dotted(place)}'" if place else "at the top level" for place in places[:3]]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"

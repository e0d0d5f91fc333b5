"""What is wrong with the settings of a run, before it begins: settings in, objections out. Knows no torch, no task.

Each name is imported when first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ignition.review.facts import Facts, Rate, Traits
    from ignition.review.objection import Objection
    from ignition.review.plan import Plan
    from ignition.review.rules import RULES, review

_MODULES = {
    "RULES": "rules",
    "Facts": "facts",
    "Objection": "objection",
    "Plan": "plan",
    "Rate": "facts",
    "Traits": "facts",
    "review": "rules",
}

__all__ = ["RULES", "Facts", "Objection", "Plan", "Rate", "Traits", "review"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

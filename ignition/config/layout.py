"""Which sections stand where: read off the types once, used for merging, hints and the reference page."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, Discriminator
from pydantic.fields import FieldInfo

from ignition.config.node import Path
from ignition.config.section import BelongsTo, Section, Whole

DEEPEST = 8  # levels of sections that are looked at; a recipe's may contain themselves
ANY = "*"  # in a path: any key of a mapping, any index of a list


@dataclass(frozen=True)
class Slot:
    """A place for a section: the classes it may have, and what chooses between them (a key or a function)."""

    path: Path
    classes: tuple[type[Section], ...]
    chooser: str | Callable[[Any], Hashable] | None = None

    @property
    def keys(self) -> list[str]:
        """Every key of any of the classes."""
        return list(dict.fromkeys(key for cls in self.classes for key in fields_by_key(cls)))

    def kinds(self) -> dict[str, type[Section]]:
        """The classes by the word that chooses them, where a key does."""
        if not isinstance(self.chooser, str):
            return {}
        return {word: cls for cls in self.classes for word in get_args(cls.model_fields[self.chooser].annotation)}

    def belongings(self) -> Iterator[tuple[str, str, Any]]:
        """Keys marked as belonging to another one: key, the other, the other's default."""
        for cls in self.classes:
            for key, info in fields_by_key(cls).items():
                for mark in info.metadata:
                    if isinstance(mark, BelongsTo):
                        yield key, mark.key, cls.model_fields[mark.key].default

    def whole(self, key: str) -> bool:
        """Whether ``key`` is replaced as one piece."""
        infos = [fields_by_key(cls).get(key) for cls in self.classes]
        return any(isinstance(mark, Whole) for info in infos if info for mark in info.metadata)


@dataclass(frozen=True)
class Layout:
    """All slots of a config by path."""

    slots: Mapping[Path, Slot] = field(default_factory=dict)

    @classmethod
    def of(cls, config: type[Section], recipe: type[Section] | None = None) -> Layout:
        """The slots of ``config``, with those of a recipe's settings under ``recipe``."""
        found = dict(_slots((), config))
        if recipe is not None:
            found |= dict(_slots(("recipe",), recipe))
        return cls(found)

    def at(self, path: Path) -> Slot | None:
        """The slot at ``path``, or None where no section belongs there."""
        pattern: Path = ()
        for key in path:
            named, anything = (*pattern, key), (*pattern, ANY)
            pattern = anything if named not in self.slots and anything in self.slots else named
        return self.slots.get(pattern)


def fields_by_key(cls: type[BaseModel]) -> dict[str, FieldInfo]:
    """A section's fields by the key they have in YAML."""
    return {info.alias or name: info for name, info in cls.model_fields.items()}


def _slots(path: Path, cls: type[Section]) -> Iterator[tuple[Path, Slot]]:
    yield path, Slot(path, (cls,))
    if len(path) >= DEEPEST:
        return
    for key, info in fields_by_key(cls).items():
        yield from _slots_of_type((*path, key), info.annotation, (*info.metadata, info))


def _slots_of_type(path: Path, annotation: Any, marks: tuple[Any, ...]) -> Iterator[tuple[Path, Slot]]:
    annotation, marks = _unwrapped(annotation, marks)
    if _is_section(annotation):
        yield from _slots(path, annotation)
        return
    members = [_unwrapped(member, ())[0] for member in get_args(annotation)]
    classes = tuple(member for member in members if _is_section(member))
    if getattr(annotation, "__origin__", None) in (list, tuple, dict, set, frozenset):
        yield from _slots_of_type((*path, ANY), get_args(annotation)[-1], ())
    elif classes:
        for cls in classes:
            yield from _slots(path, cls)
        yield path, Slot(path, classes, _chooser(marks))


def _unwrapped(annotation: Any, marks: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Without ``Annotated``, whose marks join ``marks``; ``X | None`` is ``X``."""
    while True:
        inner = get_args(annotation)
        if hasattr(annotation, "__metadata__"):
            annotation, marks = inner[0], (*marks, *annotation.__metadata__)
            continue
        some = [member for member in inner if member is not type(None)]
        if len(some) == 1 and len(inner) == 2 and getattr(annotation, "__origin__", None) not in (dict, list, tuple):
            annotation = some[0]
            continue
        return annotation, marks


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _chooser(marks: tuple[Any, ...]) -> str | Callable[[Any], Hashable] | None:
    for mark in marks:
        found = mark.discriminator if isinstance(mark, (FieldInfo, Discriminator)) else None
        if isinstance(found, Discriminator):
            found = found.discriminator
        if found is not None:
            return found
    return None

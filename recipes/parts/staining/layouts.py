"""Where cores lie on disk: a manifest, pairs by their names, or HEMIT's folders."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from recipes.parts.data_error import DataError
from recipes.parts.staining.files import StoredCore, open_core

log = logging.getLogger(__name__)

MANIFESTS = ("manifest.json", "manifest.csv")
FIELDS = ("id", "he", "target")
PICTURES = (".tif", ".tiff", ".png", ".npy")
PARTS = ("train", "val", "test")


class Layout(NamedTuple):
    """How a kind of data set lies under a folder: ``find(root, channels, skip_bad)``, and in words how it should.

    With ``skip_bad`` cores whose files cannot be used are left out with a warning; else the first one is an error.
    """

    find: Callable[[Path, Sequence[str], bool], list[StoredCore]]
    expected: str


def _cores(root: Path, channels: Sequence[str], skip_bad: bool) -> list[StoredCore]:
    """What a manifest names; without one, every ``core_*_HE.npy`` with its ``core_*_ORION.npy``."""
    manifests = [root / name for name in MANIFESTS if (root / name).is_file()]
    if manifests:
        entries = list(_lines(manifests[0]))
        _all_differ([(where, entry.get("id")) for where, entry in entries])
        makers = [partial(_of_entry, where, entry, root, channels) for where, entry in entries]
        return [core for make in makers for core in _made(make, skip_bad)]
    pictures, targets = (sorted(root.glob(f"core_*_{kind}.npy")) for kind in ("HE", "ORION"))
    partners = {path: path.with_name(path.name.replace("_HE.npy", "_ORION.npy")) for path in pictures}
    for path, partner in partners.items():
        if not partner.is_file():
            raise DataError(f"{path} has no markers beside it: there is no {partner.name}")
    for path in targets:
        if path not in partners.values():
            raise DataError(f"{path} has no picture beside it: there is no {path.name.replace('_ORION.', '_HE.')}")
    makers = [
        partial(open_core, path, partner, id=path.name.removesuffix("_HE.npy"), count=len(channels))
        for path, partner in partners.items()
    ]
    return [core for make in makers for core in _made(make, skip_bad)]


def _made(make: Callable[[], StoredCore], skip_bad: bool) -> list[StoredCore]:
    """The core, or none where it cannot be used and need not be."""
    try:
        return [make()]
    except DataError as error:
        if not skip_bad:
            raise
        log.warning("left out: %s", error)
        return []


def _lines(manifest: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each entry with the place in the file where it stands."""
    try:
        text = manifest.read_text()
        if manifest.suffix == ".csv":
            reader = csv.DictReader(text.splitlines())
            yield from ((f"{manifest}:{reader.line_num}", {k: v for k, v in row.items() if v}) for row in reader)
            return
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{manifest}:{error.lineno}: {error.msg}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {manifest}: {error}") from error
    if not isinstance(entries, list):
        raise DataError(f"{manifest}: it must be a list of entries with {', '.join(FIELDS)}")
    places = _places(text)
    for number, entry in enumerate(entries):
        line = places[number] if number < len(places) else 1
        if not isinstance(entry, dict):
            raise DataError(f"{manifest}:{line}: entry {number + 1} is no object with {', '.join(FIELDS)}")
        yield f"{manifest}:{line}", entry


def _places(text: str) -> list[int]:
    """The line on which each entry of a JSON list begins."""
    decoder, places = json.JSONDecoder(), []
    place = text.index("[") + 1
    while match := re.compile(r"[\s,]*").match(text, place):
        place = match.end()
        if place >= len(text) or text[place] == "]":
            break
        places.append(text.count("\n", 0, place) + 1)
        place = decoder.raw_decode(text, place)[1]
    return places


def _of_entry(where: str, entry: Mapping[str, Any], root: Path, channels: Sequence[str]) -> StoredCore:
    missing = [name for name in FIELDS if not isinstance(entry.get(name), str)]
    if missing:
        raise DataError(f"{where}: no {' and no '.join(repr(name) for name in missing)} (a text) in this entry")
    split = entry.get("split")
    if split not in (None, *PARTS):
        raise DataError(f"{where}: split is {split!r}; it can be {', '.join(PARTS)}")
    named = entry.get("channels")
    if isinstance(named, str):  # a cell of a table
        named = re.split(r"[;|]\s*", named)
    if named is not None and not (isinstance(named, list) and all(isinstance(name, str) for name in named)):
        raise DataError(f"{where}: 'channels' must be a list of names")
    mask = entry.get("mask")
    try:
        return open_core(
            root / entry["he"],
            root / entry["target"],
            id=entry["id"],
            count=len(named or channels),
            channels=None if named is None else _chosen(named, channels),
            mask=None if mask is None else root / str(mask),
        ).in_split(split)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _chosen(named: Sequence[str], channels: Sequence[str]) -> tuple[int, ...]:
    """The places of the wanted ``channels`` among those that a file has."""
    missing = [name for name in channels if name not in named]
    if missing:
        raise DataError(
            f"no channel {', '.join(missing)} in the file (there: {', '.join(named)}); say recipe.channels=[...]"
        )
    return tuple(named.index(name) for name in channels)


def _all_differ(ids: Sequence[tuple[str, Any]]) -> None:
    seen: dict[str, str] = {}
    for where, id in ids:
        if not isinstance(id, str):
            continue  # told with the rest of the entry
        if id in seen:
            raise DataError(f"{where}: id {id!r} stands at {seen[id]} already; a core goes to one split as a whole")
        seen[id] = where


def _hemit(root: Path, channels: Sequence[str], skip_bad: bool) -> list[StoredCore]:
    """HEMIT (Bian et al., 2024): ``input`` and ``label`` with files of one name each, in train, val and test or not."""
    parts = [part for part in PARTS if (root / part / "input").is_dir()]
    folders: list[tuple[Path, str | None]] = [(root / part, part) for part in parts]
    return [
        core for folder, part in folders or [(root, None)] for core in _of_folder(folder, part, len(channels), skip_bad)
    ]


def _of_folder(folder: Path, part: str | None, count: int, skip_bad: bool) -> Iterator[StoredCore]:
    pictures, targets = (
        {path.stem: path for path in sorted((folder / name).glob("*")) if path.suffix.lower() in PICTURES}
        for name in ("input", "label")
    )
    for stem in sorted(pictures.keys() ^ targets.keys()):
        here, missing = (pictures[stem], "label") if stem in pictures else (targets[stem], "input")
        raise DataError(f"{here} has no partner: there is no {stem} in {folder / missing}")
    for stem, path in pictures.items():
        make = partial(open_core, path, targets[stem], id=slide_of(stem), count=count)
        yield from (core.in_split(part) for core in _made(make, skip_bad))


def slide_of(stem: str) -> str:
    """What patches of one slide have in common: the name without the numbers it ends in.

    >>> slide_of("[12910,44227]_patch_3_1024"), slide_of("core7_x512_y0"), slide_of("17")
    ('[12910,44227]_patch', 'core7', '17')
    """
    return re.sub(r"([_\-\s.]+[xyrc]?\d+)+$", "", stem) or stem


KNOWN = {
    "cores": Layout(_cores, "manifest.json or manifest.csv (id, he, target), or core_*_HE.npy with core_*_ORION.npy"),
    "hemit": Layout(_hemit, "input/ and label/ with files of one name, or train/, val/ and test/ with both in each"),
}

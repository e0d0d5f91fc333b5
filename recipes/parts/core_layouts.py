"""Where cores lie on disk: a manifest, pairs by their names, or HEMIT's folders."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recipes.parts.core_files import StoredCore, open_core
from recipes.parts.data_error import DataError

MANIFESTS = ("manifest.json", "manifest.csv")
FIELDS = ("id", "he", "target")
PICTURES = (".tif", ".tiff", ".png", ".npy")
PARTS = ("train", "val", "test")


class Layout(NamedTuple):
    """How a kind of data set lies under a folder: ``find(root, channels)``, and in words how it should."""

    find: Callable[[Path, Sequence[str]], list[StoredCore]]
    expected: str


def _cores(root: Path, channels: Sequence[str]) -> list[StoredCore]:
    """What a manifest names; without one, every ``core_*_HE.npy`` with its ``core_*_ORION.npy``."""
    manifests = [root / name for name in MANIFESTS if (root / name).is_file()]
    if manifests:
        entries = list(_lines(manifests[0]))
        cores = [_of_entry(where, entry, root, channels) for where, entry in entries]
        _all_differ([(where, core.id) for (where, _), core in zip(entries, cores)])
        return cores
    pictures, targets = (sorted(root.glob(f"core_*_{kind}.npy")) for kind in ("HE", "ORION"))
    partners = {path: path.with_name(path.name.replace("_HE.npy", "_ORION.npy")) for path in pictures}
    for path, partner in partners.items():
        if not partner.is_file():
            raise DataError(f"{path} has no markers beside it: there is no {partner.name}")
    for path in targets:
        if path not in partners.values():
            raise DataError(f"{path} has no picture beside it: there is no {path.name.replace('_ORION.', '_HE.')}")
    return [
        open_core(path, partner, id=path.name.removesuffix("_HE.npy"), count=len(channels))
        for path, partner in partners.items()
    ]


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


def _all_differ(ids: Sequence[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for where, id in ids:
        if id in seen:
            raise DataError(f"{where}: id {id!r} stands at {seen[id]} already; a core goes to one split as a whole")
        seen[id] = where


def _hemit(root: Path, channels: Sequence[str]) -> list[StoredCore]:
    """HEMIT (Bian et al., 2024): ``input`` and ``label`` with files of one name each, in train, val and test or not."""
    parts = [part for part in PARTS if (root / part / "input").is_dir()]
    folders: list[tuple[Path, str | None]] = [(root / part, part) for part in parts]
    return [core for folder, part in folders or [(root, None)] for core in _of_folder(folder, part, len(channels))]


def _of_folder(folder: Path, part: str | None, count: int) -> Iterator[StoredCore]:
    pictures, targets = (
        {path.stem: path for path in sorted((folder / name).glob("*")) if path.suffix.lower() in PICTURES}
        for name in ("input", "label")
    )
    for stem in sorted(pictures.keys() ^ targets.keys()):
        here, missing = (pictures[stem], "label") if stem in pictures else (targets[stem], "input")
        raise DataError(f"{here} has no partner: there is no {stem} in {folder / missing}")
    for stem, path in pictures.items():
        yield open_core(path, targets[stem], id=slide_of(stem), count=count).in_split(part)


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

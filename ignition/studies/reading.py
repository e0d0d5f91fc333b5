"""A study read from its YAML file: strictly, with everything that is wrong told at once, by file and line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from ignition.comparison.figures import UnknownFigure, check_figure
from ignition.config import Config, ConfigError, Section
from ignition.config.complaints import placed, retell
from ignition.config.inheritance import merge, read_chain
from ignition.config.layout import Layout
from ignition.config.node import Node
from ignition.config.problems import Place, Problem
from ignition.config.reading import read_file
from ignition.studies.expectation import BadExpectation, parse
from ignition.studies.sections import StudyFile
from ignition.studies.study import Expectation, Study, beside

ABOUT_EXPECTATION = ("of", "said", "scaled")


def read_study(path: str | os.PathLike[str], recipe_settings: type[Section] | None = None) -> Study:
    """Read a study.

    Args:
        path: its YAML file.
        recipe_settings: the layout of the recipe's section, where it is known: how its settings inherit.

    Raises:
        ConfigError: all that is wrong with it, with file and line.
    """
    document = read_file(path)
    problems = list(document.problems)
    if not document.whole:
        raise ConfigError(problems)
    root, layout = document.root, Layout.of(StudyFile)
    try:
        file = StudyFile.model_validate_json(json.dumps(root.plain()))
    except ValidationError as error:
        raise ConfigError([*problems, *(placed(item, root) for item in retell(error, root, layout))]) from error
    problems += _wrong_names(file, root)
    expectations = list(_expectations(file, root, problems))
    if not Path(beside(Path(path), file.recipe)).is_file():
        problems.append(Problem.at(root.nearest(("recipe",)).place, f"no such recipe: {file.recipe}"))
    if problems:
        raise ConfigError(problems)
    configs = _configs(Path(path), file, root, Layout.of(Config, recipe_settings), problems)
    if problems:
        raise ConfigError(problems)
    return Study(Path(path), file, configs, tuple(expectations))


def _wrong_names(file: StudyFile, root: Node) -> Iterator[Problem]:
    """Names that are no folder's, or of nothing; seeds given twice."""
    known = [*file.variants, *file.prepare]
    for key in ("variants", "prepare"):
        for name, node in (root.child(key) or Node({}, root.place)).value.items():
            if not name or set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"):
                yield Problem.at(node.place, f"'{name}' names a folder: use letters, digits, '_', '-' and '.'")
            if name == "trivial":
                yield Problem.at(node.place, "'trivial' is the trivial predictor; name the variant otherwise")
            if key == "prepare" and name in file.variants:
                yield Problem.at(node.place, f"'{name}' is a variant as well: name one of them otherwise")
            other = node.child("plus")
            if other is not None and other.value is not None and other.value not in known:
                yield Problem.at(other.place, f"plus: no variant '{other.value}'. Known: {', '.join(known)}")
    for key in ("reference", "subject"):
        named = getattr(file, key)
        if named is not None and named not in file.variants:
            place = root.nearest((key,)).place
            yield Problem.at(place, f"{key}: no variant '{named}'. Known: {', '.join(file.variants)}")
    if not file.variants:
        yield Problem.at(root.nearest(("variants",)).place, "variants: none is named")
    if len(set(file.seeds)) < len(file.seeds):
        yield Problem.at(root.nearest(("seeds",)).place, "seeds: one is given twice")
    if file.command is not None:
        from_words = ("{command}", "{line}", "{arguments}")
        if not any(word in file.command for word in from_words):
            place = root.nearest(("command",)).place
            yield Problem.at(place, f"command: it starts nothing without one of {', '.join(from_words)}")
    for number, name in enumerate(file.figures):
        yield from _bad_figure(name, root.nearest(("figures", number)).place)


def _bad_figure(name: str, place: Place) -> Iterator[Problem]:
    try:
        check_figure(name)
    except UnknownFigure as error:
        yield Problem.at(place, str(error))


def _expectations(file: StudyFile, root: Node, problems: list[Problem]) -> Iterator[Expectation]:
    for number, entry in enumerate(file.expect):
        node = root.nearest(("expect", number))
        figures = [key for key in entry if key not in ABOUT_EXPECTATION]
        if len(figures) != 1:
            found = f"found {', '.join(figures)}" if figures else "found none"
            problems.append(Problem.at(node.place, f"expect: one 'figure: expectation' to an item, {found}"))
            continue
        name, variant = figures[0], entry.get("of", file.subject or list(file.variants)[-1])
        if variant not in file.variants:
            text = f"of: no variant '{variant}'. Known: {', '.join(file.variants)}"
            problems.append(Problem.at(node.nearest(("of",)).place, text))
            continue
        place = node.nearest((name,)).place
        problems += _bad_figure(name, place)
        try:
            clauses = tuple(parse(entry[name], list(file.variants)))
        except BadExpectation as error:
            problems.append(Problem.at(place, f"{name}: {error}"))
            continue
        text = " ".join(entry[name].split())
        yield Expectation(name, text, clauses, variant, entry.get("said", ""), entry.get("scaled", ""))


def _configs(path: Path, file: StudyFile, root: Node, layout: Layout, problems: list[Problem]) -> dict[str, Node]:
    """Each variant's settings: its config's, the study's, those of what it begins with, its own."""
    nodes = {**(root.child("prepare") or Node({}, root.place)).value, **root.nearest(("variants",)).value}
    shared = root.child("settings") or Node({}, root.place)
    variants = {**file.prepare, **file.variants}
    found: dict[str, Node] = {}

    def settings(name: str, heirs: tuple[str, ...]) -> Node:
        variant, node = variants[name], nodes[name]
        own = node.child("settings") or Node({}, node.place)
        if variant.plus is not None:
            if variant.plus in (*heirs, name):
                text = f"plus: variants begin with each other in a circle: {' <- '.join([*heirs, name, variant.plus])}"
                problems.append(Problem.at(node.nearest(("plus",)).place, text))
                return own
            return merge(settings(variant.plus, (*heirs, name)), own, layout)
        config = variant.config or file.config
        if config is None:
            return merge(shared, own, layout)
        if not Path(beside(path, config)).is_file():
            place = node.child("config") or root.child("config") or node
            problems.append(Problem.at(place.place, f"config: no such config file: {config}"))
            return own
        document = read_chain(beside(path, config), layout)
        problems.extend(problem for problem in document.problems if problem not in problems)
        return merge(merge(document.root, shared, layout), own, layout)

    for name in variants:
        found[name] = settings(name, ())
    return found

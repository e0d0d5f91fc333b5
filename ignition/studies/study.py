"""A study as its YAML file says it: the question, variants, seeds, what is expected; strict, all problems at once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ignition.comparison.config_difference import experiment
from ignition.comparison.figures import UnknownFigure, check_figure
from ignition.config import Config, ConfigError, Section, Whole
from ignition.config.complaints import placed, retell
from ignition.config.inheritance import merge, read_chain
from ignition.config.layout import Layout
from ignition.config.loading import config_of
from ignition.config.node import Node
from ignition.config.problems import Place, Problem
from ignition.config.reading import read_file
from ignition.studies.expectation import BadExpectation, Clause, parse

NAME = r"^[A-Za-z0-9_.-]+$"
ABOUT_EXPECTATION = ("of", "said", "scaled")


class Variant(Section):
    """What is trained with every seed: a config, and settings over it."""

    config: str | None = Field(default=None, description="a config, relative to the study's file; null: the study's")
    plus: str | None = Field(default=None, description="another variant whose config and settings this one begins with")
    settings: Annotated[dict[str, Any], Whole()] = Field(default_factory=dict, description="laid over the config")
    what: str = Field(default="", description="what it is, in a few words")
    said: Annotated[dict[str, str], Whole()] = Field(
        default_factory=dict, description="what a document says of it, by figure, to stand beside what is found"
    )


class StudyFile(Section):
    """The keys of a study's file."""

    question: str = Field(min_length=1, description="what is asked, in words")
    recipe: str = Field(min_length=1, description="the recipe's file, relative to the study's")
    config: str | None = Field(default=None, description="the variants' config, where they name none")
    settings: Annotated[dict[str, Any], Whole()] = Field(
        default_factory=dict, description="laid over every variant's config, and under its own settings"
    )
    seeds: list[int] = Field(min_length=1, description="each variant is trained with each of them")
    prepare: Annotated[dict[str, Variant], Whole()] = Field(
        default_factory=dict,
        description="trained once, with the first seed, before the others, in whose settings `{name}` is its folder",
    )
    variants: Annotated[dict[str, Variant], Whole()] = Field(description="what is compared, by name")
    reference: str | None = Field(default=None, description="what the others are held against; null: the first variant")
    subject: str | None = Field(default=None, description="what is expected of; null: the last variant")
    expect: list[dict[str, str]] = Field(
        default_factory=list,
        description="`figure: expectation` each, with `of` (a variant; the subject), `said` (whose words it is made "
        "from) and `scaled` (how, where the numbers are others)",
    )
    figures: list[str] = Field(default_factory=list, description="figures to show and test besides the usual ones")
    runs: str | None = Field(default=None, pattern=NAME, description="folder of the runs; null: the study's name")
    jobs: int | None = Field(default=None, ge=1, description="runs at once; null: cores / threads")
    threads: int = Field(default=1, ge=1, description="CPU threads of a run")
    command: str | None = Field(
        default=None,
        description="how a run is started: `{python}`, `{command}` (all words), `{line}` (all words as one, quoted), "
        "`{arguments}` (what follows `python -m ignition.run`); null: `{command}`",
    )
    note: str = Field(default="", description="what has to be known to read the results")


@dataclass(frozen=True)
class Expectation:
    """A figure of a variant, and the limits that it has to keep."""

    figure: str
    text: str
    clauses: tuple[Clause, ...]
    of: str
    said: str = ""
    scaled: str = ""


@dataclass(frozen=True)
class Study:
    """A study that was read and checked.

    Attributes:
        path: its file.
        file: what stands in it.
        configs: each variant's settings as read, with places; a seed and a recipe's defaults are not in them.
        expectations: what is expected, parsed.
    """

    path: Path
    file: StudyFile
    configs: Mapping[str, Node]
    expectations: tuple[Expectation, ...] = field(default=())

    @property
    def name(self) -> str:
        """What it is called: its file's name."""
        return self.path.stem

    @property
    def folder_name(self) -> str:
        """What the folder of its runs is called; studies that share it share runs of one variant."""
        return self.file.runs or self.name

    @property
    def recipe(self) -> Path:
        """The recipe's file."""
        return Path(_beside(self.path, self.file.recipe))

    @property
    def task(self) -> str:
        """The recipe's name."""
        return self.recipe.stem

    @property
    def variants(self) -> list[str]:
        """Names of what is compared, the reference first."""
        names = list(self.file.variants)
        return [self.reference, *(name for name in names if name != self.reference)]

    @property
    def reference(self) -> str:
        """What the others are held against."""
        return self.file.reference or next(iter(self.file.variants))

    @property
    def figures(self) -> list[str]:
        """The figures that it asks for, to be shown or expected."""
        return list(dict.fromkeys([*self.file.figures, *(expectation.figure for expectation in self.expectations)]))

    def seeds(self, variant: str) -> list[int]:
        """The seeds that ``variant`` is trained with."""
        return self.file.seeds[:1] if variant in self.file.prepare else list(self.file.seeds)

    def config(self, variant: str, seed: int, folder: Path, recipe_settings: type[Section] | None = None) -> Config:
        """All settings of a run.

        Args:
            folder: where the study's runs are, for what is prepared.
            recipe_settings: checks the recipe's section, and fills in its defaults.

        Raises:
            ConfigError: what is wrong with them.
        """
        prepared = {name: str(run_folder(folder, name, self.seeds(name)[0])) for name in self.file.prepare}
        place = Place(str(self.path))
        own = {"seed": Node(seed, place), "threads": Node(self.file.threads, place)}
        given = self.configs[variant]
        if given.nearest(("trainer", "threads")).value is not None and "threads" in _keys(given, "trainer"):
            own.pop("threads")
        root = merge(_filled(given, prepared), Node({"trainer": Node(own, place)}, place), Layout.of(Config))
        return config_of(root, name=variant, task=self.task, recipe_settings=recipe_settings)

    def check(self, folder: Path, recipe_settings: type[Section] | None = None) -> None:
        """Look at every variant's settings, and whether all variants differ.

        Raises:
            ConfigError: all that is wrong.
        """
        problems: list[Problem] = []
        plain: dict[str, str] = {}
        for variant in (*self.file.prepare, *self.file.variants):
            try:
                config = self.config(variant, 0, folder, recipe_settings)
            except ConfigError as error:
                problems += error.problems
                continue
            if variant in self.file.variants:
                same = json.dumps(sorted(experiment(config.to_dict()).items()), default=str)
                if same in plain:
                    text = f"variants '{plain[same]}' and '{variant}' are equal: change a setting, or leave one out"
                    problems.append(Problem.at(_place_of(self, variant), text))
                plain.setdefault(same, variant)
        if problems:
            raise ConfigError(problems)


def run_folder(folder: Path, variant: str, seed: int) -> Path:
    """Where a variant's run under a seed is."""
    return folder / f"{variant}-seed{seed}"


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
    if not Path(_beside(Path(path), file.recipe)).is_file():
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
        if not Path(_beside(path, config)).is_file():
            place = node.child("config") or root.child("config") or node
            problems.append(Problem.at(place.place, f"config: no such config file: {config}"))
            return own
        document = read_chain(_beside(path, config), layout)
        problems.extend(problem for problem in document.problems if problem not in problems)
        return merge(merge(document.root, shared, layout), own, layout)

    for name in variants:
        found[name] = settings(name, ())
    return found


def _keys(node: Node, section: str) -> list[str]:
    child = node.child(section)
    return list(child.value) if child is not None and child.is_mapping else []


def _filled(node: Node, prepared: Mapping[str, str]) -> Node:
    """``{name}`` in texts as the run folder of what was prepared."""
    if isinstance(node.value, dict):
        return Node({key: _filled(child, prepared) for key, child in node.value.items()}, node.place)
    if isinstance(node.value, list):
        return Node([_filled(child, prepared) for child in node.value], node.place)
    if isinstance(node.value, str):
        text = node.value
        for name, path in prepared.items():
            text = text.replace("{" + name + "}", path)
        return Node(text, node.place)
    return node


def _place_of(study: Study, variant: str) -> Place:
    node = read_file(study.path).root.nearest(("variants", variant))
    return node.place


def _beside(path: Path, name: str) -> str:
    return os.path.normpath(path.parent / name)

"""A study: its question, variants, seeds, and what is expected of which figure."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ignition.comparison.config_difference import experiment
from ignition.config import Config, ConfigError, Section
from ignition.config.inheritance import merge
from ignition.config.layout import Layout
from ignition.config.loading import config_of
from ignition.config.node import Node
from ignition.config.problems import Place, Problem
from ignition.config.reading import read_file
from ignition.studies.expectation import Clause
from ignition.studies.sections import StudyFile


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
        return Path(beside(self.path, self.file.recipe))

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
    def subject(self) -> str:
        """What is expected of, where an expectation does not name it."""
        return self.file.subject or list(self.file.variants)[-1]

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
        trainer = Node({"seed": Node(seed, place), "threads": Node(self.file.threads, place)}, place)
        given = _filled(self.configs[variant], prepared)
        root = merge(given, Node({"trainer": trainer}, place), Layout.of(Config))
        return config_of(root, name=variant, task=self.task, recipe_settings=recipe_settings)

    def check(self, folder: Path, recipe_settings: type[Section] | None = None) -> None:
        """Look at every variant's settings, and whether all variants differ.

        Raises:
            ConfigError: all that is wrong.
        """
        problems: list[Problem] = []
        plain: dict[str, str] = {}
        for variant in (*self.file.prepare, *self.file.variants):
            problems += [problem for problem in self._overruled(variant) if problem not in problems]
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

    def _overruled(self, variant: str) -> Iterator[Problem]:
        """Settings of the study's own file that its other keys decide."""
        trainer = self.configs[variant].child("trainer")
        for key, instead in (("seed", "seeds"), ("threads", "threads")):
            node = trainer.child(key) if trainer is not None else None
            if node is not None and node.place.file == str(self.path):
                yield Problem.at(node.place, f"trainer.{key}: '{instead}' of the study says which; leave it out here")


def run_folder(folder: Path, variant: str, seed: int) -> Path:
    """Where a variant's run under a seed is."""
    return folder / f"{variant}-seed{seed}"


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


def beside(path: Path, name: str) -> str:
    """Where a file is that is named relative to the file ``path``."""
    return os.path.normpath(path.parent / name)

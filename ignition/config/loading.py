"""A config file, what it inherits, and overrides, made into checked settings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from ignition.config.complaints import Complaint, not_finite, placed, retell
from ignition.config.inconsistencies import inconsistencies
from ignition.config.inheritance import merge, read_chain
from ignition.config.layout import Layout
from ignition.config.node import Node, dotted
from ignition.config.overrides import read_overrides
from ignition.config.problems import ConfigError, Place, Problem
from ignition.config.reading import Document
from ignition.config.section import Section
from ignition.config.sections import Config

NO_FILE = "(no config file)"


def load_config(
    path: str | os.PathLike[str] | None,
    *,
    overrides: Iterable[str] = (),
    task: str | None = None,
    recipe_settings: type[Section] | None = None,
) -> Config:
    """Read, merge and check a config.

    Args:
        path: a YAML file; None takes the defaults.
        overrides: settings such as ``optimizer.lr=5e-5``, laid over the file.
        task: the recipe's name; a config of another task is refused, and one without a task becomes one of this.
        recipe_settings: checks the ``recipe`` section, which becomes an object of this class; None leaves a dict.

    Raises:
        ConfigError: all that is wrong, each problem with file and line.

    >>> load_config(None, overrides=["trainer.epochs=3"]).trainer.epochs
    3
    """
    layout = Layout.of(Config, recipe_settings)
    document = read_chain(path, layout) if path is not None else Document(Node({}, Place(NO_FILE)))
    typed = read_overrides(overrides)
    problems = [*document.problems, *typed.problems]
    if not document.whole:
        raise ConfigError(problems)
    root = merge(document.root, typed.root, layout)
    name = os.fspath(path) if path is not None else "this"
    return config_of(root, problems, name=name, task=task, recipe_settings=recipe_settings)


def config_of(
    root: Node,
    problems: Iterable[Problem] = (),
    *,
    name: str = "this",
    task: str | None = None,
    recipe_settings: type[Section] | None = None,
) -> Config:
    """Check settings that were read and merged already.

    Args:
        root: the settings, each with its place.
        problems: what was wrong with them so far.
        name: what they are called where they are refused.
        task, recipe_settings: as in `load_config`.

    Raises:
        ConfigError: all that is wrong, ``problems`` included.
    """
    problems, layout = list(problems), Layout.of(Config, recipe_settings)
    mismatch = _of_another_task(root, name, task)
    if mismatch is not None:
        problems.append(mismatch)
        recipe_settings, layout = None, Layout.of(Config)  # its settings would only be unknown
    config, complaints = _check(root, layout, recipe_settings)
    problems += [placed(complaint, root) for complaint in complaints]
    if config is None or problems:
        raise ConfigError(problems)
    return config.model_copy(update={"task": task}) if task is not None else config


def _check(root: Node, layout: Layout, recipe_settings: type[Section] | None) -> tuple[Config | None, list[Complaint]]:
    """The settings, or what is wrong with them."""
    plain: dict[str, Any] = root.plain()
    complaints: list[Complaint] = []
    config: Config | None = None
    recipe: Section | None = None
    given = plain.get("recipe")
    if recipe_settings is not None and (given is None or isinstance(given, dict)):
        try:
            # as JSON, where a list may fill a tuple and a text a path, and nothing else is converted
            recipe = recipe_settings.model_validate_json(json.dumps(given or {}))
        except ValidationError as error:
            complaints += retell(error, root, layout, ("recipe",))
    try:
        config = Config.model_validate_json(json.dumps(plain))
    except ValidationError as error:
        complaints += retell(error, root, layout)
    told = {path for path, _ in complaints}
    complaints += [(path, message) for path, message in not_finite(root) if path not in told]
    if config is None or complaints:
        return None, complaints
    if recipe is not None:
        config = config.model_copy(update={"recipe": recipe})
    return config, [(path, f"{dotted(path)}: {message}") for path, message in inconsistencies(config)]


def _of_another_task(root: Node, name: str, task: str | None) -> Problem | None:
    given = root.child("task")
    if task is None or given is None or not isinstance(given.value, str) or given.value == task:
        return None
    return Problem.at(given.place, f"{name} is a config of task '{given.value}', this recipe is '{task}'")

"""A review of a recipe's settings: its own word, a cheap look at its data and model, and the rules."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ignition.config import Config
from ignition.recipe import Recipe, RecipeError, Splits, optional
from ignition.review import Facts, Objection, Plan, Traits, review

MOMENTS = 2  # of each weight that Adam and its kin keep
FILES = ("files", "samples", "imgs", "paths")  # what datasets call their files
PLAIN = frozenset({"SGD", "Adagrad", "RMSprop", "Rprop", "Adadelta"})


@dataclass(frozen=True)
class Reviewed:
    """What there is against a config, and what could not be looked at."""

    objections: list[Objection]
    unknown: tuple[str, ...] = ()


def review_recipe(
    recipe: Recipe,
    config: Config,
    place: Callable[[str], str],
    *,
    folder: Path,
    splits: Splits | None = None,
    model: nn.Module | None = None,
) -> Reviewed:
    """What there is against ``config`` for this recipe. Nothing is trained, and no model is run.

    Args:
        place: where a setting stands, by its key.
        folder: where the run is or will be, for what the disk has left.
        splits, model: where they are there already; else they are made, for their sizes.

    Raises:
        RecipeError: the recipe's ``traits()`` or ``objections()`` fails or gives something else.
    """
    facts = look(recipe, config, folder=folder, splits=splits, model=model)
    plan = Plan(config, _traits(recipe), facts)
    return Reviewed(review(plan, _own(recipe, config), place=place), facts.unknown)


def look(
    recipe: Recipe, config: Config, *, folder: Path, splits: Splits | None = None, model: nn.Module | None = None
) -> Facts:
    """What data, model and machine show without being used; what cannot be had stays unknown, and says why."""
    unknown: list[str] = []
    splits = splits or _tried(recipe.datasets, "data", unknown)
    train = _dataset(getattr(splits, "train", None), "data.train", unknown)
    val = _dataset(getattr(splits, "val", None), "data.val", unknown)
    model = model or _tried(lambda: _outline(recipe), "model", unknown)
    return Facts(
        train_samples=_length(train),
        val_samples=_length(val),
        parameters=_trained(model) if model is not None else None,
        shared=_shared(train, val, config),
        shuffled="Random" in type(getattr(getattr(splits, "val", None), "sampler", None)).__name__,
        attention=model is not None and any(_is_attention(module) for module in model.modules()),
        checkpoint_bytes=_checkpoint_bytes(model, config) if model is not None else None,
        free_bytes=_free(folder),
        cores=os.cpu_count(),
        unknown=tuple(unknown),
    )


def _traits(recipe: Recipe) -> Traits:
    own = optional(recipe, "traits")
    if own is None:
        return Traits()
    traits = _asked(recipe, "traits", own)
    if not isinstance(traits, Traits):
        raise RecipeError(f"traits() must return ignition.recipe.Traits, and returned {type(traits).__name__}")
    return traits


def _own(recipe: Recipe, config: Config) -> list[Objection]:
    own = optional(recipe, "objections")
    if own is None:
        return []
    rows: Iterable[Any] = _asked(recipe, "objections", lambda: list(own(config)))
    try:
        return [row if isinstance(row, Objection) else Objection.of(row) for row in rows]
    except (TypeError, ValueError) as error:
        raise RecipeError(f"objections() must give rows as Objection.row has them: {error}") from error


def _asked(recipe: Recipe, name: str, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Exception as error:
        file = inspect.getsourcefile(type(recipe)) or "the recipe"
        raise RecipeError(f"{file}: {name}(): {type(error).__name__}: {error}") from error


def _tried(make: Callable[[], Any], what: str, unknown: list[str]) -> Any:
    """What ``make`` gives, or None with a word about why not: a review does not fail where a run would."""
    try:
        return make()
    except Exception as error:
        unknown.append(f"{what}: {error or type(error).__name__}")
        return None


def _dataset(given: Any, what: str, unknown: list[str]) -> Any:
    """The dataset itself, where a function that makes it, or a loader, was given."""
    if given is None:
        return None
    if hasattr(given, "dataset") and hasattr(given, "sampler"):
        return given.dataset
    return given if hasattr(given, "__getitem__") else _tried(given, what, unknown)


def _length(dataset: Any) -> int | None:
    return len(dataset) if hasattr(dataset, "__len__") else None


def _outline(recipe: Recipe) -> nn.Module:
    """The model, without memory for its weights where it can be made so."""
    try:
        with torch.device("meta"):
            return recipe.model()
    except (RuntimeError, NotImplementedError):  # something in it wants to see a number
        return recipe.model()


def _is_attention(module: nn.Module) -> bool:
    name = type(module).__name__.lower()
    return "attention" in name or "transformer" in name


def _trained(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def _checkpoint_bytes(model: nn.Module, config: Config) -> int:
    """Weights, the average of them, and what the optimizer keeps of each."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    trained = sum(weight.numel() * weight.element_size() for weight in model.parameters() if weight.requires_grad)
    moments = 1 if config.optimizer.name in PLAIN else MOMENTS
    return weights * (2 if config.ema is not None else 1) + moments * trained


def _free(folder: Path) -> int | None:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _shared(train: Any, val: Any, config: Config) -> tuple[str, ...]:
    """What is in both, by the names of recordings or files; of two folders names say nothing."""
    if train is None or val is None:
        return ()
    if train is val:
        return ("all of it",)
    one, other = (getattr(dataset, "dataset", None) for dataset in (train, val))
    if one is not None and one is other and hasattr(train, "indices") and hasattr(val, "indices"):
        both = set(map(int, train.indices)) & set(map(int, val.indices))
        return tuple(f"sample {index}" for index in sorted(both))
    files = _files(train) & _files(val)
    roots = [root and os.path.realpath(root) for root in (config.data.train.root, config.data.val.root)]
    if files or roots[0] != roots[1]:  # recordings of two folders may have the same names
        return tuple(sorted(files))
    return tuple(sorted(set(getattr(train, "recordings", ())) & set(getattr(val, "recordings", ()))))


def _files(dataset: Any) -> set[str]:
    """The files of a dataset that lists them, as torchvision's do: paths, or tuples that begin with one."""
    for attribute in FILES:
        items = getattr(dataset, attribute, None)
        if isinstance(items, (list, tuple)) and items:
            heads = [item[0] if isinstance(item, (list, tuple)) and item else item for item in items]
            if all(isinstance(head, (str, os.PathLike)) for head in heads):
                places = [os.path.split(head) for head in heads]
                folders = {folder: os.path.realpath(folder) for folder in {folder for folder, _ in places}}
                return {os.path.join(folders[folder], name) for folder, name in places}
    return set()

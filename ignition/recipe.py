"""What a recipe is, and how one is loaded from a file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import torch
from ignite.metrics import Metric
from pydantic import Field
from torch import nn

from ignition.config import Section
from ignition.config.sections import Data, Source
from ignition.loss_terms import LossesOf, Progress, of_model
from ignition.review import Objection, Rate, Traits

__all__ = [
    "Data",
    "Field",
    "Objection",
    "Progress",
    "Rate",
    "Recipe",
    "RecipeError",
    "Section",
    "Source",
    "Splits",
    "Traits",
    "load_recipe",
]


class RecipeError(ValueError):
    """A recipe file cannot be used; says where and why."""


@dataclass(frozen=True)
class Splits:
    """The data of a recipe: map-style datasets, each sample a dict (or tuple) of tensors.

    Each may also be a function that makes the dataset, so that an evaluation need not read the training data.
    ``others`` are further validation sets by name, evaluated before and after training under their own name: what a
    fine-tuned model was trained on before, for instance.
    """

    train: Any
    val: Any
    test: Any = None
    others: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Data, make: Callable[[Source, str], Any], *, others: Mapping[str, Any] | None = None) -> Splits:
        """The splits that the config names, each made by ``make(source, split)`` when it is asked for."""
        test = data.test
        return cls(
            train=lambda: make(data.train, "train"),
            val=lambda: make(data.val, "val"),
            test=None if test is None else lambda: make(test, "test"),
            others=others or {},
        )


@runtime_checkable
class Recipe(Protocol):
    """What the class named ``Recipe`` in a recipe file must have. There is nothing to inherit.

    It is made as ``Recipe(settings, data)``, of its own validated ``Settings`` and the config's ``data``. Optional:

    - ``augmentation()``, a module that takes and returns a batch on the device
    - ``initialize(model)``, puts weights to start from into it, when a run begins and not when it is resumed
    - ``collate(samples)``, samples to batch
    - ``losses_from(outputs, batch, progress)``, the loss terms of what ``predict`` gave: spares an evaluation
      the second forward pass
    - ``baseline(splits)``, a trivial predictor, called as ``predict`` is, whose scores (and losses, by ``losses_from``)
      stand beside every metric
    - ``pictures(batch, outputs)``, a dict of images [3,H,W] in 0..1
    - ``signals(batch, outputs)``, a dict of numbers to watch
    - ``describe(dataset)``, lines that ``--check`` prints of a split: what its numbers do not say
    - ``traits()``, a `Traits`: what a review of the settings cannot know by itself, such as whether the network is a
      transformer and which learning rate it bears
    - ``objections(config)``, what there is against settings of this task: a row for each, as `Objection.row` has it
    - ``handlers(training)``, for handlers of the recipe's own
    """

    Settings: type[Section]

    def datasets(self) -> Splits: ...

    def model(self) -> nn.Module: ...

    def losses(self, model: nn.Module, batch: Any, progress: Progress) -> dict[str, torch.Tensor]: ...

    def predict(self, model: nn.Module, batch: Any) -> Any: ...

    def metrics(self) -> dict[str, Metric]: ...


REQUIRED = ("Settings", "datasets", "model", "losses", "predict", "metrics")


def load_recipe(path: str | Path) -> type[Recipe]:
    """The class ``Recipe`` of the file at ``path``. The file is code, and runs.

    It is imported under its dotted name where its packages can be found from there (``recipes.depth``), so that
    loader workers can pickle what it defines.

    Raises:
        RecipeError: no such file, an error while it ran, no class ``Recipe``, or parts that are missing.
    """
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"{path}: no such recipe file{_suggest(path)}")
    if path.suffix != ".py":
        raise RecipeError(f"{path}: a recipe is a Python file")
    module = _run(path)
    recipe = getattr(module, "Recipe", None)
    if not isinstance(recipe, type):
        raise RecipeError(f"{path}: no class named 'Recipe' in it; docs/recipes.md shows one")
    missing = [name for name in REQUIRED if not hasattr(recipe, name)]
    problems = [f"{path}: class Recipe has no '{name}'" for name in missing]
    settings = getattr(recipe, "Settings", None)
    if settings is not None and not (isinstance(settings, type) and issubclass(settings, Section)):
        problems.append(f"{path}: Recipe.Settings must be a subclass of ignition.recipe.Section")
    if problems:
        raise RecipeError("\n".join(problems))
    recipe.__recipe_file__ = str(path.resolve())  # type: ignore[attr-defined]
    return recipe


def evaluation_losses(recipe: Recipe) -> LossesOf:
    """The recipe's loss terms as an evaluation takes them: from the outputs where it can, else by the model."""
    from_outputs = optional(recipe, "losses_from")
    if from_outputs is None:
        return of_model(recipe.losses)
    return lambda model, outputs, batch, progress: from_outputs(outputs, batch, progress)


def optional(recipe: Recipe, name: str) -> Callable[..., Any] | None:
    """A recipe's optional part, or None."""
    part: Callable[..., Any] | None = getattr(recipe, name, None)
    return part


def _run(path: Path) -> ModuleType:
    """Import the file, turning whatever goes wrong in it into a `RecipeError` that names the line."""
    name, root = _dotted_name(path.resolve())
    try:
        if str(root) not in sys.path:
            sys.path.insert(0, str(root))
        present = sys.modules.get(name)
        if present is None and importlib.util.find_spec(name) is not None:
            present = importlib.import_module(name)
        if present is not None and _same_file(present, path):
            return present
        return _import_by_path(path)
    except SyntaxError as error:
        text = (error.text or "").strip()
        raise RecipeError(f"{error.filename}:{error.lineno}: {error.msg}" + (f": {text}" if text else "")) from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        line = f":{own[-1].lineno}" if own else ""
        raise RecipeError(f"{path}{line}: {type(error).__name__}: {error}") from error


def _dotted_name(path: Path) -> tuple[str, Path]:
    """The module name of ``path`` seen from the first folder above it that is no package, and that folder."""
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").exists() and folder.parent != folder:
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), folder


def _same_file(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path.resolve()


def _import_by_path(path: Path) -> ModuleType:
    """A module under a name of its own, for a file whose stem is taken (``random.py``)."""
    name = f"ignition_recipe_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _suggest(path: Path) -> str:
    others = sorted(str(other) for other in path.parent.glob("*.py") if not other.name.startswith("_"))
    return f" (there: {', '.join(others)})" if others else ""

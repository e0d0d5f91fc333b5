"""What is asked of a recipe, and the one error where recipe, config and machine do not fit."""

from __future__ import annotations

from typing import Any

from ignition.recipe import Recipe, RecipeError


class AssemblyError(ValueError):
    """Recipe, config and machine do not fit together; says what does not, and what to do."""


def ask(recipe: Recipe, part: str, *arguments: Any) -> Any:
    """Call a part of the recipe; what a user can cause there (files, settings) comes back as one clear error.

    Raises:
        AssemblyError: the part raised ValueError or OSError.
    """
    try:
        return getattr(recipe, part)(*arguments)
    except RecipeError:
        raise
    except (ValueError, OSError) as error:
        raise AssemblyError(str(error)) from error

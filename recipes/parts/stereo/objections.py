"""What there is against settings of a depth training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recipes.parts.objection import objection

SOURCE = "the depth document"


def depth_objections(config: Any) -> Iterator[dict[str, Any]]:
    """Rows, as `recipes.parts.objection` makes them."""
    s = config.recipe
    if s.pretrained is not None and s.dropout == 0:
        yield objection(
            "no_dropout",
            "recipe.dropout",
            "recipe.dropout is 0 in a fine-tuning",
            why="little data is learnt by heart: training gets better and validation stands still",
            source=SOURCE,
            override="recipe.dropout=0.2",
            helps="feature maps cannot rely on each other",
        )
    if s.model == "mono" and s.flip:
        yield objection(
            "upside_down",
            "recipe.flip",
            "recipe.flip turns pictures upside down, and depth is learnt from one of them",
            why="one picture tells depth by floor below and sky above; a pair, which matches rows, does not care",
            source="",
            override="recipe.flip=false",
            helps="pictures stay upright",
        )

"""What there is against settings of a detection training."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

from recipes.parts.objection import objection

SOURCE = "the detection document"
UPRIGHT = frozenset({"vindr"})  # data sets of pictures that have an above and a below


def detection_objections(config: Any) -> Iterator[dict[str, Any]]:
    """Rows, as `recipes.parts.objection` makes them."""
    s = config.recipe
    if s.padding == "zero":
        yield objection(
            "black_padding",
            "recipe.padding",
            "recipe.padding is zero: smaller pictures of a batch are padded with black before they are normalised",
            why="padding has an edge that no picture has, and the network looks at it",
            source=SOURCE,
            override="recipe.padding=mean",
            helps="the mean colour, which normalisation makes nought",
        )
    if not s.mask and not s.model.startswith("fcos"):
        yield objection(
            "padding_unmasked",
            "recipe.mask",
            "recipe.mask is false: the network takes padding for a part of the picture",
            why="boxes become parts of a size that depends on the other pictures of the batch",
            source=SOURCE,
            override="recipe.mask=true",
            helps="an answer does not depend on padding",
        )
    if s.vertical_flip > 0 and config.data.train.name in UPRIGHT:
        yield objection(
            "upside_down",
            "recipe.vertical_flip",
            f"recipe.vertical_flip is {s.vertical_flip:g}, and pictures of {config.data.train.name} are upright",
            why="where an organ lies tells what it is, and what is evaluated is never upside down",
            source="",
            override="recipe.vertical_flip=0.0",
            helps="pictures stay upright",
        )
    rules = config.optimizer.groups
    own_rate = any(re.search(rule.pattern, "backbone.0.body.conv1.weight") for rule in rules)
    if s.pretrained_backbone is not None and s.pretrained is None and not own_rate:
        groups = shlex.quote(f"optimizer.groups=[{{pattern: backbone, lr: {config.optimizer.lr / 10:g}}}]")
        yield objection(
            "one_rate",
            "optimizer.groups",
            "the backbone has been trained and the rest has not, and both learn at one rate",
            why="the rate that a new network needs wipes out what the backbone knows",
            source="Carion et al., 2020",
            override=groups,
            helps="a tenth for the backbone",
        )

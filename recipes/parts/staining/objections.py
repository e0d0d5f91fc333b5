"""What there is against settings of a virtual staining."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recipes.parts.objection import objection, peak

SOURCE = "the spatial document"
SHARE, BATCH, JITTER = 0.2, 12, 0.5
TERMS = {"mse": 0.8, "l1": 0.3, "boundary": 0.1, "ssim": 0.2, "spread": 0.1, "focal": 0.0,
         "variance_exponential": 0.0, "variance_square": 0.0}  # fmt: skip


def staining_objections(config: Any) -> Iterator[dict[str, Any]]:
    """Rows, as `recipes.parts.objection` makes them."""
    yield from _conflicting_terms(config)
    yield from _little_data(config)
    s = config.recipe
    if s.jitter > JITTER:
        yield objection(
            "stain_beyond_limits",
            "recipe.jitter",
            f"recipe.jitter is {s.jitter:g}: a stain is taken {1 - s.jitter:.2g} to {1 + s.jitter:.2g} times",
            why="how dark a stain is tells the marker; beyond a half nuclei get as pale as the ground between them",
            source="",
            override="recipe.jitter=0.2",
            helps="as stains differ between slides",
        )


def _conflicting_terms(config: Any) -> Iterator[dict[str, Any]]:
    """Loss terms that pull against the others, or explode."""
    if peak(config, "variance_exponential"):
        yield objection(
            "explosive_penalty",
            "loss.variance_exponential",
            f"loss.variance_exponential is {peak(config, 'variance_exponential'):g}: exp(-100 variance)",
            why="its slope is a hundred times its value: rare markers are punished for being rare, gradients explode",
            source=SOURCE,
            override=_weights(config, variance_exponential=0.0, spread=0.1),
            helps="a floor under the spread, whose slope is the same everywhere",
        )
    if peak(config, "focal"):
        yield objection(
            "conflicting_term",
            "loss.focal",
            f"loss.focal is {peak(config, 'focal'):g}, beside errors of the marker's strength",
            why="it pulls a positive pixel to 1 whatever its strength, against the terms that want the strength",
            source=SOURCE,
            override=_weights(config, focal=0.0),
            helps="terms that agree",
        )


def _little_data(config: Any) -> Iterator[dict[str, Any]]:
    """Too few cores to validate on, too few patches to a step."""
    s, data = config.recipe, config.data
    if s.val_share < SHARE and data.train == data.val:
        yield objection(
            "small_split",
            "recipe.val_share",
            f"recipe.val_share is {s.val_share:g}: that share of the cores validates, where no list says which",
            why="cores differ, and the validation loss jumps with the few that are left to it",
            source=SOURCE,
            override=f"recipe.val_share={SHARE}",
            helps="a fifth",
        )
    if data.batch_size * config.trainer.accumulate < BATCH:
        yield objection(
            "small_batch",
            "data.batch_size",
            f"a step is made of {data.batch_size * config.trainer.accumulate} patches",
            why="a few patches have few of the rarer markers, and gradients follow which",
            source=SOURCE,
            override=f"data.batch_size={BATCH} trainer.accumulate=1",
            helps="better estimates of the gradient",
        )


def _weights(config: Any, **changed: float) -> str:
    """Settings of loss weights; of all of them where the config names none."""
    weights = changed if config.loss else {**TERMS, **changed}
    return " ".join(f"loss.{name}={number}" for name, number in weights.items())

"""What there is against settings of an autoencoder of Gaussians."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from recipes.parts.objection import objection, peak, weight

SOURCE = "the vae document"
COLLAPSES, WEIGHS, LEARNS = 0.1, 0.05, 20  # weights of the divergence; epochs
GENTLE = 0.003


def gaussian_objections(config: Any) -> Iterator[dict[str, Any]]:
    """Rows, as `recipes.parts.objection` makes them."""
    yield from _divergence(config)
    s = config.recipe
    if s.form == "stored":
        yield objection(
            "angle_as_stored",
            "recipe.form",
            "recipe.form is stored: a Gaussian has many forms, and its angle jumps by half a turn",
            why="place is learnt and rotation and colour stay at the mean, which no weight changes: of what jumps the "
            "mean is the best guess",
            source=f"{SOURCE} saw rotation stay at 1.2 and colour at 1.0",
            override="recipe.form=canonical",
            helps="one form for each, the angle as the cosine and sine of its double",
        )
    if not s.keep_position:
        yield objection(
            "position_forgotten",
            "recipe.keep_position",
            "recipe.keep_position is false: the sequence is averaged before the code",
            why="what was where is gone, and only what all Gaussians have in common is left to tell",
            source=f"{SOURCE} saw rotation and colour stay at the mean",
            override="recipe.keep_position=true",
            helps="the code knows places",
        )
    if not (peak(config, "render_l1") or peak(config, "render_ssim")):
        yield objection(
            "unweighted_groups",
            "loss.render_l1",
            "xy, scale, rotation and colour, of 2, 2, 1 and 3 numbers, are weighed against each other alone",
            why="the group that is easiest is all that is learnt, also where each is divided by its numbers, as here; "
            "nothing says what shows in the picture",
            source=f"{SOURCE}, which blames the unequal numbers",
            override="loss.render_l1=4.0 loss.render_ssim=0.5",
            helps="what shows counts, in whatever group it is",
        )


def _divergence(config: Any) -> Iterator[dict[str, Any]]:
    """A code that is pressed to the prior before it is of use."""
    largest, free = peak(config, "kl"), config.recipe.free_bits
    final = weight(config, "kl", 1e6)
    schedule = config.loss.get("kl")
    if largest >= COLLAPSES and not free:
        rises = hasattr(schedule, "to") and not hasattr(schedule, "cycles")
        lower = f"loss.kl.to={GENTLE} loss.kl.from=0" if rises else f"loss.kl={GENTLE}"
        row = objection(
            "collapsing_code",
            "loss.kl.to" if rises else "loss.kl",
            f"loss.kl comes to {largest:g}, a mean over the code's units beside errors of about 1",
            why="telling nothing costs less than telling something: the code collapses to the prior",
            source=f"{SOURCE}, at 1 and at 0.5",
            override=lower,
            helps="little enough for the code to be used",
        )
        row["advice"].append({"override": "recipe.free_bits=0.1", "why": "so much of each unit is for nothing"})
        yield row
    if largest >= WEIGHS and not hasattr(schedule, "cycles") and weight(config, "kl", LEARNS - 1) > 0.99 * final:
        ramp = shlex.quote(f"loss.kl={{from: 0.0, to: {largest:g}, epochs: {LEARNS}, start: 0}}")
        yield objection(
            "short_beta_warmup",
            "loss.kl",
            f"loss.kl is at {largest:g} before {LEARNS} epochs are over",
            why="the code is pressed before it has learnt to tell anything",
            source=SOURCE,
            override=ramp,
            helps="reconstruction comes first",
        )

"""What there is against settings of a training of flow without labels."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from recipes.parts.objection import objection, peak, weight

SOURCE = "the flow document"
SSIM, SMOOTH, CONSISTENCY, SEGMENT, JITTER, GRAYSCALE = 0.5, 0.25, 0.075, 0.2, 0.2, 0.1  # beyond these is objected to


def flow_objections(config: Any) -> Iterator[dict[str, Any]]:
    """Rows, as `recipes.parts.objection` makes them."""
    s, epochs = config.recipe, config.trainer.epochs
    if s.occlusion_from >= epochs:
        yield objection(
            "beyond_the_run",
            "recipe.occlusion_from",
            f"occlusion is looked for from epoch {s.occlusion_from:g} on, and the run has {epochs}",
            why="what the next frame does not show is matched to the end; it counts epochs, not steps",
            source="",
            override=f"recipe.occlusion_from={min(1, epochs - 1)}",
        )
    if s.pretrained is None:  # weights that know flow do not collapse
        yield from _photometric(config)
        yield from _held_weakly(config)
        yield from _segments_at_once(config)
        yield from _weak_augmentation(s)


def _photometric(config: Any) -> Iterator[dict[str, Any]]:
    """What compares the pictures."""
    epochs, share = config.trainer.epochs, config.recipe.alpha_ssim
    if peak(config, "photometric") and share < SSIM:
        yield objection(
            "little_ssim",
            "recipe.alpha_ssim",
            f"recipe.alpha_ssim is {share:g}: most of the photometric term is the difference of single pixels",
            why="noise and light move single pixels more than a wrong flow does",
            source=f"{SOURCE}, and ARFlow, 2020",
            override="recipe.alpha_ssim=0.85",
            helps="structure counts",
        )
    if peak(config, "photometric") and not peak(config, "census"):
        start, length = _third(epochs)
        falls = shlex.quote(f"loss.photometric={{from: 1.0, to: 0.0, epochs: {length:g}, start: {start:g}}}")
        rises = shlex.quote(f"loss.census={{from: 0.0, to: 1.0, epochs: {length:g}, start: {start:g}}}")
        yield objection(
            "no_census",
            "loss.census",
            "loss.census is 0 throughout: SSIM and pixel differences decide to the end",
            why="both see a change of light as motion, and plain fills as no motion",
            source=f"{SOURCE}, and DDFlow, 2019",
            override=f"{falls} {rises}",
            helps="SSIM finds the way, census the place",
        )


def _held_weakly(config: Any) -> Iterator[dict[str, Any]]:
    """What keeps a flow together."""
    for term, least, good, why in (
        ("smooth", SMOOTH, 0.5, "where pictures are plain any flow will do, and noise in it is not held back"),
        ("consistency", CONSISTENCY, 0.1, "ways there and back need not agree, so wrong matches cost nothing"),
    ):
        largest = peak(config, term)
        if largest < least:
            yield objection(
                "held_weakly",
                f"loss.{term}",
                f"loss.{term} is {largest:g}, for flow in px",
                why=why,
                source=SOURCE,
                override=f"loss.{term}={good:g}",
                helps="the weight that did not collapse",
            )


def _segments_at_once(config: Any) -> Iterator[dict[str, Any]]:
    """What asks for one motion of each segment."""
    pictures = weight(config, "photometric") + weight(config, "census")
    segment = weight(config, "segment")
    if segment > SEGMENT * pictures:
        start, length = _third(config.trainer.epochs)
        ramp = shlex.quote(f"loss.segment={{from: 0.0, to: 0.1, epochs: {length:g}, start: {start:g}}}")
        yield objection(
            "segments_at_once",
            "loss.segment",
            f"loss.segment is {segment:g} from the first step on, beside {pictures:g} for what the pictures show",
            why="no flow at all is one motion for each segment: the training falls to it and stays",
            source=SOURCE,
            override=ramp,
            helps="once there is a flow to be put in order",
        )


def _weak_augmentation(s: Any) -> Iterator[dict[str, Any]]:
    """What keeps a network from learning still patterns."""
    if s.jitter <= JITTER or s.grayscale <= GRAYSCALE:
        yield objection(
            "weak_augmentation",
            "recipe.jitter" if s.jitter <= JITTER else "recipe.grayscale",
            f"colours change little: recipe.jitter={s.jitter:g} recipe.hue={s.hue:g} recipe.grayscale={s.grayscale:g}",
            why="colours and textures are learnt by heart, where motion should be",
            source=SOURCE,
            override="recipe.jitter=0.4 recipe.hue=0.15 recipe.grayscale=0.2",
            helps="only motion stays the same",
        )


def _third(epochs: int) -> tuple[float, float]:
    """When a third of a run is over, and how long a change then takes: an eighth; in quarters of an epoch."""
    return round(4 * epochs / 3) / 4, max(round(epochs / 2) / 4, 0.25)

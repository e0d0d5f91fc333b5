"""What a review knows besides the settings: what the recipe says of itself, and what a cheap look has shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rate:
    """A learning rate that is known to be good.

    Attributes:
        highest: the rate.
        batch: the samples of a step that it is known at.
        source: who says so.
    """

    highest: float
    batch: int
    source: str


@dataclass(frozen=True)
class Traits:
    """What a recipe says of its task with the settings it has, in ``Recipe.traits()``. All of it may be left out.

    Attributes:
        transformer: whether the network is one; None: its layers tell.
        pretrained: whether training begins with weights that know something.
        rate: a rate that such a training is known to bear, for Adam and its kin.
        warmup: the share of a run that should be warm-up, and who says so.
        channels: for each loss term that is a **sum** over channels, how many; terms that are means are left out.
        divides: whether a folder that both ``data.train`` and ``data.val`` name is divided between them.
        dense: whether a sample has many answers, as a picture with one for each pixel has.
        score: the metric that says best how good a model is, and ``min`` or ``max``.
        metrics: the names of all that an evaluation gives, without ``val/``; of ``ap/disc`` the first part alone.
    """

    transformer: bool | None = None
    pretrained: bool = False
    rate: Rate | None = None
    warmup: tuple[float, str] | None = None
    channels: Mapping[str, int] = field(default_factory=dict)
    divides: bool = False
    dense: bool = False
    score: tuple[str, str] | None = None
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What was seen of data, model and machine. None is not known, and rules that need it are silent.

    Attributes:
        train_samples, val_samples: how many there are.
        parameters: of the model that are trained.
        shared: recordings, slides, scenes or files that are in both.
        shuffled: whether the validation data comes in a random order.
        attention: whether a layer of the model is one of attention.
        checkpoint_bytes: what one checkpoint will take.
        free_bytes: what the disk has left for the run.
        cores: of this machine.
        unknown: what could not be looked at, and why, in words.
    """

    train_samples: int | None = None
    val_samples: int | None = None
    parameters: int | None = None
    shared: tuple[str, ...] = ()
    shuffled: bool = False
    attention: bool = False
    checkpoint_bytes: int | None = None
    free_bytes: int | None = None
    cores: int | None = None
    unknown: tuple[str, ...] = ()

"""Which of somebody else's numbers is which of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

BATCH, EPOCH, VAL = "train/batch_loss", "train/epoch_avg_loss", "val/loss"
NORM, RATE = "train/gradient_norm", "train/learning_rate"
PLACE = ("time", "iteration", "epoch")

_OURS = re.compile(
    r"train/(batch_loss|epoch_avg_loss|gradient_norm|learning_rate|loss/.+|update_ratio|epoch)|val/.+|baseline/.+"
)
# By ours theirs, the most telling first; as `plain` has them.
_KNOWN = {
    EPOCH: """train_loss_epoch epoch_train_loss epoch_loss avg_train_loss train_epoch_loss train_avg_loss
        train_loss_avg""",
    BATCH: """train_loss_step loss_step batch_loss train_batch_loss step_loss train_step_loss train_loss loss
        training_loss loss_train train_loss_total train_total_loss total_loss""",
    VAL: """val_loss valid_loss validation_loss eval_loss dev_loss val_loss_epoch valid_loss_epoch epoch_val_loss
        loss_val loss_valid loss_validation avg_val_loss val_total_loss""",
    NORM: """grad_norm gradient_norm train_grad_norm train_gradient_norm total_grad_norm grad_norm_total gnorm
        grad_2_0_norm_total grad_2_norm_total""",
    RATE: "lr learning_rate train_lr train_learning_rate",
}
_BY_NAME = {name: (ours, place) for ours, names in _KNOWN.items() for place, name in enumerate(names.split())}
# Of a loss that does not say whether it is one batch's or an epoch's mean.
AMBIGUOUS = frozenset(
    ["train_loss", "loss", "training_loss", "loss_train", "train_loss_total", "train_total_loss", "total_loss"]
)
_EVALUATED = re.compile(r"(?:val|valid|validation|eval|dev)[_/. -]+(.+)")
_SPEED = re.compile(r"(runtime|(samples|steps)_per_second|jit_compilation_time|model_preparation_time)$")


def plain(name: str) -> str:
    """A name without what people write differently.

    >>> plain("Loss/Train"), plain("grad_2.0_norm_total"), plain("lr-AdamW")
    ('loss_train', 'grad_2_0_norm_total', 'lr_adamw')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


class Names:
    """Turns a log's names into ours.

    Each of ours is given to one of theirs: to what `given` says, else to the one whose name is the most telling.

    Args:
        given: ours by theirs, said by a person.
        by_epochs: the log has a row an epoch, so that a training loss is an epoch's mean.
        passed_over: names that mean something else in this kind of log.

    >>> names = Names()
    >>> _ = names.learn(["train_loss_step", "train_loss_epoch", "val_loss", "val_acc", "lr-AdamW", "other"])
    >>> for theirs, ours in names.ours.items():
    ...     print(theirs, "=", ours)
    train_loss_step = train/batch_loss
    train_loss_epoch = train/epoch_avg_loss
    val_loss = val/loss
    val_acc = val/acc
    lr-AdamW = train/learning_rate
    """

    def __init__(self, given: Mapping[str, str] | None = None, *, by_epochs: bool = False, passed_over: str = ""):
        self.given = dict(given or {})
        self.ours: dict[str, str] = {}
        self.seen: dict[str, None] = {}
        self._by_epochs, self._passed_over = by_epochs, frozenset(passed_over.split())
        self._places: dict[str, int] = {}

    def learn(self, names: list[str], *, of_epochs: frozenset[str] = frozenset()) -> bool:
        """Find out what further names mean. Whether one of ours has gone to another of theirs than before.

        Args:
            names: theirs.
            of_epochs: those of them that have come once an epoch.
        """
        moved = False
        for name in names:
            if name in self.seen or name in PLACE:
                continue
            self.seen[name] = None
            ours, place = self._meant(name, name in of_epochs)
            if not ours or name in self._passed_over:
                continue
            holder = next((theirs for theirs, known in self.ours.items() if known == ours), None)
            if holder is not None:
                if self._places[holder] <= place:
                    continue
                del self.ours[holder]
                moved = True
            self.ours[name], self._places[name] = ours, place
        return moved

    def _meant(self, name: str, of_epochs: bool) -> tuple[str, int]:
        """Ours, and how far from the most telling name theirs is; empty where it is none of ours."""
        if name in self.given:
            return self.given[name], -1
        if _OURS.fullmatch(name):
            return name, 0
        short = plain(name)
        if short in _BY_NAME:
            ours, place = _BY_NAME[short]
            if ours == BATCH and short in AMBIGUOUS and (self._by_epochs or of_epochs):
                ours = EPOCH
            return ours, place + 1
        if short.startswith("lr_"):
            return RATE, 100
        evaluated = _EVALUATED.fullmatch(name.lower())
        if evaluated and not _SPEED.search(short):
            return f"val/{evaluated[1]}", 1
        return "", 0

    def name(self, theirs: str) -> str:
        """What a number is called here."""
        ours = self.ours.get(theirs)
        if ours is None and theirs in self.ours.values():  # somebody has said that another one is it
            return f"{theirs} (theirs)"
        return ours or theirs

    def notes(self) -> list[str]:
        """What was taken for what, and what was asked for and is not there."""
        told = [f"{theirs} = {ours}" for theirs, ours in self.ours.items() if theirs != ours]
        notes = [f"taken for: {', '.join(told)}"] if told else []
        missing = [theirs for theirs in self.given if theirs not in self.seen]
        if missing:
            there = ", ".join(list(self.seen)[:20]) or "nothing yet"
            notes.append(f"--map: no {', '.join(map(repr, missing))} in the log; it has {there}")
        return notes

"""Samples that a run goes on without, since they cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from ignition import distributed
from ignition.data.bad_sample import BadSample, Failure

log = logging.getLogger(__name__)

LIMIT = 0.1  # of a split; with more of it bad the data is broken, or the path to it, and not single samples


class SkippedSamples:
    """Which samples of a split could not be read. Each is named once, in a warning.

    Args:
        split: what messages call the data.
        length: number of its samples.
        replace: another sample comes in the place of each, as training needs it: batches keep their sizes. Otherwise
            it is left out, so that an evaluation counts no sample twice.

    Attributes:
        known: those found so far; on all processes once `share` was called.
        passed: those met in this pass over the data, by this process.

    >>> skipped = SkippedSamples("val", 30, replace=False)
    >>> skipped.note([Failure("sample 3 of the val data: 3.png is truncated", "", index=3)])
    >>> skipped.share(), skipped.counts()
    (1, (29, 1))
    """

    def __init__(self, split: str, length: int, *, replace: bool):
        self.split, self.length, self.replace = split, length, replace
        self.known: set[int] = set()
        self.passed: set[int] = set()

    def begin(self) -> None:
        """Another pass over the data begins."""
        self.passed = set()

    def note(self, failures: Iterable[Failure]) -> None:
        """These samples could not be read.

        Raises:
            BadSample: they are too many. Of several processes none says so here: the others would wait for it.
        """
        for failure in failures:
            self.passed.add(failure.index)
            if failure.index not in self.known:
                self.known.add(failure.index)
                done = "another one comes in its place" if self.replace else "it is left out"
                log.warning("%s; %s", failure.message, done)
                if distributed.world_size() == 1:
                    self.judge()

    def share(self) -> int:
        """How many samples are known not to be readable, to any process. All of them call it."""
        self.known.update(*distributed.gather(sorted(self.known)))
        return len(self.known)

    def counts(self) -> tuple[int, int]:
        """How many samples of this pass were read, and how many were left out, over all processes. All call it."""
        skipped = int(distributed.total(float(len(self.passed))))
        return self.length - skipped, skipped

    def judge(self) -> None:
        """Whether to go on, the same on all processes after `share`.

        Raises:
            BadSample: more than a tenth of the split is known to be bad.
        """
        bad = len(self.known)
        if bad > LIMIT * self.length:
            raise BadSample(
                f"{bad} of the {self.length} samples of the {self.split} data cannot be read, more than a tenth (the "
                "warnings name them): see whether the data is whole and the disk is there, or take them out of it",
                everywhere=True,
            )

    def state_dict(self) -> dict[str, list[int]]:
        """Those known, the same on all processes, which all have to ask."""
        self.share()
        return {"known": sorted(self.known)}

    def load_state_dict(self, state: Mapping[str, Iterable[int]]) -> None:
        """Go on counting; what was named is not named again."""
        self.known = {index for index in state["known"] if index < self.length}

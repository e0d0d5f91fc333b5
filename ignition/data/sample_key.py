"""What a loader asks a dataset for."""

from __future__ import annotations

from typing import NamedTuple


class SampleKey(NamedTuple):
    """The sample ``index`` as it looks in ``epoch``; ``avoid`` are those that may not come in its place."""

    epoch: int
    index: int  # type: ignore[assignment]  # tuple.index, which nobody needs here
    avoid: frozenset[int] = frozenset()

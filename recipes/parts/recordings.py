"""Which samples train and which validate, where neighbouring frames look alike."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from recipes.parts.data_error import DataError

SPLITS = ("train", "val", "all")


def split_by_recording(recordings: Sequence[str], split: str, *, val_share: float = 0.2) -> list[int]:
    """The indices of the samples of ``split``, where sample i is of ``recordings[i]``.

    Frames of one recording show the same room, so a recording goes to ``train`` or to ``val`` as a whole: a net would
    otherwise be validated on pictures it has all but seen. Recordings are ranked by a hash of their names and the first
    ``val_share`` of them, at least one, validate; so a split is the same on every machine and for any order of samples.

    Args:
        split: ``train``, ``val``, or ``all`` for every sample.
        val_share: of the recordings, between 0 and 1.

    Raises:
        DataError: there is one recording only, which cannot be split.

    >>> split_by_recording(["kitchen", "kitchen", "stairs", "street"], "val", val_share=0.3)
    [3]
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it can be " + ", ".join(map(repr, SPLITS)))
    if not 0 < val_share < 1:
        raise ValueError(f"val_share is {val_share}; it must be between 0 and 1")
    if split == "all":
        return list(range(len(recordings)))
    names = sorted(set(recordings), key=lambda name: (blake2b(name.encode(), digest_size=8).digest(), name))
    if len(names) < 2:
        raise DataError(
            f"only one recording ({', '.join(names) or 'none'}), and neighbouring frames must not be split between "
            "train and val. Record a second one, or use split 'all' of this one and another folder for validation."
        )
    held_out = set(names[: min(max(round(val_share * len(names)), 1), len(names) - 1)])
    return [index for index, name in enumerate(recordings) if (name in held_out) == (split == "val")]

"""The error of a data set that cannot be used as it lies on disk."""

from __future__ import annotations


class DataError(ValueError):
    """A data set, or a file of it, cannot be used; the message says which, why, and what to do."""

"""A sample that cannot be read: as an exception, and on its way out of a loader worker."""

from __future__ import annotations

from dataclasses import dataclass


class BadSample(RuntimeError):
    """A sample could not be read or batched; says which one of which split.

    Attributes:
        details: the traceback.
        everywhere: all processes of the run raise it at the same place, and not one alone.
    """

    def __init__(self, message: str, details: str = "", *, everywhere: bool = False):
        super().__init__(message)
        self.details, self.everywhere = details, everywhere


@dataclass(frozen=True)
class Failure:
    """A `BadSample` in a loader worker: exceptions lose their text on the way out of there, values do not.

    Attributes:
        index: of the sample; -1 if it is the fault of none alone.
        unreadable: it is the data's fault, `ValueError` or `OSError`; any other error is a mistake in the code.
    """

    message: str
    details: str
    index: int = -1
    unreadable: bool = False

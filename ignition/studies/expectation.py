"""What is expected of a figure, in a few words: ``below 0.05 and below half of before``."""

from __future__ import annotations

import re
from dataclasses import dataclass

GRAMMAR = """\
an expectation is one or more of these, joined by 'and':
  below LIMIT          above LIMIT          between NUMBER and NUMBER
where LIMIT is a number, a variant (or 'trivial': the trivial predictor's score), or a share of one:
  0.05        before        half of before        twice before        0.9 of before        90 % of trivial"""

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
TRIVIAL = "trivial"


class BadExpectation(ValueError):
    """A text that is no expectation; says what is wrong, and the grammar."""


@dataclass(frozen=True)
class Clause:
    """A limit that a figure has to be below or above.

    Attributes:
        below: whether the figure has to be lower than the limit.
        factor: the limit, or the share of ``of`` that is the limit.
        of: the variant that the limit is taken from, ``trivial``, or empty for a plain number.
    """

    below: bool
    factor: float
    of: str = ""

    def __str__(self) -> str:
        side = "below" if self.below else "above"
        if not self.of:
            return f"{side} {self.factor:g}"
        if self.factor == 1:
            return f"{side} {self.of}"
        return f"{side} {self.factor:g} of {self.of}"


def parse(text: str, variants: list[str]) -> list[Clause]:
    """The clauses of an expectation; all of them have to hold.

    >>> print(*parse("below 0.05 and below half of before", ["before", "after"]), sep="; ")
    below 0.05; below 0.5 of before
    >>> print(*parse("between 0.5 and 1.0", []), sep="; ")
    above 0.5; below 1

    Raises:
        BadExpectation: what is wrong, and the grammar.
    """
    clauses: list[Clause] = []
    rest = " ".join(text.split())
    while rest:
        between = re.match(rf"between ({NUMBER}) and ({NUMBER})(?= and |$)", rest)
        if between:
            low, high = float(between[1]), float(between[2])
            if low >= high:
                raise BadExpectation(f"between {low:g} and {high:g} lies nothing; the smaller number comes first")
            clauses += [Clause(False, low), Clause(True, high)]
            rest = rest[between.end() :]
        else:
            phrase, joined, after = rest.partition(" and ")
            clauses.append(_clause(phrase, variants))
            rest = joined + after
        rest = rest.removeprefix(" and ")
    if not clauses:
        raise _bad("it is empty")
    return clauses


def _clause(phrase: str, variants: list[str]) -> Clause:
    side, space, limit = phrase.partition(" ")
    if side not in ("below", "above") or not space:
        raise _bad(f"'{phrase}' begins with neither 'below' nor 'above'")
    if re.fullmatch(NUMBER, limit):
        return Clause(side == "below", float(limit))
    factor, name = _share(limit)
    if name not in (*variants, TRIVIAL):
        known = ", ".join([*variants, TRIVIAL])
        raise _bad(f"'{limit}' is neither a number nor a share of a variant (variants: {known})")
    return Clause(side == "below", factor, name)


def _share(limit: str) -> tuple[float, str]:
    """``half of before`` as 0.5 and ``before``; what is none as 1 and the words themselves."""
    if limit.startswith("half of "):
        return 0.5, limit.removeprefix("half of ")
    if limit.startswith("twice "):
        return 2.0, limit.removeprefix("twice ")
    share = re.fullmatch(rf"({NUMBER})( ?%)? of (.+)", limit)
    if share:
        return float(share[1]) / (100 if share[2] else 1), share[3]
    return 1.0, limit


def _bad(what: str) -> BadExpectation:
    return BadExpectation(f"{what}; {GRAMMAR}")

"""The first thing in which two runs differ, and why that is likely."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ignition.rundir import OF_THE_MACHINE, RunFolder

Row = dict[str, Any]

# In a checkpoint: how long a run has been at work, whether it waits for data, and how many such findings there were.
_OF_THE_CLOCK = re.compile(r"\.seconds$|\.data_wait\.|^stability\.(findings|pending|doctor\.told)\b")

# Within an iteration in the order of cause and effect.
KINDS = ("samples", "batch", "augmented", "row", "weights", "optimizer", "average", "generators", "evaluation", "saved")

_AFTER_A_RESUME = {
    "samples": "the dataset has another length in another process, or the recipe changes the sampler",
    "batch": "the dataset keeps something from one sample to the next (a counter, a generator of its own, a cache that "
    "is changed): what dataset[index] gives may depend on index and on the random numbers of torch, numpy and random "
    "alone, which are seeded for each sample",
    "augmented": "the augmentation keeps something from one batch to the next, a generator of its own for instance: "
    "let it draw from torch's",
    "row": "the model or the losses keep something that no checkpoint has (an attribute, a counter, a generator of "
    "its own): make it a buffer of the model",
    "weights": "a buffer with persistent=False, which no checkpoint has; or the optimizer or a handler keeps something "
    "that its state_dict does not give",
    "optimizer": "the optimizer keeps something that its state_dict does not give",
    "average": "something changes the averaged weights and is not saved",
    "generators": "the recipe draws from this generator a number of times that depends on what came before",
    "evaluation": "metrics or predict keep something from one evaluation to the next",
    "saved": "this object gives back another state than it was given",
}
_OF_ITSELF = {
    "samples": "the dataset has another length each time",
    "batch": "the dataset draws from a generator that nobody seeds (numpy.random.default_rng(), random.Random(), "
    "os.urandom), or depends on an order that changes from process to process (os.listdir or glob without sorted(), a "
    "set), or on the time",
    "augmented": "the augmentation draws from a generator that nobody seeds: let it draw from torch's",
    "row": "the model is made, or the forward pass done, with random numbers that nobody seeds, or an operation in it "
    "does not give the same bits twice on this device (torch.use_deterministic_algorithms(True) names it)",
    "weights": "the backward pass has an operation that does not give the same bits twice on this device "
    "(torch.use_deterministic_algorithms(True) names it), or a buffer is not seeded",
    "optimizer": "the step does not give the same bits twice on this device",
    "average": "the averaged weights are made with random numbers that nobody seeds",
    "generators": "something draws from this generator a number of times that changes from process to process",
    "evaluation": "predict or the metrics draw random numbers that nobody seeds, or do not give the same bits twice",
    "saved": "this object's state depends on the time, or on random numbers that nobody seeds",
}


@dataclass(frozen=True)
class Difference:
    """Where two runs differ first.

    Attributes:
        iteration: in which; None for what is compared at the end alone.
        kind: one of `KINDS`.
        what: which sample, tensor, or key of which row, in words.
    """

    iteration: int | None
    kind: str
    what: str

    def place(self) -> str:
        """When, and what."""
        when = f"iteration {self.iteration}: " if self.iteration is not None else "at the end: "
        return when + self.what

    def reason(self, *, of_itself: bool) -> str:
        """The likely reason; ``of_itself`` if two runs that nobody interrupted differ."""
        return (_OF_ITSELF if of_itself else _AFTER_A_RESUME)[self.kind]


def read_notes(folder: Path) -> list[list[Row]]:
    """The notes of each process of a run, those of the first process first; a torn line of a killed one is left out."""
    notes = []
    for path in sorted(folder.glob("notes-*.jsonl"), key=lambda path: int(path.stem.rpartition("-")[2])):
        rows = []
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        notes.append(rows)
    return notes


def first_difference(one: Sequence[Sequence[Row]], other: Sequence[Sequence[Row]], *runs: RunFolder) -> (
    Difference | None
):  # fmt: skip
    """The first thing that is not in ``other`` as it is in ``one``: in the iterations that both have noted, and then
    in the rows of both ``runs``, where these are given."""
    found = [
        difference for mine, others in zip(one, other) for difference in itertools.islice(_in_notes(mine, others), 1)
    ]
    if runs:
        found += itertools.islice(_in_rows(*runs), 1)
    found.sort(key=lambda it: (it.iteration if it.iteration is not None else float("inf"), KINDS.index(it.kind)))
    return found[0] if found else None


def _in_notes(mine: Sequence[Row], others: Sequence[Row]) -> Iterator[Difference]:
    known = {row["iteration"]: row for row in mine if "iteration" in row}
    for row in others:
        if row.get("iteration") in known:
            yield from _in_iteration(known[row["iteration"]], row)
    saved = [next((row["saved"] for row in rows if "saved" in row), None) for rows in (mine, others)]
    if saved[0] is not None and saved[1] is not None:
        for place in _unequal(timeless_state(saved[0]), timeless_state(saved[1])):
            yield Difference(None, "saved", f"{place} in the checkpoint")


def _in_iteration(mine: Row, other: Row) -> Iterator[Difference]:
    iteration, samples = mine["iteration"], mine["samples"]
    for place, (index, instead) in enumerate(itertools.zip_longest(samples, other["samples"])):
        if index != instead:
            what = f"sample {index} is number {place + 1} of the batch in the one, sample {instead} in the other"
            yield Difference(iteration, "samples", what)
    for kind, words in (("batch", "of the batch"), ("augmented", "of the batch as augmented")):
        for entry in _unequal(mine.get(kind, {}), other.get(kind, {})):
            digests = mine[kind].get(entry, []), other[kind].get(entry, [])
            places = [place for place, pair in enumerate(itertools.zip_longest(*digests)) if pair[0] != pair[1]]
            which = f", sample {samples[places[0]]}" if len(digests[0]) == len(samples) else ""
            yield Difference(iteration, kind, f"{entry!r} {words}{which}")
    for kind, words in (("weights", "{}"), ("optimizer", "{}, in the optimizer"), ("average", "{}, averaged"),
                        ("generators", "the generator {}")):  # fmt: skip
        for name in _unequal(mine[kind], other[kind]):
            yield Difference(iteration, kind, words.format(name))


def _in_rows(one: RunFolder, other: RunFolder) -> Iterator[Difference]:
    """In the files of rows, each from its first row."""
    for name, mine, others in (
        ("metrics.jsonl", one.read_metrics(), other.read_metrics()),
        ("measurements.jsonl", one.measurements.read(), other.measurements.read()),
        ("incidents.jsonl", one.incidents.read(), other.incidents.read()),
    ):
        for left, right in itertools.zip_longest(timeless(mine), timeless(others)):
            row = left or right
            iteration = row.get("iteration")
            of_training = any(key.startswith("train/") for key in row)
            kind = "row" if of_training or name != "metrics.jsonl" else "evaluation"
            if left is None or right is None:
                keys = ", ".join(itertools.islice((key for key in row if key not in ("iteration", "epoch")), 2))
                yield Difference(iteration, kind, f"a row of {name} ({keys}, ...) is in one run alone")
                continue
            for key in _unequal(left, right):
                what = f"{key} in {name} is {left.get(key)!r} in the one, {right.get(key)!r} in the other"
                yield Difference(iteration, kind, what)


def timeless(rows: Sequence[Row]) -> list[Row]:
    """Rows without what says how fast the run was, or whether it waits for data; those that say nothing else go."""
    rows = [row for row in rows if "data_wait" not in (row.get("name"), row.get("subject"))]
    kept = ({key: value for key, value in row.items() if key not in OF_THE_MACHINE} for row in rows)
    return [row for row in kept if row.keys() - {"iteration", "epoch"}]


def timeless_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint has in each place, without what goes by the clock.

    >>> timeless_state({"model.weight": 1, "job_hours.seconds": 7, "stability.doctor.detectors.data_wait.times": 3})
    {'model.weight': 1}
    """
    return {place: value for place, value in state.items() if not _OF_THE_CLOCK.search(place)}


def _unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """The keys, in order, under which both do not have the same."""
    for key in (*one, *(key for key in other if key not in one)):
        if key not in one or key not in other or _plain(one[key]) != _plain(other[key]):
            yield key


def _plain(value: Any) -> Any:
    """As text, since NaN is not equal to itself."""
    return json.dumps(value, sort_keys=True)

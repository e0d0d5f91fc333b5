"""What a run has written down."""

import json
from pathlib import Path


def rows(run):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def values(run, name):
    """The values of one column, where a row has it."""
    return [row[name] for row in rows(run) if name in row]

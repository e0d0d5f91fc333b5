"""Findings that come again and again as one, the worst first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ignition.monitor.incidents import SEVERITIES, Incident


@dataclass
class Group:
    """The findings of one name and subject.

    Attributes:
        incidents: the oldest first.
        ended: the iteration by which it had ended; None where it has not, or nobody says.
    """

    incidents: list[Incident] = field(default_factory=list)
    ended: int | None = None

    @property
    def newest(self) -> Incident:
        """The one that is told."""
        return self.incidents[-1]

    @property
    def severity(self) -> str:
        """The worst of them."""
        return min((each.severity for each in self.incidents), key=SEVERITIES.index)

    @property
    def done(self) -> list[str]:
        """What was done about them, each once."""
        return list(dict.fromkeys(each.done for each in self.incidents if each.done))


def grouped(incidents: Iterable[Incident]) -> list[Group]:
    """The worst first, and of equals the newest. That one has ended is told with it, and is no finding of its own.

    >>> spikes = [Incident(i, i, 0.0, "loss_spike", "warning", "") for i in (5, 9)]
    >>> group, = grouped([*spikes, Incident(12, 12, 0.0, "recovered", "info", "", "loss_spike")])
    >>> len(group.incidents), group.newest.iteration, group.ended
    (2, 9, 12)
    """
    groups: dict[tuple[str, str], Group] = {}
    for incident in incidents:
        if incident.name == "recovered":
            for (name, _), group in groups.items():
                if name == incident.subject:
                    group.ended = incident.iteration
            continue
        group = groups.setdefault((incident.name, incident.subject), Group())
        group.incidents.append(incident)
        group.ended = None
    return sorted(groups.values(), key=lambda group: (SEVERITIES.index(group.severity), -group.newest.iteration))


def counted(groups: Iterable[Group]) -> dict[str, int]:
    """How many there are of each severity."""
    counts = dict.fromkeys(SEVERITIES, 0)
    for group in groups:
        counts[group.severity] += 1
    return counts

"""Follows runs by their files, dead or alive. Needs no torch, and never writes into a run."""

from ignition.monitor.curves import Curves, Point
from ignition.monitor.incidents import Incident
from ignition.monitor.objections import Objection
from ignition.monitor.run import Run
from ignition.monitor.runs import NoRun, open_run
from ignition.monitor.state import State
from ignition.monitor.watched import Watched

__all__ = ["Curves", "Incident", "NoRun", "Objection", "Point", "Run", "State", "Watched", "open_run"]

"""Typed settings from YAML files and overrides: `load_config` gives a `Config` or all problems at once."""

from ignition.config.loading import load_config
from ignition.config.places import Places
from ignition.config.problems import ConfigError, Place, Problem
from ignition.config.section import BelongsTo, Section, Whole
from ignition.config.sections import SNAPSHOTS, Config
from ignition.config.value_schedule import Cycles, Fixed, Ramp, Switch, ValueSchedule

__all__ = [
    "SNAPSHOTS",
    "BelongsTo",
    "Config",
    "ConfigError",
    "Cycles",
    "Fixed",
    "Place",
    "Places",
    "Problem",
    "Ramp",
    "Section",
    "Switch",
    "ValueSchedule",
    "Whole",
    "load_config",
]

"""Reviews of settings alone, as small as they can be."""

import shlex

from ignition.config import Places, load_config
from ignition.review import Facts, Plan, Traits, review


def objections(*settings, file=None, traits=None, facts=None):
    """What there is against these settings over those of a file, or over the defaults."""
    plan = Plan(load_config(file, overrides=settings), traits or Traits(), facts or Facts())
    return review(plan, place=Places(file, settings).of)


def names(*settings, **known):
    return [objection.name for objection in objections(*settings, **known)]


def ends(objection, folder, *settings, **known):
    """Whether each remedy of an objection, pasted behind a config of these settings, ends it; and there is one."""
    file = folder / "config.yaml"
    file.write_text(load_config(None, overrides=settings).to_yaml())
    remedies = [shlex.split(advice.override) for advice in objection.advice if advice.override]
    left = [other for remedy in remedies for other in objections(*remedy, file=file, **known)]
    return bool(remedies) and all((other.name, other.key) != (objection.name, objection.key) for other in left)

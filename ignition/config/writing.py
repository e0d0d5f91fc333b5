"""Plain values written as YAML that readers of YAML 1.1 and of YAML 1.2 take alike."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ignition.config.scalars import BOOLEAN, FLOAT, INTEGER, NULL

BREAKS = re.compile("[\n\r\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    """Quotes text that either version would take for something else; writes 1e-05 as 1.0e-05."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)


def _list(dumper: _Dumper, items: list[Any]) -> yaml.Node:
    """A list of scalars on one line, others an item a line."""
    on_one_line = not any(isinstance(item, (list, dict)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=on_one_line)


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    """Text of several lines with its breaks escaped: unescaped, some of the rarer ones would be read as spaces."""
    style = '"' if BREAKS.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _text)
for _kind, _words in (("null", NULL), ("bool", BOOLEAN), ("int", INTEGER), ("float", FLOAT)):
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_words.pattern})\Z"), None)


def to_yaml(value: Any) -> str:
    """``value`` (dicts with text keys, lists, text, finite numbers, booleans, None) as YAML text.

    >>> print(to_yaml({"optimizer": {"lr": 1e-05, "betas": [0.9, 0.999]}, "amp": "off"}), end="")
    optimizer:
      lr: 1.0e-05
      betas: [0.9, 0.999]
    amp: 'off'
    """
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text

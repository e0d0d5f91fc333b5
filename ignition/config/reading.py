"""YAML files read strictly: every value knows its line, and nothing is guessed, overwritten or run."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import yaml

from ignition.config.node import Node
from ignition.config.problems import Place, Problem
from ignition.config.scalars import read_scalar

NODE_BUDGET = 10_000  # nodes after the expansion of aliases; a large config has some hundreds
LARGEST_FILE = 1_000_000  # bytes
DEEPEST = 50  # levels


@dataclass
class Document:
    """A file's content with the problems met; not ``whole`` where reading had to end early."""

    root: Node
    problems: list[Problem] = field(default_factory=list)
    whole: bool = True


def read_file(path: str | os.PathLike[str]) -> Document:
    """Read a YAML file whose top level is a mapping. An empty file is an empty mapping.

    What cannot be read comes back as problems, never as an exception.
    """
    file = os.fspath(path)
    start = Place(file)
    try:
        with open(file, "rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        return _unread(start, "no such config file")
    except IsADirectoryError:
        return _unread(start, "this is a folder; a config is a YAML file")
    except (OSError, ValueError) as error:
        return _unread(start, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if len(data) > LARGEST_FILE:
        return _unread(start, f"larger than {LARGEST_FILE:,} bytes; this is no config")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before) - before.rfind(b"\n")
        return _unread(Place(file, before.count(b"\n") + 1, column), "not UTF-8 text; save the file as UTF-8")
    document = _read(text, file)
    if document.whole and not document.root.is_mapping:
        if document.root.value is None:
            return Document(Node({}, start), document.problems)
        return _unread(document.root.place, "expected lines of 'key: value' at the top level")
    return document


def read_value(text: str, place: Place) -> Document:
    """Read the value of an override: a flow list or mapping, quoted text, or one plain word or sentence.

    Every node in it stands at ``place``.
    """
    if text.startswith(("{", "[", '"', "'")):
        document = _read(text, place.file)
        problems = [Problem.at(place, problem.message) for problem in document.problems]
        return Document(_moved(document.root, place), problems, document.whole)
    reader = _NodeReader(place.file)
    value = reader.scalar(text, place)
    return Document(Node(value, place), reader.problems, whole=not reader.problems)


def _read(text: str, file: str) -> Document:
    reader = _NodeReader(file)
    try:
        loader = _Loader(text, reader)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        root = Node(None, Place(file, 1, 1)) if node is None else reader.node(node, _place(file, node.start_mark))
    except _Refused as refusal:
        place, message = refusal.args
        return _unread(place, message, problems=reader.problems)
    except yaml.YAMLError as error:
        place, message = _syntax_error(error, text, file)
        return _unread(place, message, problems=reader.problems)
    except RecursionError:
        return _unread(Place(file), "nested too deeply; this is no config")
    return Document(root, reader.problems)


class _Refused(Exception):
    """Reading cannot go on: place and message."""


class _Loader(yaml.SafeLoader):
    """PyYAML's scanner and parser, with nothing resolved, and tags and oversized documents refused."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def __init__(self, text: str, reader: _NodeReader):
        super().__init__(text)
        self.reader, self.composed = reader, 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        place = _place(self.reader.file, event.start_mark)
        self.composed += 1
        if self.composed > NODE_BUDGET:
            raise _Refused(place, f"more than {NODE_BUDGET:,} values; this is no config")
        tag = getattr(event, "tag", None)
        if tag is not None:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self.reader.complain(place, f"tag {shown!r} is refused: a config holds plain values only")
        return super().compose_node(parent, index)


class _NodeReader:
    """Turns PyYAML's nodes into ours, with the problems on the way."""

    def __init__(self, file: str):
        self.file = file
        self.problems: list[Problem] = []
        self.count = 0
        self.open: set[int] = set()  # the nodes that the present one stands in

    def complain(self, place: Place, message: str) -> None:
        self.problems.append(Problem.at(place, message))

    def node(self, node: Any, place: Place) -> Node:
        """Our node of PyYAML's ``node``, whose key stands at ``place``."""
        self.count += 1
        if self.count > NODE_BUDGET:
            raise _Refused(place, f"more than {NODE_BUDGET:,} values once its aliases are written out")
        if isinstance(node, yaml.ScalarNode):
            # an explicit tag was complained of; what it stands before is text
            plain = node.style is None and not node.tag.startswith("!")
            return Node(self.scalar(node.value, place) if plain else self.text(node.value, place), place)
        if id(node) in self.open:
            raise _Refused(place, "an alias that contains itself")
        if len(self.open) > DEEPEST:
            raise _Refused(place, f"nested more than {DEEPEST} levels deep; this is no config")
        self.open.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            value: Any = [self.node(item, _place(self.file, item.start_mark)) for item in node.value]
        else:
            value = self.mapping(node)
        self.open.discard(id(node))
        return Node(value, place)

    def mapping(self, node: Any) -> dict[str, Node]:
        """A mapping's nodes by key; keys are text, as written."""
        found: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = _place(self.file, key_node.start_mark)
            value = self.node(value_node, place)
            if not isinstance(key_node, yaml.ScalarNode):
                self.complain(place, "a key must be a word, not a list or a mapping")
                continue
            key = self.text(key_node.value, place)
            if key == "<<" and key_node.style is None:
                self.complain(place, "merge key '<<' is refused; to inherit from another config write 'base: FILE'")
            elif key in found:
                first = found[key].place
                self.complain(place, f"duplicate key '{key}', first given in line {first.line}, again in {place.line}")
            else:
                found[key] = value
        return found

    def scalar(self, text: str, place: Place) -> Any:
        """The value of an unquoted word."""
        try:
            value = read_scalar(text)
        except ValueError as error:
            self.complain(place, str(error))
            return 0
        return self.text(value, place) if isinstance(value, str) else value

    def text(self, text: str, place: Place) -> str:
        """Text, which must be made of characters: escapes can spell halves of some."""
        if any("\ud800" <= character <= "\udfff" for character in text):
            self.complain(place, f"{text!a} is not text: it holds half a character")
            return ""
        return text


def _unread(place: Place, message: str, problems: list[Problem] | None = None) -> Document:
    return Document(Node({}, Place(place.file)), [*(problems or []), Problem.at(place, message)], whole=False)


def _place(file: str, mark: Any) -> Place:
    return Place(file, mark.line + 1, mark.column + 1)


def _moved(node: Node, place: Place) -> Node:
    if isinstance(node.value, dict):
        return Node({key: _moved(child, place) for key, child in node.value.items()}, place)
    if isinstance(node.value, list):
        return Node([_moved(child, place) for child in node.value], place)
    return Node(node.value, place)


def _syntax_error(error: yaml.YAMLError, text: str, file: str) -> tuple[Place, str]:
    """Where PyYAML gave up, and why, in words."""
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        column = len(before) - before.rfind("\n")
        place = Place(file, before.count("\n") + 1, column)
        return place, f"character {chr(error.character)!r} is not allowed in YAML"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Place(file), f"not valid YAML: {error}"
    place = _place(file, mark)
    problem = str(getattr(error, "problem", None) or getattr(error, "context", None) or "cannot be parsed")
    if "'\\t'" in problem:
        return place, "a tab; YAML is indented with spaces"
    if "found another document" in problem:
        return place, "a second document ('---') begins here; a config is one document"
    problem = problem.replace("'<stream end>'", "the end").replace("'<block end>'", "less indentation")
    started = getattr(error, "context_mark", None)
    if error.context and started is not None and started.line != mark.line:  # type: ignore[attr-defined]
        problem += f" ({error.context}, which begins in line {started.line + 1})"  # type: ignore[attr-defined]
    return place, f"not valid YAML: {problem}"

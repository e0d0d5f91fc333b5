"""Each trap of YAML, once: what is read, or the one line that says what is wrong."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ignition.config.problems import Place
from ignition.config.reading import DEEPEST, LARGEST_FILE, NODE_BUDGET, read_file, read_value
from ignition.config.writing import to_yaml


@pytest.fixture
def read(tmp_path):
    """Read a text as a file; gives the document and its problems without the folder's name."""

    def read(text):
        path = tmp_path / "a.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        document = read_file(path)
        return document, [str(problem).removeprefix(f"{tmp_path}/") for problem in document.problems]

    return read


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-3", 1e-3),
        ("1e5", 1e5),
        ("1.5E-4", 1.5e-4),
        ("-.5", -0.5),
        ("1.", 1.0),
        (".inf", math.inf),
        ("010", 10),
        ("+3", 3),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("tRue", "tRue"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("y", "y"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("2024-01-31", "2024-01-31"),
        ("0b11", "0b11"),
        ("1e", "1e"),
        ("nan", "nan"),
        ("=", "="),
        ("null", None),
        ("~", None),
        ("", None),
        ("none", "none"),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
    ],
)
def test_words_mean_what_yaml_1_2_says(read, word, value):
    document, problems = read(f"a: {word}\n")
    assert problems == []
    assert document.root.plain() == {"a": value}
    assert type(document.root.plain()["a"]) is type(value)  # True is not 1 here
    assert read_value(word, Place("x")).root.plain() == value  # overrides follow the same rules


def test_keys_are_text_as_written(read):
    document, _ = read("on: 1\n0: 2\n1e-3: 3\ntrue: 4\n")
    assert document.root.plain() == {"on": 1, "0": 2, "1e-3": 3, "true": 4}


def test_every_key_knows_its_line_and_column(read):
    document, _ = read("a:\n  b: 1\n  c:\n  - x\n  - {d: 2}\n")
    root = document.root
    places = {path: root.nearest(path).place for path in [("a",), ("a", "b"), ("a", "c", 1), ("a", "c", 1, "d")]}
    assert [(place.line, place.column) for place in places.values()] == [(1, 1), (2, 3), (5, 5), (5, 6)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3:1: duplicate key 'a', first given in line 1, again in 3"),
        ("a:\n\tb: 1\n", "a.yaml:2:1: a tab; YAML is indented with spaces"),
        ("a: [1, 2\nb: 3\n", "a.yaml:2:2: not valid YAML: expected ',' or ']', but got ':' "
                             "(while parsing a flow sequence, which begins in line 1)"),
        ("a: 'x\n", "a.yaml:2:1: not valid YAML: found unexpected end of stream "
                    "(while scanning a quoted scalar, which begins in line 1)"),
        ("a: b: c\n", "a.yaml:1:5: not valid YAML: mapping values are not allowed here"),
        ("a: *nowhere\n", "a.yaml:1:4: not valid YAML: found undefined alias 'nowhere'"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2:1: a second document ('---') begins here; a config is one document"),
        ("a: !!python/object/apply:os.system [ls]\n",
         "a.yaml:1:4: tag '!!python/object/apply:os.system' is refused: a config holds plain values only"),
        ("a: !x 1\n", "a.yaml:1:4: tag '!x' is refused: a config holds plain values only"),
        ("a: !!binary eHh4\n", "a.yaml:1:4: tag '!!binary' is refused: a config holds plain values only"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n",
         "a.yaml:3:3: merge key '<<' is refused; to inherit from another config write 'base: FILE'"),
        ("a: &x [*x]\n", "a.yaml:1:4: an alias that contains itself"),
        ("- 1\n- 2\n", "a.yaml:1:1: expected lines of 'key: value' at the top level"),
        ("just text\n", "a.yaml:1:1: expected lines of 'key: value' at the top level"),
        ("? [a, b]\n: 1\n", "a.yaml:1:3: a key must be a word, not a list or a mapping"),
        (b"a: 1\nb: caf\xe9\n", "a.yaml:2:7: not UTF-8 text; save the file as UTF-8"),
        ("a: 1\nb: \x07\n", "a.yaml:2:4: character '\\x07' is not allowed in YAML"),
        ('a: "\\ud800"\n', "a.yaml:1:1: '\\ud800' is not text: it holds half a character"),
        (f"a: {'9' * 5000}\n", "a.yaml:1:1: a number of 5000 digits"),
        (f"a: {'[' * 60}{']' * 60}\n", f"a.yaml:1:54: nested more than {DEEPEST} levels deep; this is no config"),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_clear_problem(read, text, problem):
    _, problems = read(text)
    assert problems == [problem]


def test_thousands_of_levels_are_refused_without_a_traceback(read):
    _, problems = read(f"a: {'[' * 20_000}")
    assert problems == ["a.yaml: nested too deeply; this is no config"]


def test_aliases_work(read):
    document, problems = read("a: &x {b: 1}\nc: *x\n")
    assert problems == []
    assert document.root.plain() == {"a": {"b": 1}, "c": {"b": 1}}


def test_an_alias_bomb_is_stopped_by_the_node_budget(read):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    document, [problem] = read("\n".join(lines))
    assert not document.whole
    assert problem.endswith("more than 10,000 values once its aliases are written out")


def test_a_file_with_too_many_values_is_stopped_early(read):
    _, [problem] = read("a: [" + "1, " * (NODE_BUDGET + 5) + "]\n")
    assert problem.endswith("more than 10,000 values; this is no config")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "\ufeff"])
def test_an_empty_file_is_an_empty_mapping(read, text):
    document, problems = read(text)
    assert (document.root.plain(), problems) == ({}, [])


def test_a_byte_order_mark_and_windows_line_ends_are_fine(read):
    document, problems = read("\ufeffa: 1\r\nb: x\r\n".encode())
    assert (document.root.plain(), problems) == ({"a": 1, "b": "x"}, [])


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "large.yaml").write_bytes(b"#" * (LARGEST_FILE + 1))
    cases = {
        tmp_path / "none.yaml": "no such config file",
        tmp_path: "this is a folder; a config is a YAML file",
        tmp_path / "large.yaml": "larger than 1,000,000 bytes; this is no config",
    }
    for path, message in cases.items():
        assert [str(problem) for problem in read_file(path).problems] == [f"{path}: {message}"]


def test_overrides_take_sentences_as_they_are():
    def value(text):
        return read_value(text, Place("command line: x")).root.plain()

    assert value("lower rate: better? #3") == "lower rate: better? #3"
    assert value("{from: 0, to: 0.1}") == {"from": 0, "to": 0.1}
    assert value("[0.9, 1e-3]") == [0.9, 1e-3]
    assert value("*star &c !t") == "*star &c !t"


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.sampled_from(["1e5", "no", "010", "null", "~", ".5", "<<", "12:30", "=", "", " x", "#", "0x1"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.text().filter(lambda key: key != "base"), plain_values, max_size=4))
def test_what_is_written_is_read_back_equal(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    Path(path).write_text(to_yaml(value), encoding="utf-8", newline="")
    document = read_file(path)
    assert document.problems == []
    assert document.root.plain() == value

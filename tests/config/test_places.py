"""Where a setting stands: in the config, in its base, on the command line."""

import pytest

from ignition.config import Places


@pytest.fixture
def config(tmp_path):
    (tmp_path / "base.yaml").write_text(
        "task: depth\noptimizer:\n  lr: 1e-3\nloss: {kl: {from: 0, to: 1, epochs: 5}}\n"
    )
    path = tmp_path / "own.yaml"
    path.write_text("base: base.yaml\nclip: {kind: none}\nearly_stop: null\n")
    return path


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("optimizer.lr", "base.yaml:3:3"),
        ("optimizer.weight_decay", "base.yaml:2:1"),  # a default: where its section is
        ("loss.kl.to", "base.yaml:4:22"),
        ("clip.kind", "own.yaml:2:8"),
        ("early_stop", "own.yaml:3:1"),
        ("trainer.epochs", "own.yaml"),  # nowhere: where it would stand
    ],
)
def test_a_setting_stands_in_one_of_the_files(config, key, place):
    assert Places(config).of(key) == str(config.parent / place)


def test_what_is_typed_stands_on_the_command_line(config):
    places = Places(config, ["optimizer.lr=1e-4", "trainer.epochs=3"])
    assert places.of("optimizer.lr") == "command line: optimizer.lr=1e-4"
    assert places.of("trainer.epochs") == "command line: trainer.epochs=3"


def test_the_task_is_that_of_the_base_and_none_where_there_is_none(config, tmp_path):
    assert Places(config).task == "depth"
    assert Places(tmp_path / "missing.yaml").task is None  # what is wrong is for load_config to tell
    assert Places(None, ["task=[1]"]).task is None

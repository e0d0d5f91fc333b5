"""What a command says and how it ends when something is wrong."""

from pathlib import Path

import pytest

from ignition.assembly import AssemblyError
from ignition.command_line import guarded
from ignition.data import BadSample
from ignition.events import Diverged
from ignition.loss_terms import LossError
from ignition.recipe import RecipeError
from ignition.run import main
from ignition.rundir import RunFolderError


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (RecipeError("r"), 2, "r"),
        (AssemblyError("a"), 2, "a"),
        (RunFolderError("f"), 2, "f"),
        (BadSample("s", "details"), 1, "s"),
        (LossError("l"), 1, "l"),
        (Diverged("d"), 3, "diverged: d"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_end_has_its_code_and_one_message(error, code, told, capsys):
    def command():
        raise error

    assert guarded(command) == code
    assert capsys.readouterr().err == told + "\n"


def test_a_traceback_is_shown_when_asked_for_even_that_of_a_worker(capsys):
    def command():
        raise BadSample("sample 3", "Traceback of the worker")

    assert guarded(command, show_traceback=True) == 1
    error = capsys.readouterr().err
    assert "Traceback (most recent call last)" in error
    assert "Traceback of the worker" in error


def test_an_error_in_a_program_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recipes/none.py"], "no such recipe file"),
        (["recipes/depth.py", "optimizer.lr"], "Settings are written key=value"),
        (["recipes/depth.py", "--config", "none.yaml"], "none.yaml"),
        (["recipes/depth.py", "optimizer.lr=-1"], "optimizer.lr"),
        (["recipes/depth.py", "trainer.device=cuda:99"], "cannot compute on 'cuda:99'"),
        (["recipes/depth.py", "optimizer.name=Adamm"], "Did you mean 'Adam"),
    ],
)
def test_bad_usage_is_code_2_and_leaves_nothing_behind(words, message, capsys, tmp_path, monkeypatch):
    recipe = Path(__file__).resolve().parents[1] / "recipes" / "depth.py"
    monkeypatch.chdir(tmp_path)
    words = [str(recipe) if word == "recipes/depth.py" else word for word in words]
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.rglob("*.yaml")) == []

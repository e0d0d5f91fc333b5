import json
import subprocess
import sys

from ignition.rundir import environment


def git(folder, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_versions_command_and_place_are_told_and_no_secrets(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("WANDB_API_KEY", "hunter2")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "ignition.run", "a recipe.py"])
    found = environment()
    assert found["world_size"] == 4
    assert {"torch", "pytorch-ignite", "numpy"} <= set(found["packages"])
    assert found["python"].startswith("3.") and found["host"]
    assert found["command"] == "python -m ignition.run 'a recipe.py'"
    assert "hunter2" not in json.dumps(found)


def test_the_commit_is_told_and_whether_files_differ_from_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init")
    (tmp_path / "recipe.py").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    found = environment()["git"]
    assert len(found["commit"]) == 40 and found["dirty"] is False
    (tmp_path / "recipe.py").write_text("two")
    assert environment()["git"] == {"commit": found["commit"], "dirty": True}


def test_outside_of_git_or_without_it_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment()["git"] is None
    monkeypatch.setenv("PATH", "")
    assert environment()["git"] is None

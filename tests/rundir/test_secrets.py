import json
import sys

import pytest

from ignition.rundir import environment
from ignition.rundir.secrets import clean, without_secrets


@pytest.mark.parametrize(("text", "kept"), [
    ("recipe.api_key=abc", "recipe.api_key=***"),
    ("recipe.api_key='a b c' optimizer.lr=1", "recipe.api_key=*** optimizer.lr=1"),
    ("'logging.wandb={project: p, api_key: abc}'", "'logging.wandb={project: p, api_key: ***}'"),
    ("--hf-token abc --config x", "--hf-token *** --config x"),
    ("WANDB_API_KEY=abc python -m x", "WANDB_API_KEY=*** python -m x"),
    ("https://me:pass@host:80/x", "https://***@host:80/x"),
    ("git@github.com:a/b.git ssh://git@host/x", "git@github.com:a/b.git ssh://***@host/x"),
    ("s3://b/k?X-Amz-Signature=abc&x=1", "s3://b/k?X-Amz-Signature=***&x=1"),
    ("note=ghp_" + "a" * 36, "note=***"),
    ("note=hf_" + "a" * 34, "note=***"),
    # what only sounds like one
    ("recipe.tokens_per_image=30 loss.keypoint=2 data.train.root=/data/secret_garden", None),
    ("the token was refused", None),
    ("trainer.seed=1 recipe.model=monkey", None),
])  # fmt: skip
def test_what_is_a_secret_is_hidden_and_all_else_stays(text, kept):
    assert without_secrets(text, {}) == (text if kept is None else kept)


def test_the_secrets_of_the_environment_are_hidden_wherever_they_stand():
    variables = {"MY_TOKEN": "correct-horse", "HOME": "/home/me", "EMPTY_TOKEN": "", "SHORT_KEY": "a"}
    assert without_secrets("x=correct-horse /home/me a", variables) == "x=*** /home/me a"
    assert clean({"a": ["correct"], "b": 1}) == {"a": ["correct"], "b": 1}


def test_environment_json_has_none(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "opensesame")
    monkeypatch.setattr(sys, "orig_argv", ["python", "run.py", "a=opensesame", "recipe.password=hunter2", "lr=1"])
    found = environment()
    assert found["command"] == "python run.py a=*** recipe.password=*** lr=1"
    assert "opensesame" not in json.dumps(found) and "hunter2" not in json.dumps(found)

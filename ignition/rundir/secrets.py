"""What must not be kept: passwords and tokens in a command line or an address."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

# A name that ends so is that of a secret: WANDB_API_KEY, --hf-token, recipe.password, X-Amz-Signature.
_NAMES = r"(?:pass(?:word|wd|phrase)?|secret|token|credentials?|signature|(?:api|access|private|secret|auth)[_-]?key)"
_NAME = re.compile(rf"{_NAMES}s?$", re.IGNORECASE)
# name=value, name: value and --name value; the value ends where the word, or what is quoted, does.
_GIVEN = re.compile(
    rf"""(?P<name>[\w.-]*{_NAMES}s?)(?P<sign>["']?\s*[=:]\s*|\s+(?!-))(?P<value>"[^"]*"|'[^']*'|[^\s&,;}})\]"']+)""",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*://)[^/\s@]+@")  # user:password@ or token@ in an address
# What the large services' tokens look like, wherever they stand.
_KNOWN = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|xox[abpr]-[\w-]{10,}"
    r"|AKIA[A-Z0-9]{16}|AIza[\w-]{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})"
)
_SHORTEST = 6  # a secret of the environment that is shorter is a word like any other


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """``text`` with ``***`` for what looks like a secret, and for the values of the environment's secrets.

    >>> without_secrets("run recipe.py recipe.hf_token=abc123 optimizer.lr=1e-3", {})
    'run recipe.py recipe.hf_token=*** optimizer.lr=1e-3'
    >>> without_secrets("logging.mlflow.uri=https://me:pw@host/x?token=t --password pw2", {})
    'logging.mlflow.uri=https://***@host/x?token=*** --password ***'
    >>> without_secrets("note=hunter2secret", {"WANDB_API_KEY": "hunter2secret"})
    'note=***'
    """
    for name, value in (os.environ if environment is None else environment).items():
        if _NAME.search(name) and len(value) >= _SHORTEST:
            text = text.replace(value, HIDDEN)
    text = _LOGIN.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _GIVEN.sub(_hide, text)
    return _KNOWN.sub(HIDDEN, text)


def clean(value: Any) -> Any:
    """A plain value, such as a dict of texts, with all its texts `without_secrets`."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {key: clean(item) for key, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, (list, tuple)) else value


def _hide(found: re.Match[str]) -> str:
    if found["sign"].isspace() and not found["name"].startswith("-"):  # "the token was refused" is a sentence
        return found[0]
    return f"{found['name']}{found['sign']}{HIDDEN}"

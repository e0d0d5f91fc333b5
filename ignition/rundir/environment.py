"""What a run runs in."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import socket
import subprocess  # git, with fixed words  # nosec B404
import sys
from datetime import datetime
from typing import Any

from ignition.rundir.secrets import clean

PACKAGES = (
    "ignition-engine", "torch", "torchvision", "pytorch-ignite", "kornia", "numpy", "scipy", "pillow", "pydantic",
    "pyyaml", "tensorboardX", "rich",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Versions, git commit, command line, host.

    Of the environment variables nothing but the world size and the launch, since they hold secrets; what looks like one
    in the rest, a token in the command line for instance, is ``***``.
    """
    found = {
        "started": now(),
        "command": shlex.join(sys.orig_argv),
        "folder": os.getcwd(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
        "launch": launch(),
        "git": _git(),
        "packages": {name: version for name in PACKAGES if (version := _version(name)) is not None},
    }
    # The launch is compared with that of a restart: it has to stay as it is.
    return {name: value if name == "launch" else clean(value) for name, value in found.items()}


def launch() -> str | None:
    """What torchrun's launch is called, the same after each of its restarts; None where it was started without."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{socket.gethostname()}:{os.getppid()}" if name == "none" else name


def is_restarted() -> bool:
    """Whether torchrun says that it has started these processes again.

    It does so on the host of a process that has failed; on the others, and where hosts come and go, it may not.
    """
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _git() -> dict[str, Any] | None:
    """Commit of the working directory, and whether files that git knows differ from it; None outside of git."""
    answers = []
    for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        try:
            words = ["git", "--no-optional-locks", *arguments]
            # no shell, no word from outside; whoever changes PATH has changed python as well
            done = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True)  # nosec B603 B607
        except (OSError, subprocess.SubprocessError):
            return None
        answers.append(done.stdout.strip())
    return {"commit": answers[0], "dirty": bool(answers[1])}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def now() -> str:
    """The time of day, with its zone, for people to read."""
    return datetime.now().astimezone().isoformat(timespec="seconds")

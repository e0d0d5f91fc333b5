"""Runs of a recipe that start in a tenth of a second: forks of a process that has torch loaded and has done nothing.

Each run is a process of its own, ended by a real SIGKILL; what is saved is the import of torch, some seconds a run. A
fork has the parent's memory as it is after the imports, before any thread, generator or file of a run.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Warm:
    """The process that forks. Use it in a ``with`` block."""

    def __enter__(self):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         env=environment, text=True)  # fmt: skip
        return self

    def __exit__(self, *error):
        self._process.stdin.close()
        self._process.wait(30)

    def _ask(self, **words):
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, words, log):
        """Begin ``ignition.run <words>``; its number. What it says goes to ``log``."""
        return self._ask(words=[str(word) for word in words], log=str(log))

    def poll(self, number):
        """The exit status of a run as ``os.waitstatus_to_exitcode`` gives it; None while it lives."""
        return self._ask(poll=number)

    def wait(self, number):
        """The same, once it has ended."""
        return self._ask(wait=number)


def _train(words, log):
    """In the fork: train, and end without going back to who forked."""
    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.fsync = lambda file: None  # a killed process loses nothing that it handed to the system; a power cut would
        code = main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve():
    """Fork, and tell how forks ended, as asked line by line."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "words" in asked:
            answer = os.fork()
            if answer == 0:
                os.close(0)
                _train(asked["words"], asked["log"])
        else:
            number, status = os.waitpid(asked.get("poll") or asked["wait"], os.WNOHANG if "poll" in asked else 0)
            answer = os.waitstatus_to_exitcode(status) if number else None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks
    from ignition import check, lifecycle  # noqa: F401 (what a run imports late)
    from ignition.run import main

    serve()

"""The files of the page, and the page as one file that opens from disk."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from ignition.monitor.page.feed import PICTURE_TYPES, Feed
from ignition.monitor.run import Run

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
INDEX, ICON = "index.html", "icon.svg"
_STYLE = re.compile(r'<link rel="stylesheet" href="([\w.-]+)">')
_SCRIPT = re.compile(r'<script (?:defer )?src="([\w.-]+)"></script>')
_SCRIPTS_GO_HERE = "</body>"


@cache
def assets() -> dict[str, bytes]:
    """The page's files by name; there are no others."""
    folder = files("ignition.monitor.page") / "assets"
    return {
        file.name: file.read_bytes()
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if "." + file.name.rpartition(".")[2] in TYPES
    }


def one_file(runs: Sequence[Run]) -> str:
    """The page of ``runs`` as they stand now: one HTML file with all in it, pictures as well, that asks for nothing.

    Its policy lets nothing run but the page's own scripts, by their hashes.
    """
    for run in runs:
        run.update(None)
    feed = Feed(runs)
    told = feed.since()
    for run in told["runs"]:
        for picture in run["pictures"]:
            picture["url"] = _inlined(feed, run["id"], picture["name"])
    texts = {name: content.decode() for name, content in assets().items()}
    page = texts[INDEX]
    styles = [texts[name] for name in _STYLE.findall(page)]
    scripts = [texts[name] for name in _SCRIPT.findall(page)]
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hashes(styles)}; script-src {_hashes(scripts)}; "
        "base-uri 'none'; form-action 'none'"
    )
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    head += "".join(f"<style>{style}</style>" for style in styles)
    icon = "data:image/svg+xml;base64," + base64.b64encode(assets()[ICON]).decode()
    tail = f'<script type="application/json" id="told">{in_script(told)}</script>'
    tail += "".join(f"<script>{script}</script>" for script in scripts)
    page = _SCRIPT.sub("", _STYLE.sub("", page)).replace(f'href="{ICON}"', f'href="{icon}"')
    page = page.replace("<!-- policy and style -->", head)
    begin, end, rest = page.rpartition(_SCRIPTS_GO_HERE)
    return begin + tail + end + rest


def in_script(value: Any) -> str:
    """``value`` as JSON that cannot end the script element it stands in.

    >>> in_script({"name": "</script><b>"})
    '{"name":"\\\\u003c/script>\\\\u003cb>"}'
    """
    return to_json(value).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def to_json(value: Any) -> str:
    """``value`` as JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _inlined(feed: Feed, run: int, name: str) -> str:
    path = feed.picture(run, name)
    try:
        content = path.read_bytes() if path is not None else b""
    except OSError:  # a run that goes on may have replaced it
        content = b""
    kind = PICTURE_TYPES["." + name.rpartition(".")[2].lower()]
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _hashes(texts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)

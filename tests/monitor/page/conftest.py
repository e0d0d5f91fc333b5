"""Chromium without a window, spoken to by the DevTools protocol over two pipes: no library, and nothing listens."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import queue
import shutil
import subprocess
import threading
import time

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 30.0  # seconds: machines that run tests are busy


class Chromium:
    """A browser; `open` gives tabs."""

    def __init__(self, program, profile):
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)]
        words = [
            *(program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run"),
            *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-pings"),
        ]
        shell = f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]} {theirs[0]}<&- {theirs[1]}>&-'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "chromium", *words],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in (to_browser, from_browser, *theirs):
            os.close(end)
        self._numbers, self._answers, self._tabs = itertools.count(1), {}, {}
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def call(self, method, session=None, **parameters):
        number, answer = next(self._numbers), queue.Queue()
        self._answers[number] = answer
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        with self._lock:
            os.write(self._to, json.dumps(message).encode() + b"\0")
        reply = answer.get(timeout=PATIENCE)
        assert "error" not in reply, f"{method}: {reply['error']}"
        return reply["result"]

    def open(self, url="about:blank", *, width=1280, height=900, dark=False, calm=False):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.resize(width, height)
        tab.prefer(dark=dark, calm=calm)
        tab.call("Page.navigate", url=url)
        return tab

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)

    def _listen(self):
        held = b""
        while part := os.read(self._from, 1 << 16):
            *messages, held = (held + part).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self._answers.pop(message["id"]).put(message)
                elif message.get("sessionId") in self._tabs:
                    self._tabs[message["sessionId"]].events.append(message)
        os.close(self._from)


class Tab:
    """A page that is open, with all that it did."""

    def __init__(self, browser, target, session):
        self.browser, self.target, self.session, self.events = browser, target, session, []

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def run(self, script):
        """The value of a JavaScript expression."""
        reply = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def until(self, script, patience=PATIENCE):
        """Wait until an expression is true; gives its value."""
        end = time.monotonic() + patience
        script = f"(value => (value instanceof Node ? true : value))({script})"  # an element is no plain value
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"not within {patience} s: {script}"
            time.sleep(0.05)
        return value

    def resize(self, width, height=900):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, *, dark, calm=False):
        features = {"prefers-color-scheme": "dark" if dark else "light"}
        features["prefers-reduced-motion"] = "reduce" if calm else "no-preference"
        self.call("Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in features.items()])

    def press(self, key, code=None, text=None, shift=False):
        number = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, " ": 32, "+": 187}[key]
        text = text or {"Enter": "\r", " ": " ", "+": "+"}.get(key)
        about = {"key": key, "code": code or key, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def picture(self, file, *, whole=False):
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))

    @property
    def requests(self):
        """Every address that was asked for."""
        told = (e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent")
        return [event["request"]["url"] for event in told]

    @property
    def errors(self):
        """What the console complains of, exceptions, and what the page's policy refused."""
        found = [e["params"] for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        logged = (e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded")
        found += [entry for entry in logged if entry["level"] in ("error", "warning")]
        called = (e["params"] for e in self.events if e["method"] == "Runtime.consoleAPICalled")
        return found + [call for call in called if call["type"] in ("error", "warning", "assert")]

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium)")
    browser = Chromium(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def tab(chromium):
    tabs = []

    def opened(url, **how):
        tabs.append(chromium.open(url, **how))
        return tabs[-1]

    yield opened
    for each in tabs:
        each.close()

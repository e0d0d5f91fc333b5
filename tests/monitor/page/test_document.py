import base64
import hashlib
import json
import re
from html.parser import HTMLParser

from ignition.monitor import Watched
from ignition.monitor.page import one_file
from ignition.monitor.page.document import assets
from ignition.rundir import RunFolder

HOSTILE = "</script><img src=x onerror=alert(1)>"


def hostile_run(folder):
    run = RunFolder.create_at(folder)
    run.write_config(f"hypothesis: {HOSTILE}\n")
    run.write_recipe("# nothing")
    run.write_metrics({"time": 1e9, "iteration": 1, "epoch": 1, HOSTILE: 1.0, "train/batch_loss": 2.0})
    advice = [{"override": HOSTILE, "why": HOSTILE}]
    run.write_incident(
        {"time": 1e9, "iteration": 1, "name": HOSTILE, "severity": HOSTILE, "message": HOSTILE, "advice": advice}
    )
    run.pictures.mkdir(exist_ok=True)
    (run.pictures / "epoch-0001-depth.png").write_bytes(b"picture")
    return run


class Elements(HTMLParser):
    """Every element with its attributes, and the texts of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.found, self.texts, self._open = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.texts.append([tag, dict(attributes), ""])
        self._open = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._open = False

    def handle_data(self, data):
        if self._open:
            self.texts[-1][2] += data


def test_one_file_holds_all_and_asks_for_nothing(tmp_path):
    page = Elements(one_file([Watched(hostile_run(tmp_path / "run").path)]))
    for tag, attributes in page.found:
        for name in ("src", "href", "action", "srcset"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:")), (tag, attributes)
    assert "img" in [tag for tag, _ in page.found]  # the one that pictures are enlarged in
    assert not [attributes for _, attributes in page.found if any(name.startswith("on") for name in attributes)]
    [told] = [json.loads(text) for tag, attributes, text in page.texts if attributes.get("id") == "told"]
    [run] = told["runs"]
    assert run["curves"][HOSTILE]["mean"] == [1.0]
    assert run["findings"]["rows"][0]["message"] == HOSTILE
    assert run["pictures"][0]["url"] == "data:image/png;base64," + base64.b64encode(b"picture").decode()


def test_its_policy_names_each_script_and_style_and_lets_nothing_else_run(tmp_path):
    page = Elements(one_file([Watched(hostile_run(tmp_path / "run").path)]))
    [policy] = [a["content"] for _, a in page.found if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        texts = [text for tag, a, text in page.texts if tag == kind and a.get("type") != "application/json"]
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert re.findall(r"'sha256-([^']+)'", rules[f"{kind}-src"]) == hashes


def test_the_pages_files_name_no_other_place_and_no_html_is_made_of_text():
    files = assets()
    assert {"index.html", "page.css", "page.js", "icon.svg"} <= set(files)
    for name, content in files.items():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//\w+\.\w+/|@import|url\((?!#)", text.replace("`url(#${clip})`", "")), name
        if name.endswith(".js"):
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function", text), (
                name
            )
        if name == "index.html":
            assert not re.search(r"\son\w+=|style=", text)

import json
import math

import pytest

from ignition.monitor import Watched
from ignition.monitor.metrics import Metrics
from ignition.monitor.page import Feed
from ignition.rundir import RunFolder


@pytest.fixture
def run(tmp_path):
    run = RunFolder.create_at(tmp_path / "run")
    run.write_config("optimizer:\n  lr: 0.1\n")
    run.write_recipe("# nothing")
    return run


def row(i, **more):
    return {"time": 1e9 + i, "iteration": i, "epoch": 1, "train/batch_loss": 10.0 / i, **more}


def finding(i, name="loss_spike"):
    return {"time": 1e9 + i, "iteration": i, "name": name, "severity": "warning", "message": f"at {i}", "first": i}


class Counted(Watched):
    looks = 0

    def update(self, seconds=0.5):
        self.looks += 1
        return super().update(seconds)


def test_only_what_is_new_is_told(run):
    for i in (1, 2, 3):
        run.write_metrics(row(i))
    feed = Feed([Watched(run.path)], seconds=0)
    first = feed.since()
    assert first["whole"]
    curve = first["runs"][0]["curves"]["train/batch_loss"]
    assert (curve["from"], curve["at"], curve["mean"]) == (0, [1, 2, 3], [10.0, 5.0, 3.33333])
    assert "low" not in curve  # one value to a point
    assert first["runs"][0]["settings"] == "optimizer:\n  lr: 0.1\n"
    run.write_metrics(row(4))
    run.write_incident(finding(4))
    second = feed.since(first["version"], first["feed"])
    assert not second["whole"]
    [news] = second["runs"]
    assert news["curves"] == {"train/batch_loss": {"from": 3, "at": [4], "time": [1e9 + 4], "mean": [2.5]}}
    assert news["findings"]["from"] == 0
    assert [each["message"] for each in news["findings"]["rows"]] == ["at 4"]
    assert "settings" not in news
    third = feed.since(second["version"], second["feed"])
    assert not {"curves", "findings", "settings", "pictures"} & set(third["runs"][0])
    # whoever looked last a while ago gets all that has come since
    late = feed.since(first["version"], first["feed"])["runs"][0]
    assert (late["curves"]["train/batch_loss"]["at"], len(late["findings"]["rows"])) == ([4], 1)


def test_a_page_of_another_server_begins_anew(run):
    run.write_metrics(row(1))
    feed = Feed([Watched(run.path)], seconds=0)
    version = feed.since()["version"]
    for known, name in ((version, "another"), (version + 5, feed.name), (-1, feed.name)):
        told = feed.since(known, name)
        assert told["whole"]
        assert told["runs"][0]["curves"]["train/batch_loss"]["at"] == [1]


def test_files_are_looked_at_twice_a_second_however_many_ask(run):
    now = [0.0]
    watched = Counted(run.path)
    feed = Feed([watched], seconds=0.5, clock=lambda: now[0])
    for tenth in range(20):  # each of two seconds, fifty tabs ask ten times
        now[0] = tenth / 10 + 1e-6
        for _ in range(50):
            feed.since()
    assert watched.looks == 4


def test_what_a_resume_took_back_is_told(run):
    for i in range(1, 7):
        run.write_metrics(row(i))
    run.write_metrics({"time": 1e9 + 6, "iteration": 6, "epoch": 1, "val/loss": 1.0})
    run.write_incident(finding(2))
    run.write_incident(finding(6))
    feed = Feed([Watched(run.path)], seconds=0)
    first = feed.since()
    run.rewind_metrics(4)
    run.write_metrics(row(5, **{"train/batch_loss": 7.0}))
    told = feed.since(first["version"], first["feed"])["runs"][0]
    assert told["curves"]["train/batch_loss"] == {"from": 4, "at": [5], "time": [1e9 + 5], "mean": [7.0]}
    assert told["curves"]["val/loss"] == {"from": 0, "at": [], "time": [], "mean": []}  # gone
    assert told["findings"] == {"from": 1, "total": 1, "rows": []}


def test_a_long_run_is_told_in_a_thousand_points_with_their_range(run):
    lines = [json.dumps(row(i, **{"train/batch_loss": float(i % 2)})) for i in range(1, 20_001)]
    run.metrics.path.write_text("\n".join(lines) + "\n")
    feed = Feed([Watched(run.path)], seconds=0)
    feed.since()
    while feed.since()["runs"][0]["state"]["read"] < 1:
        pass
    told = feed.since()
    curve = told["runs"][0]["curves"]["train/batch_loss"]
    assert 500 <= len(curve["at"]) <= 1000
    assert (curve["at"][-1], set(curve["low"]), set(curve["high"])) == (20_000, {0.0}, {1.0})
    for i in range(20_001, 20_011):
        run.write_metrics(row(i))
    more = feed.since(told["version"], told["feed"])["runs"][0]["curves"]["train/batch_loss"]
    assert len(more["at"]) <= 2  # the points that the ten rows fell into


def test_the_first_picture_of_a_large_log_gives_way_to_the_whole(run, monkeypatch):
    monkeypatch.setattr(Metrics, "LARGE", 2**20)
    monkeypatch.setattr(Metrics, "SAMPLES", 2)
    lines = [json.dumps(row(i)) for i in range(1, 20_001)]
    run.metrics.path.write_text("\n".join(lines) + "\n")
    feed = Feed([Watched(run.path)], seconds=0)
    first = feed.since()["runs"][0]
    assert first["state"]["read"] < 1
    while feed.since()["runs"][0]["state"]["read"] < 1:
        pass
    read = Watched(run.path)
    read.update(None)
    whole = feed.since()["runs"][0]["curves"]
    assert whole != first["curves"]
    assert whole == Feed([read]).since()["runs"][0]["curves"]  # though its newest value was there from the first


def test_what_is_not_finite_is_no_number_of_json(run):
    run.write_metrics(row(1, **{"train/batch_loss": math.nan}))
    run.write_metrics(row(2, **{"train/batch_loss": math.inf}))
    run.write_incident({**finding(2), "time": math.nan})
    told = Feed([Watched(run.path)]).since()
    json.dumps(told, allow_nan=False)
    assert told["runs"][0]["curves"]["train/batch_loss"]["mean"] == [None, None]


def test_of_very_many_findings_the_newest_are_told(run):
    for i in range(1, 801):
        run.write_incident(finding(i))
    feed = Feed([Watched(run.path)], seconds=0)
    first = feed.since()
    told = first["runs"][0]["findings"]
    assert (told["from"], told["total"], len(told["rows"]), told["rows"][-1]["iteration"]) == (300, 800, 500, 800)
    run.write_incident(finding(801))
    told = feed.since(first["version"], first["feed"])["runs"][0]["findings"]
    assert (told["from"], told["total"], len(told["rows"])) == (800, 801, 1)


def test_a_folder_that_vanishes_takes_nothing_with_it(run, tmp_path):
    run.write_metrics(row(1))
    feed = Feed([Watched(run.path)], seconds=0)
    first = feed.since()
    run.path.rename(tmp_path / "elsewhere")
    told = feed.since(first["version"], first["feed"])
    assert told["runs"][0]["id"] == 0
    (tmp_path / "elsewhere").rename(run.path)
    run.write_metrics(row(2))
    assert feed.since()["runs"][0]["curves"]["train/batch_loss"]["at"] == [1, 2]


def test_only_pictures_that_were_told_of_and_lie_in_the_run_are_given(run, tmp_path):
    run.pictures.mkdir(exist_ok=True)
    (run.pictures / "epoch-0001-depth.png").write_bytes(b"picture")
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    (run.pictures / "epoch-0001-link.png").symlink_to(secret)
    (run.pictures / "epoch-0001-\udcff.png").write_bytes(b"a name that is no text")
    (run.pictures / "epoch-0001-gone.png").symlink_to(tmp_path / "nowhere.png")
    feed = Feed([Watched(run.path)])
    told = feed.since()["runs"][0]["pictures"]
    assert [picture["name"] for picture in told] == [f"epoch-0001-{name}.png" for name in ("depth", "gone", "link")]
    assert feed.picture(0, "epoch-0001-depth.png").read_bytes() == b"picture"
    for run_number, name in (
        (0, "epoch-0001-link.png"),
        (0, "epoch-0001-gone.png"),
        (0, "../config.yaml"),
        (0, str(secret)),
        (0, "../../secret.png"),
        (1, "epoch-0001-depth.png"),
        (-1, "epoch-0001-depth.png"),
    ):
        assert feed.picture(run_number, name) is None

"""Bringing all runs of a study to their end, whatever happens on the way."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ignition.comparison import ComparisonError
from ignition.studies.outcome import Outcome
from ignition.studies.reading import read_study
from ignition.studies.runner import Runner, words
from ignition.studies.schedule import check_runs

STAND_IN = Path(__file__).with_name("stand_in.py")
DRIVER = """
import signal, sys
from pathlib import Path
from ignition.studies.runner import Runner
from ignition.studies.reading import read_study

class Quiet:
    def started(self, job): ...
    def ended(self, job, state): ...
    told = False

    def look(self, running, done, total):
        if not self.told:
            print("looks", flush=True)
        self.told = True

study = read_study(sys.argv[1])
folder = Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
runner = Runner(study, folder, watcher=Quiet(), at_once=2)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda got, frame: runner.stop(got))
runner.run()
sys.exit(128 + runner.stopped_by if runner.stopped_by else 0)
"""


class Diary:
    """Writes down what it is told."""

    def __init__(self):
        self.told, self.most = [], 0

    def started(self, job):
        self.told.append(("began", job.name))

    def ended(self, job, state):
        self.told.append((state, job.name))

    def look(self, running, done, total):
        self.most = max(self.most, len(running))
        self.done, self.total = done, total


@pytest.fixture
def study(place):
    """The study of two rates and three seeds, run by the stand-in."""
    text = f"command: '{{python}} {STAND_IN} {{arguments}}'\n" + (place / "rates.yaml").read_text()
    (place / "rates.yaml").write_text(text)
    return place / "rates.yaml"


def run(path, folder="runs", **options):
    Path(folder).mkdir(exist_ok=True)
    diary = Diary()
    runner = Runner(read_study(path), Path(folder), watcher=diary, **options)
    return runner.run(), diary


def table(path, folder):
    """All that the study says, without where it lies and how long it took."""
    values = Outcome(read_study(path), Path(folder)).to_dict()
    for group in values["groups"]:
        for one in group["runs"]:
            one.pop("path"), one.pop("seconds")
    values.pop("folder")
    return repr(values)


def set_slow(path, seconds, more=""):
    text = path.read_text().replace("seeds:", f"settings: {{recipe: {{slow: {seconds}{more}}}}}\nseeds:")
    path.write_text(text)


def test_every_variant_is_trained_with_every_seed_some_at_once(study):
    failures, diary = run(study, at_once=2)
    assert failures == []
    assert sorted(name for told, name in diary.told if told == "finished") == sorted(
        f"{variant}-seed{seed}" for variant in ("slow_rate", "high_rate") for seed in range(3)
    )
    assert (diary.most, diary.done, diary.total) == (2, 6, 6)
    outcome = Outcome(read_study(study), Path("runs"))
    assert outcome.missing == []
    assert [verdict.word for verdict in outcome.verdicts] == ["held", "not decidable", "failed"]


def test_what_is_there_is_not_trained_again(study):
    run(study)
    before = {path: path.read_bytes() for path in Path("runs").rglob("*.jsonl")}
    failures, diary = run(study)
    assert (failures, diary.told) == ([], [])
    assert {path: path.read_bytes() for path in Path("runs").rglob("*.jsonl")} == before


def test_a_run_that_is_cut_off_goes_on_and_one_that_fails_is_named(study):
    set_slow(study, 0, ", dies_at: 3")
    failures, diary = run(study, at_once=6)
    assert failures == []
    assert [sum(told == word for told, _ in diary.told) for word in ("began", "cut off", "finished")] == [12, 6, 6]
    text = study.read_text().replace("high_rate: {settings: {", "high_rate: {settings: {recipe: {fails: scan.npy}, ")
    study.write_text(text)
    failures, _ = run(study, "others", at_once=6)
    assert sorted((failure.job.name, failure.code, failure.said) for failure in failures) == [
        (f"high_rate-seed{seed}", 1, "cannot read scan.npy") for seed in range(3)
    ]
    outcome = Outcome(read_study(study), Path("others"))
    assert [job.variant for job in outcome.missing] == ["high_rate"] * 3
    assert {verdict.word for verdict in outcome.verdicts} == {"not decidable"}


def test_what_is_prepared_comes_first_and_alone(study):
    text = study.read_text().replace("variants:", "prepare: {first: {}}\nvariants:")
    text = text.replace("high_rate: {settings: {", "high_rate: {settings: {recipe: {weights: '{first}'}, ")
    study.write_text(text)
    _, diary = run(study, at_once=6)
    assert diary.told[0] == ("began", "first-seed0")
    assert diary.most <= 6
    first = Path("runs/first-seed0/status.json").stat().st_mtime
    assert all(path.stat().st_mtime >= first for path in Path("runs").glob("*_rate-seed*.yaml"))
    assert "runs/first-seed0" in Path("runs/high_rate-seed2.yaml").read_text()


def test_a_study_killed_five_times_at_random_ends_with_the_table_of_an_undisturbed_one(study):
    run(study, "straight")
    expected = table(study, "straight")
    straight = study.read_text()
    set_slow(study, 0.08)  # 12 steps a run
    draw, kills = random.Random(5), 0
    command = [sys.executable, "-c", DRIVER, str(study), "killed"]
    while kills < 5:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout.readline() == "looks\n"
        time.sleep(draw.uniform(0.0, 0.5))
        assert process.poll() is None, "too fast to be killed"
        number = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[kills % 3]
        process.send_signal(number)
        assert process.wait(timeout=60) == (-number if number == signal.SIGKILL else 128 + number)
        kills += 1
    done = subprocess.run(command, stdout=subprocess.DEVNULL, timeout=120, check=False)
    assert done.returncode == 0
    assert kills == 5
    for settings in Path("killed").glob("*/config.yaml"):  # the same but for the pauses that let it be killed
        settings.write_text(settings.read_text().replace("slow: 0.08", "slow: 0"))
    study.write_text(straight)
    assert table(study, "killed").replace("slow", "") == expected.replace("slow", "")


def test_settings_that_have_changed_since_a_run_are_told_and_nothing_is_mixed(study):
    run(study)
    study.write_text(study.read_text().replace("lr: 5e-2", "lr: 4e-2"))
    with pytest.raises(ComparisonError) as caught:
        check_runs(read_study(study), Path("runs"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(
        "runs/high_rate-seed0 was made with other settings (optimizer.lr: 0.05, asked 0.04): remove"
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{command}", [sys.executable, "-m", "ignition.run", "a.py", "b c"]),
        ("torchrun --nproc_per_node=2 -m ignition.run {arguments}", [
            "torchrun", "--nproc_per_node=2", "-m", "ignition.run", "a.py", "b c"]),
        ("sbatch --wait --wrap {line}", ["sbatch", "--wait", "--wrap", f"{sys.executable} -m ignition.run a.py 'b c'"]),
        ("nice -n 5 {command}", ["nice", "-n", "5", sys.executable, "-m", "ignition.run", "a.py", "b c"]),
    ],
)  # fmt: skip
def test_a_run_is_started_as_the_study_says(template, expected):
    assert words(template, ["a.py", "b c"]) == expected

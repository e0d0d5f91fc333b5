"""What a study's file may say."""

import pytest

from ignition.config import ConfigError
from ignition.studies.reading import read_study


def problems(path):
    with pytest.raises(ConfigError) as caught:
        study = read_study(path)
        study.check(path.parent / "runs")
    return str(caught.value).splitlines()


def test_a_study_has_variants_seeds_and_expectations(place):
    study = read_study(place / "rates.yaml")
    assert (study.name, study.task, study.reference, study.variants) == (
        "rates", "tiny", "slow_rate", ["slow_rate", "high_rate"],
    )  # fmt: skip
    assert [(item.figure, item.of) for item in study.expectations] == [
        ("val/mae", "high_rate"),
        ("val/mae", "high_rate"),
        ("gap", "high_rate"),
    ]
    config = study.config("high_rate", 2, place)
    assert (config.optimizer.lr, config.trainer.seed, config.trainer.threads, config.trainer.epochs) == (0.05, 2, 1, 3)


def test_settings_lie_over_a_variant_s_config_and_a_variant_may_begin_with_another(place):
    text = (place / "rates.yaml").read_text()
    text = text.replace("seeds:", "threads: 3\nsettings: {trainer: {epochs: 2}, recipe: {width: 4}}\nseeds:")
    text = text.replace(
        "expect:", "  more: {plus: high_rate, settings: {recipe: {width: 16}, clip: {kind: norm}}}\nexpect:"
    )
    (place / "rates.yaml").write_text(text)
    study = read_study(place / "rates.yaml")
    high, more = study.config("high_rate", 0, place), study.config("more", 0, place)
    assert (high.trainer.epochs, high.trainer.threads, high.recipe) == (2, 3, {"width": 4})
    assert (more.optimizer.lr, more.clip.kind, more.recipe) == (0.05, "norm", {"width": 16})


def test_what_is_prepared_stands_in_the_settings_of_the_others(place):
    text = (place / "rates.yaml").read_text()
    text = text.replace("variants:", "prepare: {first: {settings: {trainer: {epochs: 1}}}}\nvariants:")
    text = text.replace("high_rate: {settings: {", "high_rate: {settings: {recipe: {weights: '{first}'}, ")
    (place / "rates.yaml").write_text(text)
    study = read_study(place / "rates.yaml")
    assert study.config("high_rate", 1, place / "runs").recipe == {"weights": str(place / "runs" / "first-seed0")}
    assert study.config("first", 0, place).trainer.epochs == 1


def test_everything_that_is_wrong_is_told_at_once_with_its_line(place):
    (place / "bad.yaml").write_text(
        "question: why?\n"
        "recipe: tinny.py\n"
        "config: tiny.yaml\n"
        "seeds: [0, 1, 1]\n"
        "reference: befor\n"
        "variants:\n"
        "  before: {}\n"
        "  after: {config: nowhere.yaml}\n"
        "  more: {plus: aftr}\n"
        "figures: [worst val/mae]\n"
        "expect:\n"
        "  - val/mae: beneath 3\n"
        "  - gpa: below 3\n"
        "  - of: aftr\n"
        "    gap: below 3\n"
        "  - said: nothing\n"
    )
    found = problems(place / "bad.yaml")
    lines = [line.split("bad.yaml:")[1].split(":")[0] for line in found]
    assert lines == ["2", "4", "5", "9", "10", "12", "13", "14", "16"]
    assert "no such recipe: tinny.py" in found[0]
    assert "reference: no variant 'befor'. Known: before, after, more" in found[2]
    assert "begins with neither 'below' nor 'above'; an expectation is one or more of these" in found[5]
    assert "no metric 'gpa'. Did you mean 'gap'?" in found[6]


def test_unknown_keys_name_the_near_miss(place):
    text = (place / "rates.yaml").read_text().replace("seeds:", "seed:")
    (place / "rates.yaml").write_text(text)
    assert "unknown key 'seed'. Did you mean 'seeds'?" in problems(place / "rates.yaml")[0]


def test_a_variant_s_settings_are_checked_as_a_config_s_are(place):
    text = (place / "rates.yaml").read_text().replace("{lr: 5e-2}", "{lrr: 5e-2}").replace("1e-3", "fast")
    (place / "rates.yaml").write_text(text)
    found = problems(place / "rates.yaml")
    assert "rates.yaml:6:" in found[0] and "optimizer.lr: expected a number, found text 'fast'" in found[0]
    assert "rates.yaml:7:" in found[1] and "unknown key 'optimizer.lrr'. Did you mean 'lr'?" in found[1]


def test_variants_that_are_equal_are_refused(place):
    text = (place / "rates.yaml").read_text().replace("5e-2", "0.001")
    (place / "rates.yaml").write_text(text)
    (found,) = problems(place / "rates.yaml")
    assert "rates.yaml:7:3: variants 'slow_rate' and 'high_rate' are equal: change a setting, or leave one out" in found


def test_seed_and_threads_are_the_study_s_to_say(place):
    text = (place / "rates.yaml").read_text().replace("seeds:", "settings: {trainer: {seed: 3, threads: 2}}\nseeds:")
    (place / "rates.yaml").write_text(text)
    found = problems(place / "rates.yaml")
    assert [line.split(": ", 1)[1] for line in found] == [
        "trainer.seed: 'seeds' of the study says which; leave it out here",
        "trainer.threads: 'threads' of the study says which; leave it out here",
    ]


def test_variants_that_begin_with_each_other_are_a_circle(place):
    text = (place / "rates.yaml").read_text().replace("slow_rate: {", "slow_rate: {plus: high_rate, ")
    (place / "rates.yaml").write_text(text.replace("high_rate: {settings", "high_rate: {plus: slow_rate, settings"))
    assert "begin with each other in a circle" in problems(place / "rates.yaml")[0]


def test_a_command_that_starts_nothing_is_refused(place):
    (place / "rates.yaml").write_text("command: sbatch --wait\n" + (place / "rates.yaml").read_text())
    assert "it starts nothing without one of {command}, {line}, {arguments}" in problems(place / "rates.yaml")[0]

"""In which settings configs differ."""

from ignition.comparison.config_difference import differences, things, word
from ignition.config import load_config


def configs(*overrides):
    return [load_config(None, overrides=words).to_dict() for words in overrides]


def test_seed_threads_and_what_is_shown_make_no_other_experiment():
    one, other = configs(
        ["trainer.seed=1"], ["trainer.seed=2", "trainer.threads=1", "logging.every=3", "hypothesis=why"]
    )
    assert differences([one, other]) == []
    assert word([]) == "the configs are the same but for the seed"


def test_a_section_that_is_chosen_by_a_name_is_one_thing_and_a_setting_of_the_others_one_each():
    one, other = configs(
        [], ["schedule={name: plateau, patience: 3}", "optimizer.lr=0.5", "loss.kl={from: 0, to: 1, epochs: 5}"]
    )
    found = differences([one, other])
    assert things(found) == ["loss.kl", "optimizer.lr", "schedule"]
    assert word(found).startswith("3 things changed at once (loss.kl, optimizer.lr, schedule): which of them did it")
    assert next(item.values for item in found if item.key == "schedule.name") == ("constant", "plateau")


def test_one_thing_is_called_one():
    one, other = configs([], ["optimizer.lr=0.5"])
    assert word(differences([one, other])) == "one thing changed: optimizer.lr"


def test_a_section_that_one_of_them_lacks_is_one_difference_with_all_that_it_sets():
    one, other = configs([], ["early_stop={metric: val/loss, patience: 3}"])
    (found,) = differences([one, other])
    assert (found.key, found.values[0], found.values[1]["patience"]) == ("early_stop", None, 3)

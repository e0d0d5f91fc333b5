"""Each rule: settings it objects to, what it says, a remedy that ends it; and settings next to them that are good."""

import re
from pathlib import Path

import pytest

from ignition.review import RULES, Facts, Rate, Traits
from tests.review.planned import ends, names, objections

TRANSFORMER, TUNED = Traits(transformer=True), Traits(pretrained=True)
KNOWN = Traits(rate=Rate(1e-3, 16, "a paper, 2020"))
SUMS = Traits(channels={"xy": 2, "rotation": 1, "colour": 3})
LOSS = ("loss.xy=1.0", "loss.rotation=1.0", "loss.colour=1.0")
GIB = 2**30
QUIET = ("clip.kind=norm", "optimizer.weight_decay=1e-4", "schedule.name=cosine")  # what a transformer wants

# settings, what is known besides, name of the objection, its key, a part of what it says
BAD = [
    (["optimizer.lr=2e-3", "data.batch_size=16", "schedule.name=one_cycle"], {"traits": KNOWN}, "rate_too_high",
     "optimizer.lr", "is known to bear 0.001 with 16 samples a step"),
    (["optimizer.lr=1e-3", "data.batch_size=4"], {"traits": KNOWN}, "rate_too_high", "optimizer.lr",
     "which is 5e-4 at 4"),  # the root of a quarter is a half
    (["optimizer.lr=0.02", "schedule.name=one_cycle"], {}, "rate_too_high", "optimizer.lr", "optimizer.lr is 0.02"),
    (["optimizer.lr=2e-3", "schedule.name=one_cycle", "clip.kind=norm", "optimizer.weight_decay=1e-5"],
     {"traits": TUNED}, "rate_too_high", "optimizer.lr", "optimizer.lr is 0.002"),
    (["optimizer.lr=2e-3"], {}, "no_warmup", "schedule.warmup_epochs", "from the first step on"),
    (["optimizer.lr=2e-3", "schedule.name=one_cycle", "schedule.warmup_fraction=0"], {}, "no_warmup",
     "schedule.warmup_fraction", "from the first step on"),
    (["trainer.epochs=100", "schedule.name=cosine", "schedule.warmup_epochs=4"], {"traits": Traits(warmup=(0.05, "x"))},
     "short_warmup", "schedule.warmup_epochs", "takes 4.0 % of the run, and 5.0 %"),
    (["clip.kind=norm", "optimizer.weight_decay=1e-4"], {"traits": TRANSFORMER}, "no_schedule", "schedule.name",
     "a transformer that stays at 0.001"),
    (["clip.kind=norm", "optimizer.weight_decay=1e-4", "trainer.epochs=20"], {"traits": TUNED}, "no_schedule",
     "schedule.name", "a fine-tuning that stays"),
    (["schedule.name=cosine", "schedule.warmup_epochs=6"], {}, "long_warmup", "schedule.warmup_epochs", "takes 60 %"),
    (["schedule.name=one_cycle", "schedule.warmup_fraction=0.7"], {}, "long_warmup", "schedule.warmup_fraction",
     "takes 70 %"),
    (["schedule.name=cosine", "schedule.per=epoch", "trainer.epochs=4"], {}, "changes_once_an_epoch", "schedule.per",
     "and the run has 4"),
    (["schedule={name: sequence, parts: [{epochs: 6, schedule: {name: cosine}}]}"], {}, "ends_before_the_run",
     "schedule.parts", "over after 6 epochs, and the run has 10"),
    (["schedule={name: warm_restarts, period_epochs: 4}"], {}, "cut_in_a_cycle", "schedule.period_epochs",
     "ends 50 % into a cycle of 4 epochs"),
    (["schedule={name: plateau, factor: 0.7, patience: 3}", "trainer.epochs=40", "early_stop.patience=10"], {},
     "hasty_plateau", "schedule.patience", "multiplied by 0.7 after 3 evaluations"),
    (["schedule={name: plateau, patience: 5}"], {}, "plateau_without_time", "trainer.epochs",
     "in 10 evaluations with a patience of 5 the rate is lowered at most once, to 0.5"),
    (["schedule={name: plateau, patience: 3}", "trainer.evaluate_every=2", "trainer.epochs=18"], {},
     "plateau_without_time", "trainer.epochs", "in 9 evaluations with a patience of 3 the rate is lowered at most 2"),
    (["schedule={name: plateau, patience: 10}", "trainer.evaluate_every=2"], {}, "plateau_without_time",
     "trainer.epochs", "in 5 evaluations with a patience of 10 the rate is lowered never"),
    (["schedule.name=cosine", "optimizer.weight_decay=1e-4"], {"traits": TRANSFORMER}, "no_clipping", "clip.kind",
     "a transformer whose gradients have no limit"),
    (["schedule.name=cosine", "optimizer.weight_decay=1e-4"], {"facts": Facts(attention=True)}, "no_clipping",
     "clip.kind", "a transformer"),  # its layers tell
    (["schedule.name=cosine", "clip.kind=norm"], {"traits": TUNED}, "no_decay", "optimizer.weight_decay",
     "a fine-tuning"),
    (["optimizer.weight_decay=1e-4", "optimizer.decay_norms=true"], {}, "decay_on_norms", "optimizer.decay_norms",
     "biases and normalisation layers"),
    (["ema={decay: 0.999, warmup: false}"], {"facts": Facts(train_samples=800)}, "average_of_the_start", "ema.decay",
     "after the run's 1000 steps 37 % of the average"),  # 0.999 ** 1000
    (LOSS, {"traits": SUMS}, "unequal_channels", "loss", "xy 2, rotation 1, colour 3"),
    (["loss.kl={from: 0, to: 1, epochs: 500}", "checkpoint.metric=val/mse"], {}, "beyond_the_run", "loss.kl.epochs",
     "comes to 1.0 after 500 epochs, and the run has 10"),
    (["loss.kl={from: 0, to: 1, epochs: 5, start: 20}"], {}, "beyond_the_run", "loss.kl.start",
     "begins to change after 20 epochs"),
    (["loss.kl={from: 0, to: 1, cycles: 4, epochs: 10}", "checkpoint.metric=val/mse"], {}, "beyond_the_run",
     "loss.kl.epochs", "4 cycles of 10 epochs"),
    (["loss.kl={at: {0: 1.0, 500: 0.0}}"], {}, "beyond_the_run", "loss.kl.at", "jumps after 500 epochs"),
    (["loss.kl={from: 0, to: 1, epochs: 5}", "loss.x=1.0"], {"traits": Traits(score=("val/psnr", "max"))},
     "moving_loss", "checkpoint.metric", "the weight of kl goes from 0.2 to 1.0"),
    (["trainer.evaluate_every=50"], {}, "never_due", "trainer.evaluate_every", "every 50 epochs, and the run has 10"),
    (["early_stop.patience=9"], {}, "patience_longer_than_run", "early_stop.patience",
     "over 9 evaluations, and the run has 10"),  # the first one is the best so far: nine are left, and the last ends it
    (["early_stop={patience: 5, start: 6, unit: epochs}"], {}, "patience_longer_than_run", "early_stop.patience",
     "over 5 epochs from 6 on"),
    (["early_stop={patience: 900, unit: iterations}"], {"facts": Facts(train_samples=800)}, "patience_longer_than_run",
     "early_stop.patience", "over 900 iterations, and the run has 1000"),
    (["early_stop={patience: 10, unit: iterations}"], {"facts": Facts(train_samples=800)}, "impatient",
     "early_stop.patience", "waits for 10 iterations, and evaluations are 100 apart"),
    (["schedule={name: plateau, patience: 5}", "trainer.epochs=40"], {}, "no_early_stop", "early_stop",
     "goes through 40 evaluations"),
    ([*QUIET, "trainer.epochs=30"], {"traits": TUNED}, "no_early_stop", "early_stop", "a fine-tuning goes through 30"),
    (["checkpoint.metric=val/ap50"], {}, "wrong_way_round", "checkpoint.mode", "the lowest val/ap50 for the best"),
    (["early_stop={metric: val/loss, mode: max, patience: 3}"], {}, "wrong_way_round", "early_stop.mode",
     "the highest val/loss"),
    (["checkpoint.metric=val/ema/loss"], {}, "no_such_metric", "checkpoint.metric", "no weights are averaged"),
    (["early_stop={metric: val/epee, patience: 3}"], {"traits": Traits(metrics=("epe", "bad1"))}, "no_such_metric",
     "early_stop.metric", "an evaluation has loss, epe, bad1"),
    (["data.batch_size=64"], {"facts": Facts(train_samples=40)}, "batch_larger_than_data", "data.batch_size",
     "is 64, and there are 40 samples"),
    (["trainer.accumulate=16"], {"facts": Facts(train_samples=80)}, "one_step_an_epoch", "trainer.accumulate",
     "is 16, and an epoch has 10 batches"),
    (["data.workers=64"], {"facts": Facts(cores=4)}, "workers_beyond_cores", "data.workers", "has 4 cores"),
    (["trainer.device=cpu", "trainer.amp=bf16"], {}, "narrow_on_a_cpu", "trainer.amp", "bf16 on a CPU"),
    (["checkpoint.every_epochs=10"], {}, "saved_at_the_end_only", "checkpoint.every_epochs", "every 10 epochs"),
    (["checkpoint.every_iterations=1000"], {"facts": Facts(train_samples=800)}, "save_never_due",
     "checkpoint.every_iterations", "every 1000 batches, and the run has 1000"),
    ([], {"facts": Facts(train_samples=48_000)}, "saves_far_apart", "checkpoint.every_minutes", "6000 batches"),
    (["checkpoint.keep=20"], {"facts": Facts(checkpoint_bytes=GIB, free_bytes=12 * GIB)}, "disk_too_small",
     "checkpoint.keep", "32 files of 1 GiB will be kept, 32 in all, and 12 are free"),  # 20, 1 best, 1 new, 10 bundles
]  # fmt: skip

# Nothing is objected to here.
GOOD = [
    ([], {}),
    (["optimizer.lr=1.4e-3", "data.batch_size=16", "schedule.name=one_cycle"], {"traits": KNOWN}),
    (["optimizer.lr=2e-3", "data.batch_size=64", "schedule.name=one_cycle"], {"traits": KNOWN}),  # the root of four
    (["optimizer={name: SGD, lr: 0.1}"], {"traits": KNOWN}),  # what is known is known of Adam
    (["optimizer.lr=2e-3", "schedule={name: cosine, warmup_epochs: 1}"], {}),
    (["schedule={name: sequence, parts: [{epochs: 2, schedule: {name: cosine}}, {schedule: {name: constant}}]}"], {}),
    (["schedule={name: warm_restarts, period_epochs: 1, multiplier: 2}", "trainer.epochs=7"], {}),  # 1 + 2 + 4
    (QUIET, {"traits": TRANSFORMER}),
    (["ema.decay=0.999"], {"facts": Facts(train_samples=800)}),  # its own warm-up
    (["ema={decay: 0.99, warmup: false}"], {"facts": Facts(train_samples=800)}),
    (["loss.xy=0.5", "loss.rotation=1.0", "loss.colour=0.333"], {"traits": SUMS}),
    (["loss.kl={from: 0, to: 1, epochs: 10}", "loss.x=1.0", "checkpoint.metric=val/mse"], {}),
    (["loss.kl={from: 0, to: 0.1, epochs: 5}", "loss.x=1.0"], {}),  # a loss that moves by less than a tenth
    (["loss.kl={from: 0, to: 1, epochs: 1}", "loss.x=1.0"], {}),  # over before the first evaluation
    (["early_stop.patience=8"], {}),
    (["early_stop={patience: 20, unit: epochs, target: 0.1}"], {}),  # it waits for something else
    (["early_stop={patience: 500, unit: iterations}"], {"facts": Facts(train_samples=800)}),
    (["checkpoint.metric=val/ema/loss", "ema.decay=0.9"], {}),
    (["checkpoint={metric: val/ap/disc, mode: max}"], {"traits": Traits(metrics=("ap",))}),
    (["data.workers=8"], {"facts": Facts(cores=2)}),
    (["checkpoint.every_minutes=20"], {"facts": Facts(train_samples=48_000)}),
    (["checkpoint.keep=20"], {"facts": Facts(checkpoint_bytes=GIB, free_bytes=40 * GIB)}),
    (["trainer.amp=bf16"], {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "known", "name", "key", "told"), BAD, ids=[f"{number}-{row[2]}" for number, row in enumerate(BAD)]
)
def test_it_is_objected_to_and_the_remedy_ends_it(settings, known, name, key, told, tmp_path):
    found = objections(*settings, **known)
    assert [(objection.name, objection.key) for objection in found] == [(name, key)]
    assert told in found[0].message
    assert found[0].why
    assert ends(found[0], tmp_path, *settings, **known)


@pytest.mark.parametrize(("settings", "known"), GOOD, ids=range(len(GOOD)))
def test_there_is_nothing_against_it(settings, known):
    assert names(*settings, **known) == []


@pytest.mark.parametrize(
    ("facts", "name", "told"),
    [
        (Facts(shared=("run-1", "run-2")), "leaking_split", "has 2 in common with the training data: run-1, run-2"),
        (Facts(val_samples=3), "small_split", "3 samples validate"),
        (Facts(shuffled=True), "shuffled_evaluation", "a loader that shuffles"),
    ],
)
def test_what_no_setting_mends_is_told_in_words(facts, name, told):
    (found,) = objections(facts=facts)
    assert (found.name, found.advice[0].override) == (name, "")
    assert told in found.message
    assert "try:" in found.text()


def test_a_few_pictures_with_an_answer_for_each_pixel_are_enough():
    assert names(facts=Facts(val_samples=3), traits=Traits(dense=True)) == []


def test_where_the_disk_holds_not_even_the_fewest_another_one_is_named():
    (found,) = objections(facts=Facts(checkpoint_bytes=GIB, free_bytes=GIB))
    assert found.advice[0].why.startswith("--output on a disk with 4 GiB")


def test_what_is_meant_can_be_accepted():
    settings = ["optimizer.weight_decay=1e-4", "optimizer.decay_norms=true"]
    assert names(*settings) == ["decay_on_norms"]
    assert names(*settings, "review.accept=[decay_on_norms]") == []


def test_an_objection_knows_where_its_setting_stands():
    (found,) = objections("checkpoint.metric=val/ap50")
    assert found.place == "command line: checkpoint.metric=val/ap50"  # of a default: where its section is
    (found,) = objections("checkpoint.metric=val/ap50", "checkpoint.mode=min")
    assert found.place == "command line: checkpoint.mode=min"


def test_every_rule_is_in_the_table_of_the_page():
    page = (Path(__file__).resolve().parents[2] / "docs" / "review.md").read_text(encoding="utf-8")
    listed = {name for row in re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE) for name in row.split("`")[1::2]}
    made = {row[2] for row in BAD} | {"small_split", "shuffled_evaluation"}
    assert len(RULES) >= 30
    assert made <= listed

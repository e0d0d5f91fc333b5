from ignition.monitor.foreign.names import Names


def test_a_more_telling_name_takes_the_place_of_a_less_telling_one():
    names = Names()
    assert not names.learn(["loss", "accuracy"])
    assert names.ours == {"loss": "train/batch_loss"}
    assert names.learn(["train_loss_step"])
    assert names.ours == {"train_loss_step": "train/batch_loss"}
    assert names.name("loss") == "loss"
    assert not names.learn(["train_loss"])
    assert names.notes() == ["taken for: train_loss_step = train/batch_loss"]


def test_our_own_names_are_ours():
    names = Names()
    ours = ["train/batch_loss", "train/loss/l1", "val/epe", "val/signal/std", "baseline/epe", "train/learning_rate"]
    names.learn(ours)
    assert names.ours == {name: name for name in ours}
    assert names.notes() == []


def test_what_a_person_says_counts_most():
    names = Names({"total": "train/batch_loss", "nothing": "val/loss"})
    names.learn(["train/batch_loss", "total", "val_loss"])
    assert names.ours == {"total": "train/batch_loss", "val_loss": "val/loss"}
    assert names.name("train/batch_loss") == "train/batch_loss (theirs)"
    assert names.notes() == [
        "taken for: total = train/batch_loss, val_loss = val/loss",
        "--map: no 'nothing' in the log; it has train/batch_loss, total, val_loss",
    ]


def test_names_of_an_evaluation_that_say_how_fast_it_was_are_none_of_a_model():
    names = Names(passed_over="train_loss")
    names.learn(["eval_loss", "eval_f1", "eval_runtime", "eval_samples_per_second", "train_loss", "Valid/IoU"])
    assert names.ours == {"eval_loss": "val/loss", "eval_f1": "val/f1", "Valid/IoU": "val/iou"}


def test_a_loss_that_does_not_say_of_what_it_is():
    for names in (Names(by_epochs=True), Names()):
        names.learn(["loss", "val_loss"], of_epochs=frozenset({"loss"}))
        assert names.ours == {"loss": "train/epoch_avg_loss", "val_loss": "val/loss"}

"""From the config to a doctor: every setting arrives."""

from ignition import assembly
from ignition.config import load_config
from ignition.stability import RunSettings


def doctor(*overrides):
    config = load_config(None, overrides=["trainer.epochs=6", *overrides])
    return assembly.doctor_of(config, samples=lambda iteration: [], epoch_length=10)


def test_the_settings_that_advice_is_worked_out_from():
    given = doctor(
        "optimizer.lr=0.01", "optimizer.weight_decay=0.1", "clip={kind: norm, max_norm: 2.0}", "trainer.amp=fp16",
        "schedule.warmup_epochs=2", "data.batch_size=4", "data.workers=3", "loss={a: 1.0}",
    ).settings  # fmt: skip
    assert given == RunSettings(0.01, 2.0, 2.0, 4, 3, True, 0.1, True)
    plain = doctor("schedule.name=one_cycle").settings
    assert (plain.max_norm, plain.warmup_epochs, plain.half_precision, plain.weighted) == (0.0, None, False, False)


def test_the_preset_is_a_matter_of_one_key():
    assert "overfitting" in doctor().detectors
    chosen = doctor("stability.rules=absolute").detectors
    assert "absolute" in chosen
    assert "overfitting" not in chosen


def test_the_doctor_knows_what_is_changed_on_purpose():
    changes = doctor(
        "schedule={name: warm_restarts, period_epochs: 2}",
        "loss={a: {at: {0: 1.0, 3: 0.5}}, b: {from: 0, to: 1, epochs: 2}}",
    ).changes
    assert (changes.rates, changes.weights, changes.ramps) == ([22, 42], [31], [(2, 21)])


def dead(*loss):
    """What is advised of a term that is no better than a constant when 50 iterations are done."""
    one = doctor(*loss)
    one.read({"iteration": 0, "epoch": 0, "baseline/loss/a": 1.0, "baseline/loss/b": 1.0})
    rows = [{"iteration": 10 * n, "epoch": n, "val/loss/a": 0.1, "val/loss/b": 1.0} for n in range(1, 6)]
    return [finding.advice[0].override for row in rows for finding in one.read(row)]


def test_weights_are_those_of_the_evaluation():
    assert dead("loss={a: 1.0, b: 0.5}") == ["loss.b=1.5"]
    assert dead("loss={a: 1.0, b: {at: {0: 1.0, 4: 2.0}}}") == ["loss.b=6.0"]
    assert dead("loss={a: 1.0, b: {at: {0: 1.0, 4.9: 0.0}}}") == []  # from iteration 50 on it is off
    assert dead("loss={a: 1.0, b: {at: {0: 1.0, 4.95: 0.0}}}") == ["loss.b=3.0"]
    assert dead() == ["loss.b=3.0 loss.a=1.0"]  # every term counts 1, and a section `loss` has to name all


def test_what_is_advised_can_be_pasted():
    for override in (*dead(), *dead("loss={a: 1.0, b: {from: 1, to: 2, epochs: 1}}")):
        load_config(None, overrides=override.split())

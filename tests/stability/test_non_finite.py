import math

from ignition.stability import NonFinite, RunSettings


def test_a_term_is_named_with_the_samples():
    detector = NonFinite(settings=RunSettings(learning_rate=1e-3))
    assert detector.update(1, {"xy": 1.0, "kl": 2.0}, {"w": 0.1}) is None
    finding = detector.update(2, {"xy": 1.0, "kl": math.inf, "rotation": math.nan}, {"w": math.nan}, samples=[7, 9])
    assert finding.message == "loss term 'kl' is inf, and 1 more at iteration 2"
    assert (finding.name, finding.severity, finding.subject) == ("non_finite", "critical", "kl")
    assert finding.evidence == {
        "terms": ["kl=inf", "rotation=nan"], "parameters": ["w"], "parameters_in_all": 1, "samples": [7, 9],
    }  # fmt: skip
    assert [advice.override for advice in finding.advice] == ["loss.kl=0 loss.rotation=0", "", "optimizer.lr=5e-4"]
    assert finding.advice[1].why == "look at the samples [7, 9]"


def test_a_loss_without_terms_cannot_be_left_out():
    finding = NonFinite().update(2, {"loss": math.nan})
    assert finding.message == "loss is nan at iteration 2"
    assert [advice.override for advice in finding.advice] == [""]


def test_gradients_alone_are_told_by_the_first_parameter():
    gradients = {f"layer{i}.weight": math.nan for i in range(30)} | {"head": 1.0}
    finding = NonFinite().update(5, {"loss": 1.0}, gradients)
    assert finding.message == "gradient of 30 parameters, first 'layer0.weight', not finite at iteration 5"
    assert finding.evidence["parameters"] == [f"layer{i}.weight" for i in range(10)]
    assert finding.evidence["parameters_in_all"] == 30


def test_the_norm_of_all_gradients_is_enough():
    assert NonFinite().update(5, {"loss": 1.0}, {"all": math.inf}).message == "gradient not finite at iteration 5"


def test_gradients_of_a_scaled_loss_are_how_the_scale_is_found():
    detector = NonFinite(settings=RunSettings(half_precision=True))
    assert detector.update(1, {"loss": 1.0}, {"w": math.inf}, scaled=True) is None
    finding = detector.update(2, {"loss": math.inf}, {"w": math.inf}, scaled=True)
    assert "trainer.amp=bf16" in [advice.override for advice in finding.advice]


def test_it_is_told_once_counted_and_over_with_the_first_finite_one():
    detector, bad, good = NonFinite(), {"loss": math.nan}, {"loss": 1.0}
    told = [detector.update(i, losses) is not None for i, losses in enumerate([good, bad, bad, bad])]
    assert told == [False, True, False, False]
    assert detector.in_row == 3
    assert detector.update(3, good) is None  # an old iteration is no proof that it is over
    assert detector.active
    assert detector.update(4, good) is None
    assert (detector.active, detector.in_row) == (False, 0)
    assert detector.update(5, bad) is not None

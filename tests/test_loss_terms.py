"""Weights of loss terms: numbers, schedules, nought."""

import pytest
import torch

from ignition.loss_terms import LossError, LossWeights


def test_a_term_of_weight_nought_is_left_out_even_if_it_is_infinite():
    weights = LossWeights({"fit": 1.0, "kl": 0.0})
    terms = {"fit": torch.tensor(2.0), "kl": torch.tensor(float("inf"))}
    assert float(weights.total(terms, weights.at(0.0))) == 2.0  # 0 * inf would be NaN


def test_a_term_of_weight_nought_need_not_be_there():
    weights = LossWeights({"fit": 2.0, "census": lambda epoch: float(epoch >= 3)})
    assert float(weights.total({"fit": torch.tensor(1.5)}, weights.at(0.0))) == 3.0
    with pytest.raises(LossError, match="loss.census has a weight, but the recipe gives no such term"):
        weights.total({"fit": torch.tensor(1.5)}, weights.at(3.0))


def test_terms_and_weights_that_do_not_meet_are_all_told_at_once():
    weights = LossWeights({"smoth": 0.1})
    with pytest.raises(LossError) as caught:
        weights.total({"smooth": torch.tensor(1.0)}, weights.at(0.0))
    assert str(caught.value).splitlines() == [
        "loss term 'smooth' of the recipe has no weight: add loss.smooth (0 leaves it out)",
        "loss.smoth has a weight, but the recipe gives no such term (it gives: smooth)",
    ]


def test_without_weights_every_term_counts_one():
    weights = LossWeights()
    assert float(weights.total({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, weights.at(0.0))) == 3.0


def test_all_weights_nought_is_an_error():
    weights = LossWeights({"a": 0})
    with pytest.raises(LossError, match="nothing to minimise"):
        weights.total({"a": torch.tensor(1.0)}, weights.at(0.0))


@pytest.mark.parametrize("given", [None, {"fit": 1.0, "kl": 0.5}, {"fit": 1.0, "kl": lambda epoch: 0.5}])
def test_a_term_can_be_left_out_while_a_run_goes_on(given):
    weights = LossWeights(given)
    terms = {"fit": torch.tensor(2.0), "kl": torch.tensor(float("inf"))}
    assert float(weights.total(terms, weights.at(0.0))) == float("inf")
    assert weights.leave_out("kl")
    assert float(weights.total(terms, weights.at(0.0))) == 2.0
    assert weights.at(1.0).get("kl", 0.0) == 0.0  # so that a recipe need not compute it
    assert not weights.leave_out("kl")

    resumed = LossWeights(given)
    resumed.load_state_dict(weights.state_dict())
    assert float(resumed.total(terms, resumed.at(0.0))) == 2.0
    resumed.load_state_dict({"left_out": []})  # back to before
    assert float(resumed.total(terms, resumed.at(0.0))) == float("inf")


def test_the_last_term_that_counts_is_never_left_out():
    weights = LossWeights({"fit": 1.0, "smooth": 0.0, "kl": 0.5})
    weights.total({name: torch.tensor(1.0) for name in ("fit", "smooth", "kl")}, weights.at(0.0))
    assert weights.leave_out("kl")
    assert not weights.leave_out("fit")

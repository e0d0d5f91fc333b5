import math

import pytest

from ignition.stability import Advice, RunSettings
from ignition.stability.collapse import RULES, Collapse, CollapseRule


def found(detector, rows, first=0, **context):
    """(evaluation, kind) of each finding."""
    return [(i, f.subject) for i, signals in enumerate(rows, first) for f in detector.update(i, signals, **context)]


@pytest.mark.parametrize(
    ("collapsed", "fine", "kind", "at"),
    [
        ({"mean_flow": 0.05, "photometric_gain": 0.0}, {"mean_flow": 0.05, "photometric_gain": 0.2}, "zero_flow", 4),
        ({"mean_flow": 0.05, "photometric_gain": -0.1}, {"mean_flow": 0.8, "photometric_gain": -0.1}, "zero_flow", 4),
        ({"flow_ratio": 0.02}, {"flow_ratio": 0.5}, "zero_flow", 4),
        ({"std_ratio": 0.05}, {"std_ratio": 0.8}, "flat_prediction", 4),
        ({"batch_std_ratio": 0.05}, {"batch_std_ratio": 0.8}, "same_for_all", 4),
        ({"active_units": 0.02}, {"active_units": 0.3}, "posterior_collapse", 2),
        ({"kl_per_dim": 1e-4}, {"kl_per_dim": 0.03}, "posterior_collapse", 2),
        ({"no_object_share": 1.0}, {"no_object_share": 0.98}, "no_object", 4),
    ],
)
def test_each_collapse_and_its_healthy_twin(collapsed, fine, kind, at):
    assert found(Collapse(), [collapsed] * 9) == [(at, kind)]
    assert found(Collapse(), [fine] * 9) == []
    assert found(Collapse(), [*[collapsed] * at, fine, *[collapsed] * at]) == []  # never long enough in a row


def test_every_rule_is_tried_above():
    assert len(RULES) == 7
    assert {rule.name for rule in RULES} == {
        "zero_flow", "flat_prediction", "same_for_all", "posterior_collapse", "no_object",
    }  # fmt: skip


def test_a_missing_or_broken_signal_does_not_count():
    rows = [{"std_ratio": 0.05}, {}, {"std_ratio": math.nan}, {"mean_flow": 0.0}] * 5
    assert found(Collapse(), rows) == [(16, "flat_prediction")]


def test_the_posterior_is_not_judged_while_a_weight_is_on_its_way():
    detector = Collapse()
    assert found(detector, [{"active_units": 0.0}] * 9, ramping=True) == []
    assert found(detector, [{"active_units": 0.0}] * 9, first=20) == [(22, "posterior_collapse")]
    assert found(Collapse(), [{"std_ratio": 0.0}] * 9, ramping=True) == [(4, "flat_prediction")]


def test_it_says_what_holds_and_what_to_try():
    detector = Collapse(settings=RunSettings(learning_rate=2e-4, max_norm=0.0))
    signals = {"mean_flow": 0.04, "photometric_gain": 0.001}
    finding = [detector.update(100 * i, signals) for i in range(5)][-1][0]
    assert finding.message == (
        "zero_flow: the flow is next to 0 px everywhere and explains the images no better than no flow does "
        "(mean_flow 0.04 < 0.1, photometric_gain 0.001 < 0.01, 5 evaluations)"
    )
    assert (finding.name, finding.first, finding.last) == ("collapse", 0, 400)
    assert finding.evidence == {"mean_flow": 0.04, "photometric_gain": 0.001, "evaluations": 5}
    assert [advice.override for advice in finding.advice] == [
        "schedule.name=one_cycle",
        "",
        "optimizer.lr=1e-4",
        "clip.kind=norm clip.max_norm=1.0",
    ]


def test_two_rules_about_one_collapse_tell_it_once():
    detector = Collapse()
    rows = [{"active_units": 0.0, "kl_per_dim": 0.0}] * 4
    assert found(detector, rows) == [(2, "posterior_collapse")]
    assert found(detector, [{"active_units": 0.5, "kl_per_dim": 0.0}], first=10) == []
    assert detector.collapsed == ("posterior_collapse",)  # one of them still holds
    assert found(detector, [{"active_units": 0.5, "kl_per_dim": 0.1}], first=11) == []
    assert not detector.active


def test_rules_of_ones_own():
    rule = CollapseRule(
        "one_class", {"entropy": ("<", 0.01)}, 2, "one class is all that is predicted", (Advice("", "x"),)
    )
    detector = Collapse((*RULES, rule))
    assert found(detector, [{"entropy": 0.0, "std_ratio": 0.5}] * 3) == [(1, "one_class")]


def test_a_state_of_other_rules_is_refused():
    state = Collapse(RULES[:2]).state_dict()
    with pytest.raises(ValueError, match="the saved state is of rules"):
        Collapse().load_state_dict(state)


@pytest.mark.parametrize(
    ("limits", "evaluations", "message"),
    [
        ({"a": ("=", 1.0)}, 5, "a = 1.0"),
        ({"a": ("<", math.nan)}, 5, "a < nan"),
        ({}, 5, "at least one limit"),
        ({"a": ("<", 1.0)}, 0, "at least one evaluation"),
    ],
)
def test_a_rule_says_what_it_cannot_be(limits, evaluations, message):
    with pytest.raises(ValueError, match=message):
        CollapseRule("mine", limits, evaluations, "x")

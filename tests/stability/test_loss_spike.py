import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignition.stability import LossSpike, RunSettings

CURVES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "curves"


def calm(count, level=2.0, noise=0.1):
    """Values that go up and down by up to half of ``noise``, always the same ones."""
    return [level + noise * ((7 * i) % 11 - 5) / 10 for i in range(count)]


def found(detector, values, first=0):
    """Iterations at which something was found."""
    return [i for i, value in enumerate(values, first) if detector.update(i, value)]


def test_a_spike_is_found_where_it_is_and_once():
    values = [*calm(100), 9.0, *calm(100)]
    assert found(LossSpike(), values) == [100]


def test_it_says_how_far_out_and_what_to_do():
    spike = LossSpike(settings=RunSettings(learning_rate=1e-4, max_norm=0.0))
    assert found(spike, calm(100)) == []
    finding = spike.update(100, 9.0)
    assert (finding.name, finding.severity, finding.first, finding.last) == ("loss_spike", "warning", 100, 100)
    assert finding.message == "loss 9 at iteration 100, 157 scales above its median of 2"
    assert finding.evidence["median"] == 2.0
    assert finding.evidence["scale"] == pytest.approx(1.4826 * 0.03)
    # clip by 1, then half the rate: what the change notes of a detection model with spikes of 66 times the loss did
    assert [advice.override for advice in finding.advice] == ["clip.kind=norm clip.max_norm=1.0", "optimizer.lr=5e-5"]


def test_who_clips_already_is_not_told_to():
    spike = LossSpike(settings=RunSettings(learning_rate=1e-4, max_norm=1.0))
    found(spike, calm(100))
    assert [advice.override for advice in spike.update(100, 9.0).advice] == ["optimizer.lr=5e-5"]


def test_a_level_that_stays_is_one_finding_until_it_is_usual_and_the_next_spike_another():
    spike = LossSpike()
    assert found(spike, calm(100) + calm(200, level=4.0)) == [100]
    assert not spike.active
    assert found(spike, [9.0], 300) == [300]
    assert spike.active
    assert found(spike, [4.0, 9.0], 301) == [302]


@pytest.mark.parametrize(("height", "times"), [(0.45, [100]), (0.20, [])])  # about 10 and 4.5 scales
def test_it_takes_six_scales(height, times):
    assert found(LossSpike(), [*calm(100), 2.0 + height, *calm(20)]) == times


def test_three_spikes_close_together_do_not_hide_each_other():
    values = calm(160)
    for place in (100, 120, 140):
        values[place] = 6.0
    assert found(LossSpike(), values) == [100, 120, 140]


def test_batches_that_are_odd_again_and_again_are_told_four_times():
    values = calm(1500)
    for place in range(100, 1500, 100):
        values[place] = 2.35  # 8 scales
    values[1450] = 5.0
    assert found(LossSpike(), values) == [100, 200, 300, 400, 1450]


def test_a_loss_of_two_kinds_of_batches_has_no_spikes():
    # mixup: a tenth of the batches is much harder. By the MAD alone each of them is 14 deviations out
    values = [value + 0.6 * (i % 10 == 3) for i, value in enumerate(calm(2000))]
    assert found(LossSpike(), values) == []


def test_not_finite_is_somebody_elses_finding_and_spoils_nothing():
    values = calm(200)
    with_faults = [math.nan if i % 7 == 3 else math.inf if i % 7 == 5 else value for i, value in enumerate(values)]
    assert found(LossSpike(), [*with_faults, 9.0]) == [200]


def test_a_fall_is_no_spike_and_a_known_event_makes_another_loss_usual():
    spike = LossSpike()
    assert found(spike, calm(100) + calm(100, level=0.5)) == []
    spike.reset()
    assert found(spike, calm(100, level=4.0), 200) == []


@given(st.sampled_from([0.001, 0.5, 64.0]), st.integers(-10, 10))
def test_neither_the_unit_nor_the_zero_of_a_loss_matters(factor, shift):
    values = [*calm(100), 3.0, *calm(30), 2.3, *calm(30)]
    changed = [factor * (value + shift) for value in values]
    assert found(LossSpike(), changed) == found(LossSpike(), values) == [100, 131]


@pytest.mark.parametrize(("settings", "message"), [({"k": 0.0}, "k is 0.0"), ({"window": 2}, "window is 2")])
def test_says_what_it_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        LossSpike(**settings)


def test_a_term_is_told_by_its_name():
    spike = LossSpike(subject="kl")
    found(spike, calm(100))
    finding = spike.update(100, 9.0)
    assert (finding.subject, finding.message[:4]) == ("kl", "kl 9")


def gpt(run):
    file = CURVES / "modded_nanogpt" / "steps.jsonl.gz"
    if not file.exists():
        pytest.skip(f"no real curves at {file}")
    with gzip.open(file, "rt") as lines:
        for row in map(json.loads, lines):
            if run in row["id"]:
                return row["step"], row["loss"]
    raise AssertionError(f"{run} is not in {file}")


def test_on_a_real_run_it_finds_the_batch_of_odd_data():
    spike = LossSpike()
    steps, losses = gpt("2024-10-14_ModernArch")
    places = [step for step, loss in zip(steps, losses) if spike.update(step, loss)]
    assert 919 in places  # the same batch in nearly all runs of this benchmark
    assert len(places) <= 3  # of 5100


def test_of_a_hundred_noisy_losses_nearly_all_spikes_are_found_and_few_that_are_not_there():
    random = np.random.default_rng(0)
    level = 1.0 + 2.0 * np.exp(-np.arange(600) / 200)
    false, missed = 0, 0
    for _ in range(100):
        broken = level + 0.05 * random.standard_normal(600)
        broken[500] += 20 * 0.05
        places = found(LossSpike(), broken.tolist())
        missed += 500 not in places
        false += len(set(places) - {500})
    assert (false, missed) == (0, 0)

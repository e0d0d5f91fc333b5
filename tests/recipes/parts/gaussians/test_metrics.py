"""Metrics by hand, in any batches, through ignite's own engine; the mean predictor has exactly 1."""

import math

import ignite.distributed as idist
import pytest
import torch
import torch.multiprocessing as multiprocessing
from ignite.engine import Engine
from ignite.exceptions import NotComputableError

from recipes.parts.gaussians.form import FORMS
from recipes.parts.gaussians.metrics import CodeUse, GaussianErrors, PictureErrors, SampleDiversity
from recipes.parts.gaussians.vae import Reconstruction

GROUPS = FORMS["canonical"].groups
NOTHING = torch.zeros(0)


def found(columns, truth, weights=None, mean=NOTHING, log_variance=NOTHING):
    weights = torch.ones_like(truth) if weights is None else weights
    return Reconstruction(NOTHING, NOTHING, columns, truth, weights, mean, log_variance)


def code(mean, log_variance=None):
    empty = torch.zeros(len(mean), 1, 9)
    return found(empty, empty, mean=mean, log_variance=torch.zeros_like(mean) if log_variance is None else log_variance)


def scores(metric, *outputs):
    engine = Engine(lambda engine, output: output)
    metric.attach(engine, "metric")
    return engine.run(outputs).metrics


def test_the_mean_predictor_has_exactly_one_and_the_truth_nought():
    truth = 0.3 + 2 * torch.randn(4, 16, 9)

    assert scores(GaussianErrors(GROUPS), found(torch.zeros_like(truth), truth)) == {
        "xy": 1.0, "scale": 1.0, "rotation": 1.0, "colour": 1.0, "std_ratio": 0.0,
    }  # fmt: skip
    exact = scores(GaussianErrors(GROUPS), found(truth, truth))
    assert exact == pytest.approx({"xy": 0, "scale": 0, "rotation": 0, "colour": 0, "std_ratio": 1.0})


def test_errors_by_hand():
    truth = torch.tensor([1.0, -1.0]).view(1, 2, 1).expand(1, 2, 9)
    guess = truth.clone()
    guess[..., 2:4] = 0.5 * truth[..., 2:4]  # a quarter of the squares is left
    guess[..., 6] = 0.0  # one of three colours is lost
    result = scores(GaussianErrors(GROUPS), found(guess, truth))

    assert result == pytest.approx(
        {"xy": 0.0, "scale": 0.25, "rotation": 0.0, "colour": 1 / 3, "std_ratio": math.sqrt((6 + 2 * 0.25) / 9)}
    )


def test_an_angle_counts_by_its_weight():
    truth, weights = torch.ones(1, 2, 9), torch.ones(1, 2, 9)
    weights[0, 1, 4:6] = 0.25
    guess = truth.clone()
    guess[0, 1, 4:6] = 0.0

    assert scores(GaussianErrors(GROUPS), found(guess, truth, weights))["rotation"] == pytest.approx(0.25 / 1.25)


def test_batches_do_not_matter():
    torch.manual_seed(0)
    guess, truth, mean = torch.randn(6, 8, 9), torch.randn(6, 8, 9), torch.randn(6, 5)
    whole = found(guess, truth, mean=mean, log_variance=mean)
    parts = [found(guess[i : i + k], truth[i : i + k], mean=mean[i : i + k], log_variance=mean[i : i + k])
             for i, k in ((0, 1), (1, 3), (4, 2))]  # fmt: skip

    for make in (lambda: GaussianErrors(GROUPS), CodeUse):
        assert scores(make(), *parts) == pytest.approx(scores(make(), whole))


def all_scores(*outputs):
    pictures = [(output.columns.reshape(-1, 3, 8, 8), output.truth.reshape(-1, 3, 8, 8)) for output in outputs]
    numbers = scores(GaussianErrors(GROUPS), *outputs) | scores(CodeUse(), *outputs)
    return numbers | scores(PictureErrors(), *pictures) | scores(SampleDiversity(), *pictures)


def draw(count, seed):
    generator = torch.Generator().manual_seed(seed)
    guess, truth = (torch.rand(count, 64, 9, generator=generator) for _ in range(2))
    mean = torch.randn(count, 5, generator=generator)
    return found(guess, truth, mean=mean, log_variance=-mean)


def measure_on_rank(rank, folder):
    # The ranks have different sets, and the second has two batches.
    idist.initialize("gloo", init_method=f"file://{folder}/meeting", world_size=2, rank=rank)
    outputs = [draw(2, 0)] if rank == 0 else [draw(1, 1), draw(3, 2)]
    torch.save(all_scores(*outputs), f"{folder}/{rank}.pt")
    idist.finalize()


def test_two_processes_report_what_one_would(tmp_path):
    multiprocessing.start_processes(measure_on_rank, (str(tmp_path),), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))

    assert first == second == pytest.approx(all_scores(draw(2, 0), draw(1, 1), draw(3, 2)))
    assert len(first) == 5 + 2 + 2 + 1


def test_units_that_say_the_same_for_all_are_not_active():
    # Variances of the mean: 0, 0.0025, 0.25 and 1; the limit is 0.01.
    mean = torch.tensor([[5.0, 0.05, 0.5, 1.0], [5.0, -0.05, -0.5, -1.0]])
    result = scores(CodeUse(), code(mean))

    assert result["active_units"] == 0.5
    assert result["kl"] == pytest.approx((12.5 + 0.00125 + 0.125 + 0.5) / 4)


def test_pictures_by_hand():
    truth = torch.full((2, 3, 16, 16), 0.5)
    guess = truth.clone()
    guess[0] += 0.1  # 20 dB; the second is the same: 100 dB
    result = scores(PictureErrors(), (guess, truth))

    assert result["render_psnr"] == pytest.approx(60.0, abs=1e-3)
    assert 0.98 < result["ssim"] <= 1.0
    bright = scores(PictureErrors(), (truth + 9, torch.ones_like(truth)))
    assert bright["render_psnr"] == pytest.approx(100.0)  # colours are cut to what can be shown


def test_samples_that_are_all_the_same_have_no_diversity():
    torch.manual_seed(0)
    truth = torch.rand(64, 3, 8, 8)

    assert scores(SampleDiversity(), (truth[:1].expand(8, -1, -1, -1), truth)) == {"diversity": pytest.approx(0.0)}
    assert scores(SampleDiversity(), (truth, truth))["diversity"] == pytest.approx(1.0)
    half = 0.5 + (truth - 0.5) / 2
    assert scores(SampleDiversity(), (half[:32], truth[:32]), (half[32:], truth[32:]))["diversity"] == pytest.approx(
        0.5
    )
    assert scores(SampleDiversity(), (truth, truth[:1])) == {}


@pytest.mark.parametrize("metric", [GaussianErrors(GROUPS), CodeUse(), PictureErrors(), SampleDiversity()])
def test_nothing_to_measure_by_is_an_error(metric):
    with pytest.raises(NotComputableError):
        metric.compute()

"""Scores by hand, in any batches, against scikit-like formulas written out; the mean image has a correlation of 0."""

import ignite.distributed as idist
import pytest
import torch
import torch.multiprocessing as multiprocessing
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from torch import nn

from recipes.parts.staining.core import Window
from recipes.parts.staining.datasets import WholeCores
from recipes.parts.staining.metrics import MeanImage, StainingErrors
from recipes.parts.staining.procedural_cores import ProceduralCore
from recipes.parts.staining.virtual_staining import Staining, VirtualStaining


def found(markers, truth, valid=None):
    if valid is None:
        valid = torch.ones(len(truth), 1, *truth.shape[2:], dtype=torch.bool)
    return Staining(markers, truth, valid, torch.ones(truth.shape[1]))


def scores(*outputs, channels=("a",), counted=(True,)):
    engine = Engine(lambda engine, output: output)
    StainingErrors(channels, counted, positive=0.5).attach(engine, "errors")
    return engine.run(outputs).metrics


def test_the_truth_has_the_best_of_all():
    truth = torch.rand(2, 1, 16, 16)

    assert scores(found(truth, truth)) == pytest.approx(
        {"pearson": 1, "ssim": 1, "psnr": 100, "mae": 0, "f1": 1, "auroc": 1, "std_ratio": 1,
         "pearson/a": 1, "psnr/a": 100, "std_ratio/a": 1}, abs=3e-3
    )  # fmt: skip


def test_scores_by_hand():
    truth = torch.rand(3, 1, 16, 16)
    guess = (0.3 * truth + 0.2 * torch.rand(3, 1, 16, 16)).clamp(0, 1)
    result = scores(found(guess, truth))
    said, true = (guess >= 0.5).flatten(), (truth >= 0.5).flatten()
    pairs = guess.flatten()[true][:, None] - guess.flatten()[~true][None]

    both = torch.stack([guess.flatten(), truth.flatten()]).double()
    assert result["pearson"] == pytest.approx(both.corrcoef()[0, 1].item(), abs=1e-6)
    assert result["mae"] == pytest.approx((guess - truth).abs().mean().item(), rel=1e-5)
    assert result["psnr"] == pytest.approx(-10 * (guess - truth).square().mean().log10().item(), abs=1e-3)
    assert result["std_ratio"] == pytest.approx((guess.std() / truth.std()).item(), rel=1e-4)
    assert result["auroc"] == pytest.approx((pairs > 0).double().mean().item(), abs=5e-3)
    hits = (said & true).sum().item()
    assert result["f1"] == pytest.approx(2 * hits / (said.sum().item() + true.sum().item()), abs=1e-9)


def test_a_constant_has_a_correlation_of_0_and_half_of_the_area():
    truth = torch.rand(2, 1, 16, 16)
    result = scores(found(torch.full_like(truth, 0.3), truth))

    assert result["pearson"] == result["std_ratio"] == result["f1"] == 0.0
    assert result["auroc"] == pytest.approx(0.5)


def test_channels_that_do_not_count_are_told_apart():
    truth = torch.rand(2, 2, 16, 16)
    guess = truth.clone()
    guess[:, 1] = 1 - truth[:, 1]
    result = scores(found(guess, truth), channels=("a", "blank"), counted=(True, False))

    assert result["pearson"] == pytest.approx(1.0)
    assert result["apart/pearson/blank"] == pytest.approx(-1.0)
    assert "pearson/blank" not in result and result["apart/mae/blank"] > 0.3


def test_a_channel_without_positive_pixels_has_no_f1_and_no_area():
    truth = torch.rand(2, 1, 16, 16) / 4

    assert {"f1", "auroc"} & scores(found(truth, truth)).keys() == set()


def test_what_is_not_valid_does_not_count():
    truth, guess = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    valid = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    valid[..., 12:] = False
    other = guess.clone()
    other[..., 12:] = 1.0
    first, second = (scores(found(image, truth, valid)) for image in (guess, other))

    names = first.keys() - {"ssim"}  # whose window reaches across
    assert {name: first[name] for name in names} == pytest.approx({name: second[name] for name in names})


def draw(count, seed):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(count, 2, 16, 16, generator=generator)
    return found(0.5 * truth + 0.5 * torch.rand(count, 2, 16, 16, generator=generator), truth)


def test_batches_do_not_matter():
    parts = [draw(1, 0), draw(3, 1), draw(2, 2)]
    whole = Staining(*(torch.cat(values) for values in list(zip(*parts))[:3]), torch.ones(2))

    both = {"channels": ("a", "b"), "counted": (True, True)}
    assert scores(*parts, **both) == pytest.approx(scores(whole, **both))


def measure_on_rank(rank, folder):
    # The ranks have different sets, and the second has two batches.
    idist.initialize("gloo", init_method=f"file://{folder}/meeting", world_size=2, rank=rank)
    outputs = [draw(2, 0)] if rank == 0 else [draw(1, 1), draw(3, 2)]
    torch.save(scores(*outputs, channels=("a", "b"), counted=(True, True)), f"{folder}/{rank}.pt")
    idist.finalize()


def test_two_processes_report_what_one_would(tmp_path):
    multiprocessing.start_processes(measure_on_rank, (str(tmp_path),), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    one = scores(draw(2, 0), draw(1, 1), draw(3, 2), channels=("a", "b"), counted=(True, True))

    assert first == second == pytest.approx(one)


def test_nothing_to_measure_by_is_an_error():
    with pytest.raises(NotComputableError, match="no pixel is valid"):
        StainingErrors(("a",), (True,), positive=0.5).compute()


def test_the_mean_image_is_the_best_constant_on_what_is_evaluated():
    model = VirtualStaining(nn.Identity(), [True, True])
    model.scaler.high.copy_(torch.tensor([10.0, 100.0]))
    valid = torch.ones(1, 4, 4, dtype=torch.bool)
    half = valid.clone()
    half[..., 2:] = False
    data = [
        {"target": torch.tensor([2.0, 50.0]).view(2, 1, 1).expand(2, 4, 4), "valid": valid},
        {"target": torch.tensor([8.0, 90.0]).view(2, 1, 1).expand(2, 4, 4), "valid": half},
    ]
    batch = {name: value[None] for name, value in data[1].items()}
    result = MeanImage(data)(model, batch)

    # 16 pixels of 0.2 and 0.5, 8 of 0.8 and 0.9.
    assert result.markers[0, :, 0, 0].tolist() == pytest.approx([0.4, (16 * 0.5 + 8 * 0.9) / 24])
    assert result.truth[0, :, 0, 0].tolist() == pytest.approx([0.8, 0.9])


def test_samples_for_the_mean_image_are_read_in_full_precision():
    """A core that is first drawn here, within an evaluation in mixed precision, is the core that is drawn elsewhere."""
    core = ProceduralCore(0, side=32)
    data = WholeCores([(core, Window(0, 0, 32, 32))])
    model = VirtualStaining(nn.Identity(), [True] * 8)
    batch = {"target": torch.zeros(1, 8, 32, 32), "valid": torch.ones(1, 1, 32, 32, dtype=torch.bool)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = MeanImage(data)(model, batch)

    assert result.markers.dtype == torch.float32
    assert torch.equal(data[0]["he"], ProceduralCore(0, side=32).read(Window(0, 0, 32, 32))["he"])

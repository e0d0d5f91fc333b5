"""Errors of disparity: exact numbers, any batching, any number of processes, through ignite's own engine."""

import math

import ignite.distributed as idist
import pytest
import torch
import torch.multiprocessing as multiprocessing
from ignite.engine import Engine
from ignite.exceptions import NotComputableError

from recipes.parts.stereo.metrics import DisparityErrors, MedianDisparity

NAN = math.nan


def make_batch(truth, focal_baseline=100.0):
    truth = torch.as_tensor(truth, dtype=torch.float32).reshape(1, 1, 1, -1)
    return {"disparity": truth, "valid": truth > 0, "focal_baseline": torch.tensor([focal_baseline])}


def row(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


def scores(*pairs, **options):
    metric = DisparityErrors(**options)
    for prediction, batch in pairs:
        metric.update((prediction, batch))
    return metric.compute()


def test_every_error_of_five_pixels_by_hand():
    # Errors 0, 1, 2.5, 4 px; the fifth pixel has no truth.
    found = scores((row(10, 21, 7.5, 104, 50), make_batch([10, 20, 5, 100, 0])))

    assert found == pytest.approx(
        {
            "epe": 7.5 / 4,
            "bad1": 50.0,  # 1 px is not more than 1 px
            "bad2": 50.0,
            "bad3": 25.0,
            "d1": 0.0,  # 4 px of 100 is not more than 5 %
            "abs_rel": (0 + 1 / 21 + 2.5 / 7.5 + 4 / 104) / 4,  # |Z - Z*| / Z* = |t / d - 1|
            "rmse": math.sqrt((0 + (100 / 21 - 5) ** 2 + (100 / 7.5 - 20) ** 2 + (100 / 104 - 1) ** 2) / 4),
            "delta1": 0.75,  # 1.5 is above 1.25
            "delta2": 1.0,  # and below 1.5625
            "delta3": 1.0,
            "density": 0.8,
        },
        rel=1e-5,
    )
    assert tuple(found) == DisparityErrors.NAMES


def test_d1_needs_both_conditions():
    # 4 px of 60 is 6.7 %: bad. 4 px of 100 is 4 %: good. 2 px of 10 is 20 %: good.
    assert scores((row(64, 104, 12), make_batch([60, 100, 10])))["d1"] == pytest.approx(100 / 3)


def test_pixels_count_alike_in_whatever_batch_they_come():
    torch.manual_seed(0)
    truth, prediction = 5 + 20 * torch.rand(6, 1, 4, 5), 5 + 20 * torch.rand(6, 1, 4, 5)
    valid = torch.rand(6, 1, 4, 5) < torch.linspace(0.1, 0.9, 6).view(6, 1, 1, 1)
    batch = {"disparity": truth, "valid": valid, "focal_baseline": torch.full((6,), 50.0)}

    whole = scores((prediction, batch))
    singles = scores(*((prediction[i : i + 1], {k: v[i : i + 1] for k, v in batch.items()}) for i in range(6)))

    assert singles == pytest.approx(whole, rel=1e-6)
    assert whole["epe"] == pytest.approx((prediction - truth).abs()[valid].mean().item(), rel=1e-5)


def test_metres_are_measured_where_the_calibration_is_known():
    known, unknown = (row(10), make_batch([20], 100.0)), (row(1), make_batch([20], NAN))

    # 100 / 10 - 100 / 20 = 5 m; the sample with unknown calibration counts in px alone.
    assert scores(known, unknown)["rmse"] == pytest.approx(5.0)
    assert scores(known, unknown)["epe"] == pytest.approx(14.5)
    assert "rmse" not in scores(unknown) and scores(unknown)["epe"] == 19.0


def test_a_prediction_at_infinity_counts_as_the_floor():
    assert scores((row(0), make_batch([2.0])), floor=0.5)["abs_rel"] == pytest.approx(3.0)  # 2 / 0.5 - 1


def test_a_prediction_that_is_not_finite_is_bad_and_shows():
    found = scores((row(NAN, 10), make_batch([10, 10])))

    assert found["bad1"] == found["bad3"] == found["d1"] == 50.0
    assert found["delta3"] == 0.5 and math.isnan(found["epe"]) and math.isnan(found["rmse"])


def test_nan_where_nothing_is_valid_is_not_seen():
    batch = make_batch([10, 10])
    batch["disparity"] = row(10, NAN)
    batch["valid"] = torch.tensor([True, False]).view(1, 1, 1, 2)

    assert scores((row(12, NAN), batch))["epe"] == 2.0


def test_no_valid_pixel_at_all_is_an_error_that_says_so():
    with pytest.raises(NotComputableError, match="no pixel is 'valid'"):
        scores((row(1), make_batch([0])))


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="all three must be the same"):
        scores((torch.ones(1, 1, 1, 1), make_batch([1, 2])))


def test_an_engine_gets_every_name_and_a_second_mask_gets_its_suffix():
    batch = {**make_batch([10, 20]), "visible": torch.tensor([True, False]).view(1, 1, 1, 2)}
    engine = Engine(lambda engine, batch: (row(11, 24), batch))
    DisparityErrors().attach(engine, "epe")
    DisparityErrors(mask="visible", suffix="_visible").attach(engine, "epe_visible")

    metrics = engine.run([batch, batch]).metrics

    assert (metrics["epe"], metrics["epe_visible"], metrics["density_visible"]) == (2.5, 1.0, 0.5)
    assert set(metrics) == {name + suffix for name in DisparityErrors.NAMES for suffix in ("", "_visible")}
    assert all(isinstance(value, float) for value in metrics.values())
    engine.run([batch], max_epochs=1)
    assert engine.state.metrics["epe"] == 2.5  # the second run starts from nothing


def test_a_million_pixels_do_not_lose_small_errors():
    truth = torch.full((1, 1, 1000, 1000), 10.0)
    batch = {"disparity": truth, "valid": truth > 0, "focal_baseline": torch.tensor([1.0])}

    assert scores(*[(truth + 0.25, batch)] * 20)["epe"] == 0.25


def measure_on_rank(rank, folder):
    # The ranks have different pixels, and the second has two batches.
    idist.initialize("gloo", init_method=f"file://{folder}/meeting", world_size=2, rank=rank)
    pairs = [(row(11, 21), make_batch([10, 20]))] if rank == 0 else [(row(15), make_batch([10], NAN))] * 2
    torch.save(scores(*pairs), f"{folder}/{rank}.pt")
    idist.finalize()


def test_two_processes_report_what_one_would(tmp_path):
    multiprocessing.start_processes(measure_on_rank, (str(tmp_path),), nprocs=2, start_method="fork")

    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))

    assert first == second
    assert first["epe"] == pytest.approx((1 + 1 + 5 + 5) / 4) and first["bad3"] == 50.0
    assert first["rmse"] == pytest.approx(math.sqrt(((100 / 11 - 10) ** 2 + (100 / 21 - 5) ** 2) / 2), rel=1e-5)


def test_the_median_is_the_constant_with_the_least_error():
    truths = [[1.0, 2.0, 0.0], [3.0, 40.0, 50.0]]
    dataset = [{k: v[0] for k, v in make_batch(t).items()} for t in truths]
    batches = [make_batch(t) for t in truths]

    median = MedianDisparity.fit(dataset)

    def epe(predict):
        return scores(*((predict(None, batch), batch) for batch in batches))["epe"]

    assert median.disparity == 3.0
    assert epe(median) == pytest.approx((2 + 1 + 0 + 37 + 47) / 5)
    assert all(epe(MedianDisparity(other)) >= epe(median) for other in (1.0, 2.9, 3.1, 19.2, 40.0))


def test_the_median_looks_at_samples_spread_over_the_set():
    seen = []

    class Dataset:
        def __len__(self):
            return 100

        def __getitem__(self, index):
            seen.append(index)
            return {k: v[0] for k, v in make_batch([index + 1.0]).items()}

    assert MedianDisparity.fit(Dataset(), samples=4).disparity == 26.0  # the lower middle of 1, 26, 51, 76
    assert seen == [0, 25, 50, 75]


def test_no_truth_to_take_a_median_from_is_an_error():
    with pytest.raises(ValueError, match="no valid pixel in 1 of"):
        MedianDisparity.fit([{k: v[0] for k, v in make_batch([0.0]).items()}])

import torch

from ignition.checkpoint_file import save
from ignition.drill.comparison import differences, flip_bits
from ignition.rundir import RunFolder


def run(path, *, weight=1.0, rate=0.1, rows=(1.0, 2.0)):
    folder = RunFolder.create_at(path)
    state = {"version": 1, "iteration": 2, "model": {"weight": torch.full((64,), weight)}, "optimizer": {"rate": rate}}
    save(folder.checkpoints / "last.pt", {**state, "log": path.name})  # what is not a state of the training may differ
    for iteration, loss in enumerate(rows, start=1):
        folder.write_metrics({"iteration": iteration, "train/batch_loss": loss})
        folder.write_metrics({"iteration": iteration, "train/step_ms_p50": hash(path)})
    return path


def test_two_runs_are_one_in_all_but_their_times(tmp_path):
    straight = run(tmp_path / "straight")
    assert differences(straight, run(tmp_path / "same")) == []
    assert differences(straight, run(tmp_path / "nan", rows=(1.0, float("nan")))) == [
        "row 2.train/batch_loss: 2.0 and nan"
    ]
    assert differences(run(tmp_path / "a", rows=[float("nan")]), run(tmp_path / "b", rows=[float("nan")])) == []
    assert differences(straight, run(tmp_path / "short", rows=(1.0,))) == ["2 rows and 1"]
    assert differences(straight, run(tmp_path / "other", rows=(1.0,)), rows=False) == []
    far = run(tmp_path / "far", weight=1.0 + 1e-7, rate=0.2)
    assert differences(straight, far) == ["model.weight", "optimizer.rate: 0.1 and 0.2"]


def test_a_flipped_bit_is_refused_or_harmless_and_a_refused_file_stays(tmp_path):
    path = tmp_path / "a.pt"
    save(path, {"version": 1, "iteration": 1, "model": {"weight": torch.randn(64, 64)}})
    whole = path.read_bytes()
    tally = flip_bits(path, 30)
    assert tally["wrong"] == 0 and tally["refused"] >= 25 and sum(tally.values()) == 30
    differing = [(one, two) for one, two in zip(whole, path.read_bytes(), strict=True) if one != two]
    assert len(differing) == 1 and (differing[0][0] ^ differing[0][1]).bit_count() == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]

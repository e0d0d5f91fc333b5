"""Checkpoints that are damaged, of another run, or a stranger's, under a whole run."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ignition import evaluate, replay
from ignition.checkpoint_file import load, save
from recipes.parts.data_error import DataError
from recipes.parts.gaussians.files import read_gaussians
from recipes.parts.image_files import read_array
from recipes.parts.pretrained import read_state_dict
from recipes.parts.stereo.rectification import load_calibration

NEWEST = "checkpoints/iteration-00000008.pt"


def cut(path, what):
    data = path.read_bytes()
    n = len(data)
    path.write_bytes({"0": b"", "1": data[:1], "n/2": data[: n // 2], "n-22": data[: n - 22], "n-1": data[: n - 1],
                      "zeros": bytes(n)}[what])  # fmt: skip


def test_a_newest_one_that_is_cut_off_or_zeroed_costs_what_came_after_the_one_before(runs, killed, capsys):
    for what in ("0", "1", "n/2", "n-22", "n-1", "zeros"):
        run = Path(f"run-{what.replace('/', '-')}")
        shutil.copytree(killed, run)
        cut(run / NEWEST, what)
        assert runs.train("--resume", str(run)) == 0
        assert "resumed at iteration 6" in capsys.readouterr().err
        assert runs.same("straight", run)
        assert (run / f"{NEWEST}.corrupt").exists()


def test_where_all_are_bad_each_is_told_and_nothing_is_begun_anew(runs, killed, capsys):
    there = sorted((killed / "checkpoints").glob("*.pt"))
    assert len(there) == 4  # best, last and two with a number
    for path in there:
        path.write_bytes(path.read_bytes()[:100])
    rows = (killed / "metrics.jsonl").read_bytes()
    assert runs.train("--resume", str(killed)) == 1
    error = capsys.readouterr().err
    assert "none of the checkpoints can be used" in error and "Traceback" not in error
    for name in ("iteration-00000008.pt", "iteration-00000006.pt", "best.pt"):
        assert f"{name} is cut off or no checkpoint" in error
    assert "To start from nothing, move them away or choose another folder." in error
    assert (killed / "metrics.jsonl").read_bytes() == rows


def test_one_of_another_recipe_or_config_is_refused_before_a_weight_has_changed(runs, killed, capsys):
    other = load(killed / NEWEST)
    other["model"] = {"encoder.weight": torch.ones(3)}
    save(killed / NEWEST, other)
    assert runs.train("--resume", str(killed)) == 1
    error = capsys.readouterr().err
    assert f"{(killed / NEWEST).absolute()}: does not fit 'model'" in error
    assert "encoder.weight" in error and "0.weight" in error and "Traceback" not in error

    os.remove(killed / NEWEST)
    assert runs.train("--resume", str(killed), "recipe.width=16") == 1
    assert "does not fit 'model': " in (error := capsys.readouterr().err)
    assert "0.weight is [8, 4] there and [16, 4] here" in error
    assert runs.train("--resume", str(killed), "data.batch_size=4") == 2
    assert "an epoch of this run has 6 batches, and with this data and data.batch_size it would have 3" in (
        capsys.readouterr().err
    )
    assert runs.train("--resume", str(killed)) == 0
    assert runs.same("straight", killed)


# ------------------------------------------------------------------------------------------------------- strangers


class Evil:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (str(Path("code-has-run").absolute()),)


def poison(*paths):
    payloads = [load(path) for path in paths]  # before the first: some are names of one file
    for path, payload in zip(paths, payloads, strict=True):
        torch.save({**payload, "extra": Evil()}, path)


@pytest.fixture
def no_code():
    yield
    assert not Path("code-has-run").exists()


REFUSED = r"because it would run code when loaded: it asks for posix.mkdir"


def test_a_strangers_checkpoint_is_refused_by_name_whichever_way_it_comes(runs, killed, capsys, no_code):
    poison(killed / NEWEST)
    shutil.copytree(killed, "one")
    assert runs.train("--resume", "one") == 0
    assert runs.same("straight", "one")

    poison(killed / "checkpoints/best.pt", killed / "checkpoints/iteration-00000006.pt")
    assert runs.train("--resume", str(killed)) == 1
    assert capsys.readouterr().err.count(REFUSED) >= 3

    shutil.copy(killed / f"{NEWEST}", "from-a-stranger.pt")
    for which in ("from-a-stranger.pt", "best", str(killed / NEWEST)):
        assert evaluate.main([str(killed), "--checkpoint", which]) == 1
        assert REFUSED in capsys.readouterr().err


def test_so_is_the_state_in_a_bundle_that_is_to_be_run_again(runs, capsys, no_code):
    words = ["--output", "run", "trainer.epochs=8", "checkpoint.every_iterations=5", "recipe.nan_at=20"]
    assert runs.train(*words) == 0
    (state,) = Path("run/incidents").glob("*-non_finite/before.pt")
    bundle = state.parent.name
    assert replay.main(["run", bundle]) == 0, capsys.readouterr().err
    poison(state)
    capsys.readouterr()
    assert replay.main(["run", bundle]) == 1
    assert REFUSED in capsys.readouterr().err


def test_so_are_weights_to_start_from_and_files_of_numbers(tmp_path, monkeypatch, no_code):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.ones(1), "extra": Evil()}, "weights.pt")
    Path("bare.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("weights.pt", "bare.pt"):
        with pytest.raises(ValueError, match=r"refused|cannot be read"):
            read_state_dict(name)
        with pytest.raises(DataError):
            read_gaussians(Path(name))
    np.save("array.npy", np.array([Evil()], dtype=object))
    np.savez("arrays.npz", gaussians=np.array([Evil()], dtype=object), K1=np.array([Evil()], dtype=object))
    with pytest.raises(DataError, match="array.npy"):
        read_array(Path("array.npy"))
    with pytest.raises(DataError, match="arrays.npz"):
        read_gaussians(Path("arrays.npz"))
    with pytest.raises(DataError, match="arrays.npz"):
        load_calibration("arrays.npz")


def test_an_address_is_no_folder(runs, capsys):
    for word in ("--resume", "--output"):
        assert runs.train(word, "https://example.org/run") == 2
        assert "is an address; a run folder is a path: fetch it first" in capsys.readouterr().err
    assert not any(Path().glob("http*"))

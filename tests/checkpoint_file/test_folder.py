import logging
import os
import subprocess

import pytest
import torch

from ignition import checkpoint_file, rundir
from ignition.checkpoint_file import BadCheckpoint, clean_litter, link, newest_good, numbered, save


def write(folder, *iterations):
    for iteration in iterations:
        save(
            folder / f"iteration-{iteration:08d}.pt",
            {"version": 1, "iteration": iteration, "model": {"w": torch.ones(9)}},
        )


def damage(path):
    path.write_bytes(path.read_bytes()[:-30])


def test_whoever_reads_a_run_folder_without_torch_knows_the_same_names():
    assert (rundir.LAST_CHECKPOINT, rundir.BEST_CHECKPOINT) == (checkpoint_file.LAST, checkpoint_file.BEST)
    for iteration in (0, 1200, 123456789):
        assert rundir.checkpoint_name(iteration) == checkpoint_file.name_of(iteration)


def test_an_empty_folder_has_none(tmp_path):
    assert newest_good(tmp_path) is None
    assert newest_good(tmp_path / "not there") is None


def test_the_newest_is_that_of_the_highest_number_not_of_the_youngest_date(tmp_path):
    write(tmp_path, 100, 1000, 999)
    os.utime(tmp_path / "iteration-00001000.pt", (1, 1))
    (tmp_path / "resnet50.pt").touch()  # not ours
    path, payload, rejected = newest_good(tmp_path)
    assert (path.name, payload["iteration"], rejected) == ("iteration-00001000.pt", 1000, [])
    assert [file.name[-8:-3] for file in numbered(tmp_path)] == ["00100", "00999", "01000"]


def test_a_damaged_newest_is_set_aside_with_one_warning_and_the_one_before_is_used(tmp_path, caplog):
    write(tmp_path, 1, 2, 3)
    damage(tmp_path / "iteration-00000003.pt")
    with caplog.at_level(logging.WARNING):
        _, payload, (bad,) = newest_good(tmp_path)
    assert payload["iteration"] == 2 and bad.path.name == "iteration-00000003.pt"
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}/iteration-00000003.pt is cut off or no checkpoint (File is not a zip file), "
        "kept as iteration-00000003.pt.corrupt; going on from iteration-00000002.pt"
    ]
    assert sorted(os.listdir(tmp_path)) == [
        "iteration-00000001.pt", "iteration-00000002.pt", "iteration-00000003.pt.corrupt",
    ]  # fmt: skip


def test_one_of_a_newer_version_is_passed_over_but_left_alone(tmp_path, caplog):
    write(tmp_path, 1)
    torch.save({"version": 9}, tmp_path / "iteration-00000002.pt")
    assert newest_good(tmp_path)[1]["iteration"] == 1
    assert "is of version 9, and this program reads version 1; going on from iteration-00000001.pt" in caplog.text
    assert (tmp_path / "iteration-00000002.pt").exists()


def test_where_all_are_bad_each_is_told_with_its_reason_and_none_goes_now_or_later(tmp_path):
    write(tmp_path, 1, 2, 3)
    (tmp_path / "iteration-00000001.pt").write_bytes(b"")
    damage(tmp_path / "iteration-00000002.pt")
    torch.save({"version": 1, "model": {"w": torch.tensor(float("nan"))}}, tmp_path / "iteration-00000003.pt")
    for _ in range(2):  # the second start does not begin from nothing either
        with pytest.raises(BadCheckpoint, match="none of the checkpoints can be used") as refusal:
            newest_good(tmp_path)
        assert str(refusal.value).splitlines()[1:] == [
            "  iteration-00000003.pt has values that are not finite in model.w",
            "  iteration-00000002.pt is cut off or no checkpoint (File is not a zip file)",
            "  iteration-00000001.pt is empty",
            "To start from nothing, move them away or choose another folder.",
        ]
    assert len(list(tmp_path.glob("*.pt"))) == 3


def test_a_folder_with_nothing_but_what_was_set_aside_is_no_fresh_start(tmp_path):
    (tmp_path / "iteration-00000003.pt.corrupt").touch()
    with pytest.raises(BadCheckpoint, match="iteration-00000003.pt.corrupt was found damaged earlier"):
        newest_good(tmp_path)


def test_a_spare_is_used_where_all_others_are_gone_or_bad(tmp_path, caplog):
    write(tmp_path, 5)
    link(tmp_path / "iteration-00000005.pt", "last.pt")
    (tmp_path / "iteration-00000005.pt").unlink()
    assert newest_good(tmp_path) is None
    assert newest_good(tmp_path, spare=["last.pt", "best.pt"])[0].name == "last.pt"
    write(tmp_path, 6)
    damage(tmp_path / "iteration-00000006.pt")
    assert newest_good(tmp_path, spare=["last.pt"])[1]["iteration"] == 5
    assert "going on from last.pt" in caplog.text


def test_litter_of_processes_that_are_gone_is_cleared_and_that_of_others_left(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    names = [f".tmp-{process}-a.pt.part" for process in (gone.pid, os.getpid(), os.getppid())]
    for name in [*names, "a.pt", ".tmp-notes"]:
        (tmp_path / name).touch()
    assert {path.name for path in clean_litter(tmp_path)} == set(names[:2])
    assert sorted(os.listdir(tmp_path)) == [names[2], ".tmp-notes", "a.pt"]
    assert clean_litter(tmp_path / "not there") == []

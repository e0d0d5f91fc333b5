import os

import pytest

from ignition.checkpoint_file import save
from ignition.drill import disk

PAYLOAD = {"version": 1, "iteration": 1, "model": {}}


def test_a_small_disk_is_full_when_it_is_filled_and_gone_after_the_block(tmp_path):
    with disk.small_disk(tmp_path / "disk", 10**5) as mounted:
        if not mounted:
            pytest.skip("this user cannot mount a tmpfs")
        save(tmp_path / "disk/a.pt", PAYLOAD)
        disk.fill(tmp_path / "disk")
        with pytest.raises(OSError, match="disk full: it needs 0.0 MiB, 0.0 MiB are free"):
            save(tmp_path / "disk/b.pt", PAYLOAD)
        disk.free(tmp_path / "disk")
        save(tmp_path / "disk/b.pt", PAYLOAD)
    assert os.listdir(tmp_path / "disk") == [] and not os.path.ismount(tmp_path / "disk")


def test_where_none_can_be_mounted_writes_fail_instead(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with disk.small_disk(tmp_path / "disk", 10**5) as mounted:
        assert not mounted
    writes = disk.FailingWrites()
    writes.begin()
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path / "a.pt", PAYLOAD)
    writes.end()
    save(tmp_path / "a.pt", PAYLOAD)
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "disk"]


@pytest.mark.parametrize(("moment", "left"), [
    ("half written", {".part"}),
    ("without its name", {".part"}),
])  # fmt: skip
def test_a_process_dies_in_the_middle_of_a_save(tmp_path, moment, left):
    child = os.fork()
    if child == 0:
        disk.die_in_next_save(moment)
        save(tmp_path / "iteration-00000001.pt", PAYLOAD)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 9
    assert {os.path.splitext(name)[1] for name in os.listdir(tmp_path)} == left

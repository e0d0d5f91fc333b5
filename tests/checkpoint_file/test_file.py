import errno
import os
import pickle
import random
import resource
import signal
import threading

import pytest
import torch

from ignition.checkpoint_file import BadCheckpoint, check, link, load, peek, save
from ignition.checkpoint_file import file as checkpoint_file_file


def content(seed=0, size=64):
    generator = torch.Generator().manual_seed(seed)
    return {
        "version": 1,
        "iteration": seed,
        "model": {
            "weight": torch.randn(size, size, generator=generator),
            "bias": torch.randn(size, generator=generator),
        },
        "note": "a note",
    }


def same(a, b):
    rest = [{name: value for name, value in one.items() if name != "model"} for one in (a, b)]
    return (
        rest[0] == rest[1]
        and a["model"].keys() == b["model"].keys()
        and all(torch.equal(tensor, b["model"][name]) for name, tensor in a["model"].items())
    )


def test_what_was_saved_is_loaded(tmp_path):
    save(tmp_path / "a.pt", content(1))
    assert same(load(tmp_path / "a.pt"), content(1))
    save(tmp_path / "a.pt", content(2))
    assert same(load(str(tmp_path / "a.pt")), content(2))
    assert os.listdir(tmp_path) == ["a.pt"]


def test_it_can_be_loaded_to_another_device(tmp_path):  # V12: ignite's load_objects(path) has no map_location
    save(tmp_path / "a.pt", content())
    assert load(tmp_path / "a.pt", "meta")["model"]["weight"].is_meta


def test_the_top_of_a_file_is_read_without_its_tensors(tmp_path):
    path = tmp_path / "a.pt"
    save(path, {**content(3), "score": 0.5, "metric": None, "sizes": [1, 2]})
    assert peek(path) == {"version": 1, "iteration": 3, "note": "a note", "score": 0.5, "metric": None}
    data = path.read_bytes()
    middle = len(data) // 2  # within the weights
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    assert peek(path)["score"] == 0.5
    with pytest.raises(BadCheckpoint, match="the sum of .* is wrong"):
        check(path)
    place = data.index(b"a note")
    path.write_bytes(data[:place] + b"A" + data[place + 1 :])
    with pytest.raises(BadCheckpoint, match=r"the sum of \S+data\.pkl is wrong") as refusal:
        peek(path)
    assert refusal.value.damaged


@pytest.mark.parametrize("mapped", [True, False])
def test_a_file_is_checked_as_if_it_were_loaded(tmp_path, monkeypatch, mapped):
    path, torch_load = tmp_path / "a.pt", torch.load
    if not mapped:  # as on some network drives

        def refuse(*arguments, mmap=False, **options):
            if mmap:
                raise RuntimeError("unable to mmap 4096 bytes from file: No such device (19)")
            return torch_load(*arguments, **options)

        monkeypatch.setattr(torch, "load", refuse)
    save(path, content(3))
    assert check(path) is None and peek(path)["iteration"] == 3
    broken = content(3)
    broken["model"]["bias"][3] = float("nan")
    save(path, broken)
    with pytest.raises(BadCheckpoint, match=r"not finite in model\.bias$"):
        check(path)
    save(path, {**content(3), "version": 2})
    for look in (check, peek):
        with pytest.raises(BadCheckpoint, match="is of version 2"):
            look(path)
        with pytest.raises(BadCheckpoint, match="there is no such file"):
            look(tmp_path / "gone.pt")


def test_the_file_is_on_the_disk_before_it_gets_its_name_and_the_name_before_save_returns(tmp_path, monkeypatch):
    done = []  # V11: ignite renames what may still be in memory only, and leaves the folder's entry there as well
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append(os.readlink(f"/proc/self/fd/{file}")), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
    save(tmp_path / "a.pt", content())
    assert done == [str(tmp_path / f".tmp-{os.getpid()}-a.pt.part"), "replace", str(tmp_path)]
    done.clear()
    link(tmp_path / "a.pt", "last.pt")
    assert done == ["replace", str(tmp_path)]


# ------------------------------------------------------------------------------------------------------- damaged files


def damage_is_told(path, whole):
    """Whether a damaged file is refused; if not, it must be harmless."""
    try:
        back = load(path)
    except BadCheckpoint as error:
        return error.damaged and error.path == path and str(path) in str(error)
    assert same(back, whole)
    return False


@pytest.mark.parametrize("cut", ["0", "1", "n // 2", "n - 22", "n - 1"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, cut):
    path = tmp_path / "a.pt"
    save(path, content())
    data = path.read_bytes()
    path.write_bytes(data[: eval(cut, {"n": len(data)})])
    assert damage_is_told(path, content())


def test_zeroed_pages_are_found(tmp_path):
    path = tmp_path / "a.pt"
    save(path, content())
    data = path.read_bytes()
    for start in range(0, len(data), 4096):
        path.write_bytes(data[:start] + bytes(len(data[start : start + 4096])) + data[start + 4096 :])
        assert damage_is_told(path, content())


def test_every_flipped_bit_is_found_or_harmless_and_torch_alone_finds_hardly_any(tmp_path):
    path, numbers = tmp_path / "a.pt", random.Random(0)
    save(path, content())
    data, found, passed_by_torch = path.read_bytes(), 0, 0
    for _ in range(200):
        place, bit = numbers.randrange(len(data)), numbers.randrange(8)
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
        found += damage_is_told(path, content())
        try:
            passed_by_torch += not same(torch.load(path, weights_only=True), content())
        except Exception:
            continue
    assert found > 180
    assert passed_by_torch > 150  # wrong weights without a word


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_model_that_is_not_finite_is_refused(tmp_path, number):
    broken = content()
    broken["model"]["bias"][3] = number
    save(tmp_path / "a.pt", broken)
    with pytest.raises(BadCheckpoint, match=r"a\.pt: has values that are not finite in model\.bias$"):
        load(tmp_path / "a.pt")


@pytest.mark.parametrize(("payload", "why"), [
    ({"model": {}}, "is no checkpoint of ignition: it has no 'version'"),
    ([1, 2], "is no checkpoint of ignition"),
    ({"version": 2}, "is of version 2, and this program reads version 1"),
])  # fmt: skip
def test_another_kind_of_file_is_refused_but_not_as_damaged(tmp_path, payload, why):
    torch.save(payload, tmp_path / "a.pt")
    with pytest.raises(BadCheckpoint, match=why) as refusal:
        load(tmp_path / "a.pt")
    assert not refusal.value.damaged


def test_a_file_that_is_not_there_or_no_file_is_told(tmp_path):
    for path, why in ((tmp_path / "gone.pt", "there is no such file"), (tmp_path, "cannot be read: Is a directory")):
        with pytest.raises(BadCheckpoint, match=why) as refusal:
            load(path)
        assert not refusal.value.damaged


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def test_a_strangers_pickle_is_refused_by_name_and_runs_nothing(tmp_path):
    path, trace = tmp_path / "a.pt", tmp_path / "trace"
    torch.save({"version": 1, "model": {}, "extra": Evil(trace)}, path)
    with pytest.raises(
        BadCheckpoint, match=r"refused, because it would run code when loaded: it asks for \w+\.system$"
    ):
        load(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # it was no harmless one


def test_a_bare_pickle_is_no_checkpoint_and_runs_nothing(tmp_path):
    path, trace = tmp_path / "a.pt", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Evil(trace)))
    with pytest.raises(BadCheckpoint, match="no checkpoint"):
        load(path)
    assert not trace.exists()


# ------------------------------------------------------------------------------------------------------ failed writes


class FullDisk:
    """A file in which the n-th write finds the disk full."""

    def __init__(self, path, mode, left=3):
        self.file, self.left = open(path, mode), left  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)


def test_a_full_disk_is_told_and_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    save(path, content(1))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_file_file, "open", lambda *arguments: FullDisk(*arguments), raising=False)
        with pytest.raises(RuntimeError, match="unexpected pos"), FullDisk(tmp_path / "raw", "wb") as file:
            torch.save(content(2), file)  # all that torch has to say
        with pytest.raises(OSError, match=r"disk full: it needs 4\.0 MiB, \d+\.\d MiB are free") as failure:
            save(path, content(2, size=1024))
    assert failure.value.errno == errno.ENOSPC and failure.value.strerror.startswith(f"{path} was not written: ")
    assert same(load(path), content(1))
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "raw"]
    save(path, content(2))  # as soon as there is space
    assert same(load(path), content(2))


def test_a_real_write_error_of_the_system_is_told_and_the_old_file_stays(tmp_path):
    path = tmp_path / "a.pt"
    save(path, content(1))
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            save(path, content(2))
        except OSError as error:
            os._exit(0 if error.errno == errno.EFBIG and "File too large" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert same(load(path), content(1)) and os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_an_error_at_any_step_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, operation):
    save(tmp_path / "a.pt", content(1))

    def fail(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, operation, fail)
    with pytest.raises(OSError, match=r"a\.pt was not written: Input/output error"):
        save(tmp_path / "a.pt", content(2))
    assert same(load(tmp_path / "a.pt"), content(1)) and os.listdir(tmp_path) == ["a.pt"]


def test_what_the_disk_garbles_is_found_before_the_old_file_goes(tmp_path, monkeypatch):
    save(tmp_path / "a.pt", content(1))
    fsync = os.fsync

    def garble(file):
        fsync(file)
        os.pwrite(os.open(f"/proc/self/fd/{file}", os.O_WRONLY), b"\x55" * 64, 4096)

    monkeypatch.setattr(os, "fsync", garble)
    with pytest.raises(OSError, match=r"a\.pt was not written: read back, it is damaged"):
        save(tmp_path / "a.pt", content(2))
    monkeypatch.undo()
    assert same(load(tmp_path / "a.pt"), content(1))


def test_an_interrupt_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    save(tmp_path / "a.pt", content(1))
    monkeypatch.setattr(os, "fsync", lambda file: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "a.pt", content(2))
    assert same(load(tmp_path / "a.pt"), content(1)) and os.listdir(tmp_path) == ["a.pt"]


def test_a_folder_that_has_vanished_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match="was not written: No such file or directory"):
        save(tmp_path / "gone/a.pt", content())


def test_an_error_from_before_the_save_is_not_taken_for_its_reason(tmp_path, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr(torch, "save", broken)
    try:
        raise OSError(errno.ENOSPC, "an older trouble")
    except OSError:
        with pytest.raises(RuntimeError, match="a fault of the program"):
            save(tmp_path / "a.pt", content())


# ---------------------------------------------------------------------------------------------------------------- links


def test_a_link_is_the_same_file_and_moves_on(tmp_path):
    for name, number in (("a.pt", 1), ("b.pt", 2)):
        save(tmp_path / name, content(number))
        assert link(tmp_path / name, "last.pt") == tmp_path / "last.pt"
        assert os.path.samefile(tmp_path / name, tmp_path / "last.pt")
    (tmp_path / "b.pt").unlink()
    assert same(load(tmp_path / "last.pt"), content(2))


def test_a_link_may_have_another_place(tmp_path):
    save(tmp_path / "a.pt", {"version": 1})
    (tmp_path / "elsewhere").mkdir()
    assert link(tmp_path / "a.pt", tmp_path / "elsewhere" / "before.pt").samefile(tmp_path / "a.pt")


def test_a_link_to_the_same_file_again_leaves_no_litter(tmp_path):  # there os.replace does nothing
    save(tmp_path / "a.pt", content())
    for _ in range(2):
        link(tmp_path / "a.pt", "last.pt")
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "last.pt"]


def test_where_links_cannot_be_made_it_is_a_copy(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    save(tmp_path / "a.pt", content(1))
    monkeypatch.setattr(os, "link", refuse)
    link(tmp_path / "a.pt", "last.pt")
    assert same(load(tmp_path / "last.pt"), content(1))
    assert not os.path.samefile(tmp_path / "a.pt", tmp_path / "last.pt")
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "last.pt"]


def test_whoever_reads_meanwhile_always_finds_a_whole_file(tmp_path):
    save(tmp_path / "a.pt", content(0))
    link(tmp_path / "a.pt", "last.pt")
    done, read = threading.Event(), []

    def watch():
        while not done.is_set():
            read.append(load(tmp_path / "last.pt")["iteration"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(1, 30):
        save(tmp_path / "b.pt", content(number))
        link(tmp_path / "b.pt", "last.pt")
    done.set()
    watcher.join()
    assert len(read) > 3 and read == sorted(read)

import os

import pytest

from ignition.monitor.growing_file import LONGEST, GrowingFile


@pytest.fixture
def file(tmp_path):
    return GrowingFile(tmp_path / "log")


def write(file, text, mode="ab"):
    with open(file.path, mode) as opened:
        opened.write(text)


def read(file):
    renewed = file.renewed()
    return renewed, file.read()


def test_a_line_counts_once_its_end_is_there(file):
    assert read(file) == (False, b"")  # nothing there yet
    write(file, b"one\ntw")
    assert read(file) == (False, b"one\n")
    assert read(file) == (False, b"")
    write(file, b"o\nthree\n")
    assert read(file) == (False, b"two\nthree\n")
    assert file.left == 0


def test_a_file_that_shrinks_or_is_replaced_is_read_from_its_beginning(file):
    write(file, b"one\ntwo\nthree\n")
    read(file)
    write(file, b"one\n", "wb")
    assert read(file) == (True, b"one\n")
    other = file.path.with_name("other")
    other.write_bytes(b"one\nfour\nfive\nsix\n")
    os.replace(other, file.path)
    assert read(file) == (True, b"one\nfour\nfive\nsix\n")


def test_a_file_written_anew_in_its_place_is_noticed_though_it_is_longer(file):
    write(file, b"a,b\n1,2\n")
    read(file)
    write(file, b"a,b,c\n1,2,3\n4,5,6\n", "wb")
    assert read(file) == (True, b"a,b,c\n1,2,3\n4,5,6\n")
    write(file, b"a,b,c\n1,2,4\n4,5,6\n7,8,9\n", "wb")  # the head is the same
    assert read(file) == (True, b"a,b,c\n1,2,4\n4,5,6\n7,8,9\n")


def test_a_file_that_goes_and_comes_again(file):
    write(file, b"one\n")
    read(file)
    file.path.unlink()
    assert read(file) == (True, b"")
    assert read(file) == (False, b"")
    write(file, b"two\n")
    assert read(file) == (False, b"two\n")


def test_an_unfinished_line_of_a_file_that_stands_still_is_taken_and_comes_again_when_it_goes_on(file):
    write(file, b"one\n0.3")
    assert read(file) == (False, b"one\n")
    os.utime(file.path, (0, 0))
    assert read(file) == (False, b"0.3\n")
    assert read(file) == (False, b"")
    write(file, b"45\n")
    assert read(file) == (False, b"0.345\n")


def test_a_line_that_is_none_is_skipped(file):
    write(file, b"one\n" + b"x" * (2 * LONGEST) + b"\ntwo\n")
    read(file)
    lines = b""
    while block := file.read():
        lines += block
    assert lines == b"two\n"


def test_of_a_large_file_a_block_at_a_time(file):
    write(file, b"".join(b"%06d\n" % number for number in range(10_000)))
    file.renewed()
    assert file.read(100) == b"".join(b"%06d\n" % number for number in range(14))
    assert file.left == 69_902
    assert file.around(35_001, 20) == (35_021, b"005001\n005002\n")


def test_a_folder_in_its_place_is_a_problem_and_no_exception(file):
    file.path.mkdir()
    assert read(file) == (False, b"")
    assert file.problem == "Is a directory"

"""Flows, label maps and films from files, and what is said of broken ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.flow.files import film_length, read_film, read_flo, read_labels, read_numbers

PAIR = Path(__file__).resolve().parents[4] / "../shared/data/flow/rubberwhale"


def write_flo(path, flow):
    height, width = flow.shape[1:]
    header = np.float32(202021.25).tobytes() + np.array([width, height], "<i4").tobytes()
    path.write_bytes(header + np.asarray(flow, "<f4").transpose(1, 2, 0).tobytes())
    return path


def test_a_flo_file_gives_x_before_y_and_what_is_unknown(tmp_path):
    flow = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    flow[0, 0, 0], flow[1, 1, 2] = 1.7e9, np.nan

    read, known = read_flo(write_flo(tmp_path / "a.flo", flow))

    assert read.tolist() == [[[0, 1, 2], [3, 4, 0]], [[0, 7, 8], [9, 10, 0]]]
    assert known.tolist() == [[[False, True, True], [True, True, False]]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-4], "44 bytes of pixels where 3x2 need 48"),
        (lambda data: b"PNG." + data[4:], "does not begin like a .flo file"),
        (lambda data: b"", "does not begin like a .flo file"),
        (lambda data: data[:4] + b"\xff\xff\xff\xff" + data[8:], "need"),
    ],
)
def test_a_broken_flo_file_is_named(tmp_path, damage, message):
    path = write_flo(tmp_path / "broken.flo", np.zeros((2, 2, 3)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"broken\.flo.*{message}"):
        read_flo(path)


def test_a_missing_flo_file_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere.flo"):
        read_flo(tmp_path / "nowhere.flo")


@pytest.mark.skipif(not PAIR.is_dir(), reason=f"needs {PAIR}")
def test_the_real_pairs_truth_has_the_known_length():
    flow, known = read_flo(PAIR / "flow_gt.flo")
    assert flow.shape == (2, 388, 584)
    assert flow.norm(dim=0)[known[0]].mean().item() == pytest.approx(1.256, abs=5e-4)


def test_labels_are_whole_numbers_or_colours(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[3, 3], [70000, -1]]))
    Image.fromarray(np.array([[0, 5]], np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.array([[[1, 2, 0], [0, 0, 1]]], np.uint8)).save(tmp_path / "colour.png")

    assert read_labels(tmp_path / "a.npy").tolist() == [[[3, 3], [70000, -1]]]
    assert read_labels(tmp_path / "grey.png").tolist() == [[[0, 5]]]
    assert read_labels(tmp_path / "colour.png").tolist() == [[[513, 65536]]]


def test_labels_with_a_fraction_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"a\.npy is float64.*one whole number a pixel"):
        read_labels(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.zeros((2, 2, 2)))
    with pytest.raises(DataError, match=r"b\.npy.*one number a pixel"):
        read_numbers(tmp_path / "b.npy")


def test_frames_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (6, 4), (60 * k, 0, 0)) for k in range(4)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)

    assert film_length(tmp_path / "a.webp") == 4
    second, fourth = read_film(tmp_path / "a.webp", (1, 3))
    assert second.shape == (3, 4, 6) and second.dtype == torch.uint8
    assert second[0].unique().tolist() == [60] and fourth[0].unique().tolist() == [180]
    with pytest.raises(DataError, match="frame 7 is missing"):
        read_film(tmp_path / "a.webp", (1, 7))


def test_a_film_that_cannot_be_read_says_how_to_make_frames_of_it(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"not a picture")
    with pytest.raises(DataError, match="data set 'video' reads others"):
        film_length(tmp_path / "clip.mp4")

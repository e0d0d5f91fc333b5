"""Where cores lie: manifests, names, folders; each mistake with its file and line."""

import json

import numpy as np
import pytest
from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.staining.core import Window
from recipes.parts.staining.layouts import KNOWN

CHANNELS = ("DNA", "CD3")


def core(folder, name, channels=2, size=(16, 16)):
    np.save(folder / f"core_{name}_HE.npy", np.full((*size, 3), 200, np.uint8))
    markers = np.zeros((channels, *size), np.uint8)
    markers += np.arange(channels, dtype=np.uint8)[:, None, None]  # each channel its number
    np.save(folder / f"core_{name}_ORION.npy", markers)


def entry(name, **more):
    return {"id": name, "he": f"core_{name}_HE.npy", "target": f"core_{name}_ORION.npy", **more}


def find(folder, name="cores", channels=CHANNELS, skip_bad=False):
    return KNOWN[name].find(folder, channels, skip_bad)


def test_pairs_are_found_by_their_names(tmp_path):
    for name in ("B", "A"):
        core(tmp_path, name)

    assert [(found.id, found.size, found.split) for found in find(tmp_path)] == [
        ("core_A", (16, 16), None), ("core_B", (16, 16), None),
    ]  # fmt: skip


@pytest.mark.parametrize("missing", ["HE", "ORION"])
def test_a_missing_partner_is_named(tmp_path, missing):
    core(tmp_path, "A")
    core(tmp_path, "B")
    (tmp_path / f"core_B_{missing}.npy").unlink()
    with pytest.raises(DataError, match=f"there is no core_B_{missing}.npy"):
        find(tmp_path)


def test_a_manifest_names_files_channels_and_splits(tmp_path):
    core(tmp_path, "A", channels=3)
    core(tmp_path, "B")
    entries = [entry("A", split="train", channels=["AF", "CD3", "DNA"]), entry("B", split="val", tissue="bladder")]
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    first, second = find(tmp_path)

    assert (first.id, first.split, first.channels) == ("A", "train", (2, 1))  # by name, in the order wanted
    assert (second.id, second.split, second.channels) == ("B", "val", (0, 1))
    assert first.read(Window(0, 0, 1, 1))["target"].flatten().tolist() == [2, 1]


def test_a_table_does_as_well(tmp_path):
    core(tmp_path, "A", channels=3)
    core(tmp_path, "B")
    (tmp_path / "manifest.csv").write_text(
        "id,he,target,channels,split\n"
        "A,core_A_HE.npy,core_A_ORION.npy,AF;CD3;DNA,val\n"
        "B,core_B_HE.npy,core_B_ORION.npy,,\n"
    )

    assert [(found.id, found.split, found.channels) for found in find(tmp_path)] == [
        ("A", "val", (2, 1)), ("B", None, (0, 1)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ('{"id": "B", "he": "core_A_HE.npy"}', "manifest.json:3: no 'target' (a text) in this entry"),
        ('"B"', "manifest.json:3: entry 2 is no object"),
        ('{"id": "B", "he": "x.npy", "target": "y.npy"}', "manifest.json:3: there is no"),
        (json.dumps(entry("A", id="B", split="dev")), "manifest.json:3: split is 'dev'; it can be train, val, test"),
        (json.dumps(entry("A")), "manifest.json:3: id 'A' stands at"),
        (json.dumps(entry("A", id="B", channels="DNA;CD8")), "no channel CD3 in the file (there: DNA, CD8)"),
        (json.dumps(entry("A", id="B", channels=["DNA", "CD3", "CD8"])), "has 2 channels where 3 are named"),
        ("{,}", "manifest.json:3: Expecting property name"),
    ],
)
def test_a_bad_line_of_a_manifest_is_told_with_its_number(tmp_path, bad, words):
    core(tmp_path, "A")
    (tmp_path / "manifest.json").write_text(f"[\n {json.dumps(entry('A'))},\n {bad}\n]")
    with pytest.raises(DataError) as error:
        find(tmp_path)

    assert words in str(error.value)


def test_a_bad_line_of_a_table_is_told_with_its_number(tmp_path):
    core(tmp_path, "A")
    (tmp_path / "manifest.csv").write_text("id,he,target\nA,core_A_HE.npy,core_A_ORION.npy\nB,core_B_HE.npy,\n")
    with pytest.raises(DataError, match="manifest.csv:3: no 'target'"):
        find(tmp_path)


def test_a_manifest_that_is_no_list_is_told(tmp_path):
    (tmp_path / "manifest.json").write_text('{"cores": []}')
    with pytest.raises(DataError, match="manifest.json: it must be a list of entries"):
        find(tmp_path)


def pictures(folder, *names):
    for kind in ("input", "label"):
        (folder / kind).mkdir(parents=True)
        for name in names:
            Image.new("RGB", (16, 12), (10, 20, 30)).save(folder / kind / f"{name}.tif")


def test_folders_of_input_and_label(tmp_path):
    pictures(tmp_path, "slide1_0_0", "slide1_0_1024", "slide2_0_0")
    found = find(tmp_path, "hemit", ("DAPI", "panCK", "CD3"))

    assert [core.id for core in found] == ["slide1", "slide1", "slide2"]  # a slide goes to one split as a whole
    assert found[0].size == (12, 16)
    assert found[0].read(Window(0, 0, 2, 2))["target"][:, 0, 0].tolist() == [10, 20, 30]


def test_folders_that_are_split_already(tmp_path):
    for part, name in (("train", "a_1"), ("val", "b_1"), ("test", "c_1")):
        pictures(tmp_path / part, name)

    assert [(core.id, core.split) for core in find(tmp_path, "hemit", ("a", "b", "c"))] == [
        ("a", "train"), ("b", "val"), ("c", "test"),
    ]  # fmt: skip


def test_a_picture_without_a_label_is_named(tmp_path):
    pictures(tmp_path, "a_1", "a_2")
    (tmp_path / "label" / "a_2.tif").unlink()
    with pytest.raises(DataError, match="input/a_2.tif has no partner: there is no a_2 in .*label"):
        find(tmp_path, "hemit", ("a", "b", "c"))


@pytest.mark.parametrize("listed", [False, True])
def test_bad_cores_are_left_out_where_that_is_asked_for(tmp_path, caplog, listed):
    for name in "ABC":
        core(tmp_path, name)
    bad = tmp_path / "core_B_ORION.npy"
    bad.write_bytes(bad.read_bytes()[:50])
    if listed:
        (tmp_path / "manifest.json").write_text(json.dumps([entry(name) for name in "ABC"]))

    assert [core.id[-1] for core in find(tmp_path, skip_bad=True)] == ["A", "C"]
    assert "left out" in caplog.text and "core_B_ORION.npy" in caplog.text
    with pytest.raises(DataError, match="core_B_ORION.npy"):
        find(tmp_path)

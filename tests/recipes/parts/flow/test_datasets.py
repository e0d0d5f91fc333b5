"""Each data set's layout on disk, in small: partners, spellings, what is missing, what is broken."""

import re
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.parts.data_error import DataError
from recipes.parts.flow.datasets import flow_dataset
from recipes.parts.flow.layouts import LAYOUTS, Window
from tests.recipes.parts.flow.test_files import write_flo
from tests.recipes.parts.flow.test_video_files import write_video

H, W = 16, 24
DRAW = np.random.default_rng(0)


def picture(path, value=None, size=(H, W)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = DRAW.integers(0, 255, (*size, 3)) if value is None else np.full((*size, 3), value)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def flo(path, u=1.0, size=(H, W)):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flo(path, np.stack([np.full(size, u), np.zeros(size)]))


def array(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def animerun(root, *, unmatched="UnMatched", frames=4, forward=False):
    for part in ("train", "test"):
        for scene in ("agent_basement", "sprite"):
            base = root / part
            for number in range(1, frames + 1):
                for colour, value in (("original", 10 * number), ("color_1", 100 + number), ("color_2", 200 + number)):
                    picture(base / f"Frame_Anime/{scene}/{colour}/{number:04d}.png", value)
                lines = np.ones((H, W))
                lines[:, 3] = 0
                array(base / f"LineArea/{scene}/{number:04d}.npy", lines)
                array(base / f"Segment/{scene}/{number:04d}.npy", np.arange(H * W).reshape(H, W) // (H * W // 3))
                if number < frames:
                    flo(base / f"Flow/{scene}/forward/Image{number:04d}.flo", u=number)
                    seen = np.ones((H, W))
                    seen[:, :5] = 0
                    array(base / f"{unmatched}/{scene}/{'forward/' if forward else ''}{number:04d}.npy", seen)
    return root


@pytest.mark.parametrize(("unmatched", "forward"), [("UnMatched", False), ("Unmatched", False), ("Unmatched", True)])
def test_animerun_in_either_spelling(tmp_path, unmatched, forward):
    data = flow_dataset("animerun", animerun(tmp_path, unmatched=unmatched, forward=forward), training=False)

    assert len(data) == 2 * 3  # two scenes, three pairs of the original colours
    sample = data[1]
    assert sample["frames"][0, 0, 0, 0] * 255 == pytest.approx(20) and sample["flow"][0, 0, 0, 0] == 2.0
    assert sample["occluded"][0, 0, 0].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 22, 23]  # and what leads out
    assert sample["line"][0, 0].nonzero()[:, 1].unique().tolist() == [3] and not (sample["line"] & sample["flat"]).any()
    assert sample["segments"].unique().tolist() == [0, 1, 2]


def test_animerun_trains_on_all_colourings_in_clips(tmp_path):
    data = flow_dataset("animerun", animerun(tmp_path), training=True, window=Window(3))

    assert len(data) == 2 * 2 * 2  # scenes, colourings, clips of three of four frames
    sample = data[0]
    assert (255 * sample["frames"][:, 0, 0, 0]).round().tolist() == [101, 102, 103]
    assert sample["flow"][:, 0, 0, 0].tolist() == [1.0, 2.0]


def test_a_clip_draws_its_step_and_has_truth_for_neighbours_only(tmp_path):
    data = flow_dataset("animerun", animerun(tmp_path, frames=6), training=True, window=Window(3, max_stride=2))

    assert len(data) == 2 * 2 * 4  # as many as with neighbours alone
    torch.manual_seed(0)
    steps = set()
    for _ in range(12):
        sample = data[1]  # begins with the second of six frames: the step may be 1 or 2
        numbers = (255 * sample["frames"][:, 0, 0, 0]).round().int() - 100
        steps.add(tuple(numbers.tolist()))
        assert sample["valid"].any().item() == sample["visible"].any().item() == (numbers[1] == 3).item()
        assert sample["line"].any() and sample["segments"].unique().tolist() == [0, 1, 2]
    assert steps == {(2, 3, 4), (2, 4, 6)}
    last = {tuple((255 * data[3]["frames"][:, 0, 0, 0]).round().tolist()) for _ in range(12)}
    assert last == {(104.0, 105.0, 106.0)}  # there are none beyond


def test_animeruns_large_flows_do_not_count(tmp_path):
    flo(animerun(tmp_path) / "test/Flow/sprite/forward/Image0001.flo", u=1000.0)
    with pytest.raises(DataError, match=r"Image0001\.flo has no valid flow"):
        flow_dataset("animerun", tmp_path, training=False)[3]


@pytest.mark.parametrize("kind", ["npy", "png"])
def test_labels_beside_the_frames_go_before_the_data_sets_own(tmp_path, kind):
    animerun(tmp_path)
    for number in range(1, 5):
        labels = np.zeros((H, W), np.uint8)
        labels[:, :4] = 77
        folder = tmp_path / "test/Frame_Anime/sprite/original"
        if kind == "npy":
            array(folder / f"{number:04d}.npy", labels.astype(np.int32))
        else:
            Image.fromarray(labels).save(folder / f"{number:04d}_segments.png")

    sample = flow_dataset("animerun", tmp_path, training=False)[3]

    assert sample["segments"][0, 0, 0].tolist() == [1] * 4 + [0] * 20  # numbered by size


def test_without_any_labels_regions_of_one_colour_are_segments(tmp_path):
    first = np.zeros((H, W, 3), np.uint8)
    first[:, 10:] = 255
    for number in (1, 2):
        Image.fromarray(first).save(tmp_path / f"{number}.png")
    assert flow_dataset("frames", tmp_path, training=True)[0]["segments"][0, 0, 0].tolist() == [1] * 10 + [0] * 14


def test_middlebury_pairs_with_and_without_truth(tmp_path):
    for name in ("frame1", "frame2"):
        picture(tmp_path / f"whale/{name}.png")
    flo(tmp_path / "whale/flow_gt.flo", u=0.5)
    for name in ("frame10", "frame11"):
        picture(tmp_path / f"walk/{name}.jpg")

    data = flow_dataset("middlebury", tmp_path, training=False)

    assert data.sources[0].recording == "walk" and not data[0]["valid"].any()
    assert data[1]["valid"].all() and data[1]["flow"][0, 0].unique().tolist() == [0.5]
    assert len(flow_dataset("middlebury", tmp_path / "whale", training=True)) == 1


def test_frames_of_a_folder_are_neighbours_by_number(tmp_path):
    for number in (8, 9, 10, 11):
        picture(tmp_path / f"shot {number}.png", number)

    data = flow_dataset("frames", tmp_path, training=True, window=Window(3))

    assert len(data) == 2
    assert (255 * data[1]["frames"][:, 0, 0, 0]).round().tolist() == [9, 10, 11]


def test_a_film_is_a_clip_for_each_pair_of_its_frames(tmp_path):
    frames = [Image.new("RGB", (W, H), (50 * k, 0, 0)) for k in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert len(flow_dataset("film", tmp_path / "a.gif", training=True)) == 2
    assert flow_dataset("film", tmp_path, training=True)[1]["frames"].shape == (2, 3, H, W)


@pytest.mark.parametrize("name", ["frames", "film", "video"])
def test_frames_without_truth_come_in_steps_as_well(tmp_path, name):
    pictures = [np.full((H, W, 3), 40 * k, np.uint8) for k in range(5)]
    if name == "frames":
        for number, pixels in enumerate(pictures):
            Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    elif name == "film":
        first, *rest = map(Image.fromarray, pictures)
        first.save(tmp_path / "a.gif", save_all=True, append_images=rest)
    else:
        write_video(tmp_path / "a.avi", pictures)

    data = flow_dataset(name, tmp_path, training=True, window=Window(2, max_stride=2))

    torch.manual_seed(0)
    pairs = {tuple((255 / 40 * data[1]["frames"][:, 0, 0, 0]).round().int().tolist()) for _ in range(12)}
    assert len(data) == 4 and pairs == {(1, 2), (1, 3)}
    assert not data[1]["valid"].any()


def sintel(root):
    for scene in ("alley", "bamboo"):
        for number in (1, 2, 3):
            picture(root / f"Sintel/training/clean/{scene}/frame_{number:04d}.png")
        for number in (1, 2):
            flo(root / f"Sintel/training/flow/{scene}/frame_{number:04d}.flo", u=number)


def kitti(root):
    for number in ("000000", "000001"):
        for time in (10, 11):
            picture(root / f"KittiFlow/training/image_2/{number}_{time}.png")
        path = root / f"KittiFlow/training/flow_occ/{number}_10.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = np.zeros((H, W, 3), np.uint16)
        stored[..., 0], stored[..., 1], stored[..., 2] = 2**15 + 2 * 64, 2**15, 1
        stored[:, 0, 2] = 0
        write_deep_png(path, stored)


def write_deep_png(path, pixels):
    """A 16-bit colour PNG, which PIL cannot write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def chairs(root):
    for number in ("00001", "00002"):
        for time in (1, 2):
            picture(root / f"FlyingChairs/data/{number}_img{time}.ppm")
        flo(root / f"FlyingChairs/data/{number}_flow.flo")
    (root / "FlyingChairs/FlyingChairs_train_val.txt").write_text("1\n2\n")


def things(root):
    for part in ("TRAIN", "TEST"):
        for number in (6, 7):
            picture(root / f"FlyingThings3D/frames_cleanpass/{part}/A/0000/left/{number:04d}.png")
            for way, name in (("into_future", "OpticalFlowIntoFuture"), ("into_past", "OpticalFlowIntoPast")):
                path = root / f"FlyingThings3D/optical_flow/{part}/A/0000/{way}/left/{name}_{number:04d}_L.pfm"
                path.parent.mkdir(parents=True, exist_ok=True)
                values = np.zeros((H, W, 3), "<f4")
                values[..., 0] = 2.0
                path.write_bytes(f"PF\n{W} {H}\n-1\n".encode() + values.tobytes())


def hd1k(root):
    for number in range(2):
        picture(root / f"hd1k/hd1k_input/image_2/000000_{number:04d}.png")
        path = root / f"hd1k/hd1k_flow_gt/flow_occ/000000_{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = np.ones((H, W, 3), np.uint16)
        stored[..., 0], stored[..., 1] = 2**15 + 2 * 64, 2**15
        write_deep_png(path, stored)


@pytest.mark.parametrize(
    ("name", "make", "training", "count", "unknown"),
    [
        ("sintel", sintel, True, 4, 0),
        ("kitti2015", kitti, True, 2, H),
        ("flyingchairs", chairs, True, 1, 0),
        ("flyingchairs", chairs, False, 1, 0),
        ("flyingthings3d", things, True, None, 0),
        ("hd1k", hd1k, True, 1, 0),
    ],
)
def test_torchvisions_data_sets(tmp_path, name, make, training, count, unknown):
    make(tmp_path)

    data = flow_dataset(name, tmp_path, training=training)
    sample = data[len(data) - 1]

    assert count is None or len(data) == count
    assert sample["frames"].shape == (2, 3, H, W) and sample["flow"].shape == (1, 2, H, W)
    expected = 1.0 if name == "flyingchairs" else 2.0
    assert sample["flow"][0, 0][sample["valid"][0, 0]].abs().unique().tolist() == [expected]
    assert (~sample["valid"]).sum() == unknown


def test_scenes_of_a_shared_folder_go_to_one_side_or_the_other(tmp_path):
    sintel(tmp_path)
    train, val = (flow_dataset("sintel", tmp_path, training=part, shared=True) for part in (True, False))
    assert {source.recording for source in train.sources} ^ {source.recording for source in val.sources} == {
        "alley",
        "bamboo",
    }


def test_a_small_set_fills_an_epoch_with_crops_of_their_own(tmp_path):
    for number in (1, 2):
        picture(tmp_path / f"{number}.png")
    data = flow_dataset("frames", tmp_path, training=True, crop=(8, 8), count=10)
    torch.manual_seed(0)

    assert len(data) == 10 and data[9]["frames"].shape == (2, 3, 8, 8)
    assert not torch.equal(data[3]["frames"], data[3]["frames"])


# ------------------------------------------------------------------------------------------------------ bad input


def test_an_unknown_name_and_a_missing_folder_say_what_there_is(tmp_path):
    with pytest.raises(ValueError, match="no flow data set 'sintle' .known: procedural, animerun"):
        flow_dataset("sintle", tmp_path, training=True)
    for name, layout in LAYOUTS.items():
        with pytest.raises(DataError, match=rf"{name} wants: {re.escape(layout.expected)}"):
            flow_dataset(name, tmp_path / "nowhere", training=True)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_an_empty_folder_is_an_error(tmp_path, name):
    with pytest.raises(DataError, match=str(tmp_path)):
        flow_dataset(name, tmp_path, training=True)


def test_a_missing_frame_is_named(tmp_path):
    for number in (1, 2, 4, 5):
        picture(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match="frame 3 is missing, between 2 and the next"):
        flow_dataset("frames", tmp_path, training=True)


def test_a_single_frame_and_names_without_numbers_are_named(tmp_path):
    picture(tmp_path / "one/1.png")
    with pytest.raises(DataError, match=r"1\.png is the only frame"):
        flow_dataset("frames", tmp_path, training=True)
    picture(tmp_path / "two/a.png")
    with pytest.raises(DataError, match=r"a\.png: its name has no number"):
        flow_dataset("frames", tmp_path / "two", training=True)


def test_a_pair_without_its_second_frame_is_named(tmp_path):
    picture(tmp_path / "frame1.png")
    with pytest.raises(DataError, match=r"frame1\.png has no second frame 'frame2'"):
        flow_dataset("middlebury", tmp_path, training=True)


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (
            lambda folder: picture(folder / "frame2.png", size=(H, W - 2)),
            ["frame1.png", "24x16", "frame2.png", "22x16"],
        ),
        (lambda folder: flo(folder / "flow_gt.flo", size=(H - 1, W)), ["frame1.png", "flow_gt.flo", "24x15"]),
        (lambda folder: flo(folder / "flow_gt.flo", u=np.nan), ["flow_gt.flo has no valid flow"]),
        (lambda folder: (folder / "frame2.png").write_bytes(b"\x89PNG\r\n"), ["frame2.png"]),
        (lambda folder: (folder / "flow_gt.flo").write_bytes(b"PIEH"), ["flow_gt.flo"]),
    ],
    ids=["frame of another size", "flow of another size", "flow unknown", "broken frame", "broken flow"],
)
def test_a_broken_clip_is_named_with_its_sample(tmp_path, damage, names):
    for name in ("frame1", "frame2"):
        picture(tmp_path / f"{name}.png")
    flo(tmp_path / "flow_gt.flo")
    damage(tmp_path)
    with pytest.raises(DataError, match="sample 0 of middlebury: ") as caught:
        flow_dataset("middlebury", tmp_path, training=True)[0]
    assert all(name in str(caught.value) for name in names), str(caught.value)

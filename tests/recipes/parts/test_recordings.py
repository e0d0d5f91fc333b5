"""Whole recordings go to train or to val, the same ones everywhere."""

import pytest

from recipes.parts.data_error import DataError
from recipes.parts.recordings import split_by_recording

FRAMES = [f"run_{run}" for run in range(10) for _ in range(3)]


def test_a_recording_is_on_one_side_only():
    train, val = (split_by_recording(FRAMES, split, val_share=0.2) for split in ("train", "val"))
    assert sorted(train + val) == list(range(30))
    assert len(val) == 6
    assert {FRAMES[i] for i in train}.isdisjoint({FRAMES[i] for i in val})
    assert split_by_recording(FRAMES, "all") == list(range(30))


def test_the_order_of_the_samples_changes_nothing():
    val = {FRAMES[i] for i in split_by_recording(FRAMES, "val")}
    backwards = FRAMES[::-1]
    assert {backwards[i] for i in split_by_recording(backwards, "val")} == val
    assert val == {"run_2", "run_5"}  # the same on any machine


@pytest.mark.parametrize(("share", "held_out"), [(0.01, 1), (0.5, 1), (0.99, 1)])
def test_of_two_recordings_one_is_always_left_on_each_side(share, held_out):
    assert len(split_by_recording(["a", "b"], "val", val_share=share)) == held_out


def test_one_recording_cannot_be_split_but_used_whole():
    with pytest.raises(DataError, match=r"only one recording \(run_1\).*Record a second one, or use split 'all'"):
        split_by_recording(["run_1"] * 50, "val")
    assert len(split_by_recording(["run_1"] * 50, "all")) == 50


@pytest.mark.parametrize(
    ("split", "share", "message"),
    [("valid", 0.2, "split is 'valid'; it can be 'train', 'val', 'all'"), ("val", 1.0, "val_share is 1.0")],
)
def test_a_wrong_split_or_share_says_what_is_right(split, share, message):
    with pytest.raises(ValueError, match=message):
        split_by_recording(FRAMES, split, val_share=share)

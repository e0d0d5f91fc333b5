"""Where each public stereo data set keeps its files.

Partners are found by name, from the disparity map to its pictures. torchvision's stereo data sets pair by position in
sorted listings, which gives wrong partners where a listing has more files, as with KITTI 2015's second frames
(pytorch/vision#7128); read InStereo2k ten times too small (#7129); and mix FlyingThings3D's TRAIN and TEST.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from recipes.parts.data_error import DataError
from recipes.parts.stereo.pair import StereoPair
from recipes.parts.stereo.pair_folders import ANY_PAIR, MIDDLEBURY_2003, MIDDLEBURY_2006, MIDDLEBURY_2014, find_pairs


class Layout(NamedTuple):
    """How to find a data set's pairs under a folder, and in words how they should lie there."""

    find: Callable[[Path], Sequence[Any]]
    expected: str


SCENE_FLOW = ("FlyingThings3D", "Monkaa", "Driving")
CLEAN, FINAL = "frames_cleanpass", "frames_finalpass"


def _scene_flow(root: Path, *, variants: tuple[str, ...] = SCENE_FLOW, rendering: str = CLEAN) -> list[StereoPair]:
    """Scene Flow (Mayer et al., 2016): .pfm disparities. Its unit of length is not the metre."""
    pairs = []
    for variant in variants:
        folder = _inside(root, "SceneFlow", variant)
        if len(variants) > 1 and folder.name != variant:
            continue
        for disparity in sorted((folder / "disparity").rglob("left/*.pfm")):
            left = folder / rendering / disparity.relative_to(folder / "disparity").with_suffix(".png")
            right = left.parent.parent / "right" / left.name
            place = disparity.relative_to(folder / "disparity").parts[:-2]
            # Driving is one street there and back at several speeds and focal lengths.
            recording = place[1] if variant == "Driving" and len(place) > 1 else "/".join(place)
            part = "test" if place[:1] == ("TEST",) else "train"
            pairs.append(StereoPair(left, right, disparity, f"{variant}/{recording}", part))
    return _complete(pairs)


def _kitti(root: Path, *, year: int) -> list[StereoPair]:
    """KITTI 2012 and 2015 (Geiger et al., 2012; Menze and Geiger, 2015): 16-bit disparities times 256.

    A scene is a frame of a drive and its neighbours in number may be of the same drive: ten are taken for a recording.
    """
    left_name, right_name, suffix = ("colored_0", "colored_1", "") if year == 2012 else ("image_2", "image_3", "_0")
    folder = _inside(root, f"Kitti{year}", "training")
    visible = folder / f"disp_noc{suffix}"
    truth = next((path for path in (folder / f"disp_occ{suffix}", visible) if path.is_dir()), visible)
    pairs = []
    for disparity in sorted(truth.glob("*.png")):
        number = disparity.stem.split("_")[0]
        name = disparity.name if (folder / left_name / disparity.name).is_file() else f"{number}_10.png"
        texts = (folder / "calib_cam_to_cam" / f"{number}.txt", folder / "calib" / f"{number}.txt")
        mask = visible / disparity.name
        pairs.append(
            StereoPair(
                folder / left_name / name,
                folder / right_name / name,
                disparity,
                recording=number[:-1] + "x",
                scale=256.0,
                masks=((mask, "nonzero"),) if mask.is_file() else (),
                intrinsics=next((path for path in texts if path.is_file()), None),
            )
        )
    return _complete(pairs)


def _eth3d(root: Path) -> list[StereoPair]:
    """ETH3D low-res two-view (Schoeps et al., 2017): .pfm, with a mask of what both eyes see."""
    folder = _inside(root, "ETH3D")
    pairs = []
    for disparity in sorted(folder.glob("**/disp0GT.pfm")):
        place = disparity.parent
        pictures = place.parent.parent / place.parent.name.removesuffix("_gt") / place.name
        mask = place / "mask0nocc.png"
        pairs.append(
            StereoPair(
                pictures / "im0.png",
                pictures / "im1.png",
                disparity,
                recording=place.name,
                masks=((mask, "white"),) if mask.is_file() else (),
                intrinsics=pictures / "calib.txt",
            )
        )
    return _complete(pairs)


def _crestereo(root: Path) -> list[StereoPair]:
    """CREStereo's synthetic set (Li et al., 2022): 16-bit disparities times 32; each pair is a scene of its own."""
    pairs = []
    for disparity in sorted(_inside(root, "CREStereo").glob("**/*_left.disp.png")):
        name = disparity.name.removesuffix("_left.disp.png")
        left, right = (disparity.with_name(f"{name}_{eye}.jpg") for eye in ("left", "right"))
        pairs.append(StereoPair(left, right, disparity, f"{disparity.parent.name}/{name}", scale=32.0))
    return _complete(pairs)


def _instereo2k(root: Path) -> list[StereoPair]:
    """InStereo2k (Bao et al., 2020): 16-bit disparities times 100, as its Readme.md says."""
    pairs = []
    for disparity in sorted(_inside(root, "InStereo2k").glob("**/left_disp.png")):
        left, right = disparity.with_name("left.png"), disparity.with_name("right.png")
        part = "test" if disparity.parent.parent.name == "test" else "train"
        pairs.append(StereoPair(left, right, disparity, disparity.parent.name, part, scale=100.0))
    return _complete(pairs)


def _sintel(root: Path, *, rendering: str = "final") -> list[StereoPair]:
    """MPI Sintel stereo (Butler et al., 2012): packed disparities, masks of what the right eye does not see."""
    folder = _inside(root, "Sintel", "training")
    pairs = []
    for disparity in sorted((folder / "disparities").glob("*/*.png")):
        frame = disparity.relative_to(folder / "disparities")
        pairs.append(
            StereoPair(
                folder / f"{rendering}_left" / frame,
                folder / f"{rendering}_right" / frame,
                disparity,
                recording=frame.parts[0],
                packing="sintel",
                masks=((folder / "occlusions" / frame, "zero"), (folder / "outofframe" / frame, "zero")),
            )
        )
    return _complete(pairs)


def _inside(root: Path, *names: str) -> Path:
    """``root``, or the folder of these names in it: archives unpack with and without their outer folders."""
    for name in names:
        root = root / name if (root / name).is_dir() else root
    return root


def _complete(pairs: list[StereoPair]) -> list[StereoPair]:
    """``pairs``, if all of their pictures and masks are there."""
    missing = [
        (path, pair.disparity)
        for pair in pairs
        for path in (pair.left, pair.right, *(mask for mask, _ in pair.masks))
        if not path.is_file()
    ]
    if missing:
        path, disparity = missing[0]
        raise DataError(
            f"{len(missing)} files of {len(pairs)} pairs are missing, the first is {path} (for {disparity}). "
            "Unpack the archive with them, or remove the disparity maps that have none."
        )
    return pairs


_THINGS = (
    "{pass}/{{TRAIN,TEST}}/A/0000/left/0006.png, .../right/0006.png, disparity/{{TRAIN,TEST}}/A/0000/left/0006.pfm"
)
_KITTI = "training/{0}/000000_10.png, training/{1}/000000_10.png, training/disp_occ{2}/000000_10.png (16 bits, x 256)"
LAYOUTS = {
    "scene_flow": Layout(_scene_flow, f"FlyingThings3D, Monkaa and Driving, any of them: {CLEAN}/.../left/0001.png, "
                         ".../right/0001.png, disparity/.../left/0001.pfm"),
    "flyingthings3d": Layout(partial(_scene_flow, variants=("FlyingThings3D",)), _THINGS.format(**{"pass": CLEAN})),
    "flyingthings3d_final": Layout(partial(_scene_flow, variants=("FlyingThings3D",), rendering=FINAL),
                                   _THINGS.format(**{"pass": FINAL})),
    "monkaa": Layout(partial(_scene_flow, variants=("Monkaa",)),
                     f"{CLEAN}/SCENE/left/0000.png, {CLEAN}/SCENE/right/0000.png, disparity/SCENE/left/0000.pfm"),
    "driving": Layout(partial(_scene_flow, variants=("Driving",)),
                      f"{CLEAN}/15mm_focallength/scene_forwards/fast/left/0001.png, .../right/0001.png, disparity/..."),
    "kitti2012": Layout(partial(_kitti, year=2012), _KITTI.format("colored_0", "colored_1", "")),
    "kitti2015": Layout(partial(_kitti, year=2015), _KITTI.format("image_2", "image_3", "_0")),
    "eth3d": Layout(_eth3d, "two_view_training/SCENE/im0.png, im1.png and two_view_training_gt/SCENE/disp0GT.pfm"),
    "crestereo": Layout(_crestereo, "tree/0_left.jpg, tree/0_right.jpg, tree/0_left.disp.png (16 bits, x 32)"),
    "instereo2k": Layout(_instereo2k, "{train,test}/SCENE/left.png, right.png, left_disp.png (16 bits, x 100)"),
    "sintel_stereo": Layout(_sintel, "training/{final_left,final_right,disparities,occlusions,outofframe}/SCENE/1.png"),
    "middlebury2003": Layout(partial(find_pairs, namings=MIDDLEBURY_2003), "im2.png, im6.png, disp2.png, or folders "
                             "of them (quarter size: x 4, half: x 2, full: x 1; 0 is unknown)"),
    "middlebury2006": Layout(partial(find_pairs, namings=MIDDLEBURY_2006), "view1.png, view5.png, disp1.png, or "
                             "folders of them (third size: x 3, half: x 2, full: x 1; 0 is unknown)"),
    "middlebury2014": Layout(partial(find_pairs, namings=MIDDLEBURY_2014),
                             "{train,additional}/SCENE-perfect/im0.png, im1.png, disp0.pfm (or disp0GT.pfm)"),
    "pairs": Layout(partial(find_pairs, namings=ANY_PAIR), "left.png, right.png, disparity.png (or .pfm, .npy; px, 0 "
                    "is unknown), or aL.jpg, aR.jpg, aGT.png, or a_left, a_right, a_disparity, or Middlebury's names; "
                    "in the folder itself or in folders of it"),
}  # fmt: skip

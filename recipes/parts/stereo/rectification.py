"""Turning two calibrated cameras' pictures so that a point lies in the same row of both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from kornia.geometry.transform import remap as kornia_remap
from scipy.spatial.transform import Rotation

from recipes.parts.data_error import DataError
from recipes.parts.stereo.lens_distortion import distort, undistort_points

Array = np.ndarray
CALIBRATION_SHAPES = {"K1": (3, 3), "D1": None, "K2": (3, 3), "D2": None, "R": (3, 3), "T": (3,)}


@dataclass(frozen=True, eq=False)
class Rectification:
    """What `stereo_rectify` found, with OpenCV's names.

    R1, R2 (3x3) turn each camera's rays into the rectified frame; P1, P2 (3x4) project from there to px; Q (4x4) makes
    (x, y, disparity, 1) a point. K1, D1, K2, D2 are the cameras as they are; ``size`` is (width, height) in px.
    """

    R1: Array
    R2: Array
    P1: Array
    P2: Array
    Q: Array
    K1: Array
    D1: Array
    K2: Array
    D2: Array
    size: tuple[int, int]

    @property
    def focal_baseline(self) -> float:
        """Focal length in px times baseline, in T's unit: depth = focal_baseline / disparity."""
        return float(-self.P2[0, 3])

    def left_map(self) -> torch.Tensor:
        """Where in the left picture each rectified pixel lies: float32 [2,H,W], (x, y) in px."""
        return torch.from_numpy(_source_pixels(self.K1, self.D1, self.R1, self.P1, self.size).astype(np.float32))

    def right_map(self) -> torch.Tensor:
        """Where in the right picture each rectified pixel lies: float32 [2,H,W], (x, y) in px."""
        return torch.from_numpy(_source_pixels(self.K2, self.D2, self.R2, self.P2, self.size).astype(np.float32))


def stereo_rectify(
    K1: Array, D1: Array, K2: Array, D2: Array, size: tuple[int, int], R: Array, T: Array
) -> Rectification:
    """Rectify two cameras side by side, so that no rectified pixel lies outside its picture.

    The same as OpenCV's ``stereoRectify(..., flags=CALIB_ZERO_DISPARITY, alpha=0)``: Bouguet's method (Camera
    Calibration Toolbox; Bradski and Kaehler, "Learning OpenCV", 2008, chapter 12) turns each camera by half of R, then
    both so that the baseline is horizontal.

    Args:
        K1, K2: 3x3 intrinsic matrices of the left and the right camera, px.
        D1, D2: 4, 5 or 8 distortion coefficients, see `recipes.parts.stereo.lens_distortion.distort`.
        size: (width, height) of both pictures, px.
        R, T: a point X of the left camera's frame is R X + T in the right one's. The baseline is in T's unit.

    Raises:
        ValueError: the cameras are not side by side, or swapped, or were calibrated at another size.
    """
    K1, K2, R = (np.asarray(value, dtype=np.float64) for value in (K1, K2, R))
    D1, D2, T = (np.asarray(value, dtype=np.float64).ravel() for value in (D1, D2, T))
    for name, (x, y) in (("K1", K1[:2, 2]), ("K2", K2[:2, 2])):
        if not (0 < x < size[0] and 0 < y < size[1]):
            raise ValueError(
                f"{name} has its centre at {x:.0f}, {y:.0f}, outside a picture of {size[0]}x{size[1]} px: calibrate at "
                "the size of the pictures"
            )
    half = Rotation.from_rotvec(-Rotation.from_matrix(R).as_rotvec() / 2).as_matrix()  # half of R, backwards
    level = _turn_to_x_axis(half @ T)
    R1, R2 = level @ half.T, level @ half
    cameras = ((K1, D1, R1), (K2, D2, R2))

    focal = (K1[1, 1] + K2[1, 1]) / 2
    centre = np.mean([_centred(*camera, focal, size) for camera in cameras], axis=0)
    zoom = max(_zoom_to_inside(*camera, focal, centre, size) for camera in cameras)
    focal, baseline = focal * zoom, float((R2 @ T)[0])
    P1 = np.array([[focal, 0, centre[0], 0], [0, focal, centre[1], 0], [0, 0, 1, 0]])
    P2 = P1.copy()
    P2[0, 3] = focal * baseline
    Q = np.array([[1, 0, 0, -centre[0]], [0, 1, 0, -centre[1]], [0, 0, 0, focal], [0, 0, -1 / baseline, 0]])
    return Rectification(R1, R2, P1, P2, Q, K1, D1, K2, D2, size)


def remap(image: torch.Tensor, pixels: torch.Tensor, *, mode: str = "bilinear") -> torch.Tensor:
    """Sample ``image`` [C,H,W] at ``pixels`` [2,h,w], (x, y) in px: [C,h,w] of its dtype; zero outside.

    Args:
        mode: ``bilinear`` for pictures, ``nearest`` for depth: a mean of two surfaces' depths lies on neither.

    >>> remap(torch.arange(4.0).view(1, 1, 4), torch.tensor([2.3, 0.0]).view(2, 1, 1), mode="nearest").item()
    2.0
    """
    if mode == "bilinear":
        # align_corners: pixel coordinates are those of pixel centres only with it.
        sampled = kornia_remap(image[None].float(), pixels[None, 0], pixels[None, 1], align_corners=True)[0]
        return sampled if image.is_floating_point() else sampled.round().to(image.dtype)
    if mode != "nearest":
        raise ValueError(f"mode is {mode!r}; it can be 'bilinear' or 'nearest'")
    height, width = image.shape[-2:]
    x, y = pixels.round().long()
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return image[:, y.clamp(0, height - 1), x.clamp(0, width - 1)] * inside


def rectify_depth(
    depth: torch.Tensor, rectification: Rectification, *, pixels: torch.Tensor | None = None
) -> torch.Tensor:
    """The left camera's ``depth`` [1,H,W] along its own axis as the rectified camera's, along that one's: [1,H,W].

    Depth is a coordinate, so turning the camera changes it: a pixel with the ray r (r_z = 1) in the rectified frame
    has the ray R1^T r in the camera's, hence the rectified depth is depth / (R1^T r)_z. Zero where unknown.

    Args:
        pixels: the rectification's ``left_map()``, where it is at hand.
    """
    pixels = rectification.left_map() if pixels is None else pixels
    x, y = _rectified_rays(rectification.P1, rectification.size)
    along, across, ahead = rectification.R1[:, 2]
    toward = torch.from_numpy(along * x[None, :] + across * y[:, None] + ahead)
    return remap(depth, pixels, mode="nearest") / toward.to(depth.dtype)


def load_calibration(path: str | Path) -> dict[str, Array]:
    """The float64 arrays K1 D1 K2 D2 R T of a calibration ``.npz``, fit to give to `stereo_rectify`; T in metres.

    Raises:
        DataError: not readable, a missing key, a wrong shape, a number that is not finite; all problems at once.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = sorted(stored.files)
            arrays = {key: np.asarray(stored[key], dtype=np.float64) for key in found if key in CALIBRATION_SHAPES}
    except (OSError, ValueError, TypeError, EOFError, AttributeError, BadZipFile) as error:
        raise DataError(f"cannot read the calibration {path}: {error}. Save it with numpy.savez.") from error
    problems = []
    for key, shape in CALIBRATION_SHAPES.items():
        if key not in arrays:
            problems.append(f"no '{key}' (found: {', '.join(found) or 'nothing'})")
            continue
        array = arrays[key] = arrays[key] if shape == (3, 3) else arrays[key].ravel()
        wanted = "4, 5 or 8 numbers" if shape is None else f"shape {shape}"
        if array.shape not in ([(4,), (5,), (8,)] if shape is None else [shape]):
            problems.append(f"'{key}' has shape {array.shape}, not {wanted}")
        elif not np.isfinite(array).all():
            problems.append(f"'{key}' has numbers that are not finite")
    if problems:
        raise DataError(f"the calibration {path} needs the keys K1 D1 K2 D2 R T: " + "; ".join(problems))
    return arrays


def _turn_to_x_axis(translation: Array) -> Array:
    """The rotation 3x3 that brings the right camera's ``translation`` onto the negative x axis."""
    x, y, _ = translation
    if abs(x) <= abs(y):
        raise ValueError(
            "T puts the cameras one above the other, not side by side: turn the pictures by 90 degrees first"
        )
    if x > 0:
        raise ValueError(
            f"T puts camera 2 to the left of camera 1 (x is {x:+.4g}): exchange the two, and invert R and T"
        )
    axis = np.cross(translation, [-1.0, 0.0, 0.0])
    length = np.linalg.norm(axis)
    angle = np.arctan2(length, -x)
    return Rotation.from_rotvec(axis * (angle / length if length > 0 else 0.0)).as_matrix()


def _centred(camera: Array, coefficients: Array, turn: Array, focal: float, size: tuple[int, int]) -> Array:
    """The principal point (x, y) that puts the mean of the picture's four corners into its middle."""
    right, bottom = size[0] - 1, size[1] - 1
    corners = np.array([[0, 0], [right, 0], [0, bottom], [right, bottom]], dtype=np.float64)
    projected = focal * _turned(undistort_points(corners, camera, coefficients), turn)
    return np.array([right / 2, bottom / 2]) - projected.mean(axis=0)


def _zoom_to_inside(
    camera: Array, coefficients: Array, turn: Array, focal: float, centre: Array, size: tuple[int, int]
) -> float:
    """The smallest zoom at which no rectified pixel lies outside the picture, from 9x9 points as in OpenCV."""
    right, bottom = size[0] - 1, size[1] - 1
    grid = np.stack(np.meshgrid(np.linspace(0, right, 9), np.linspace(0, bottom, 9)), axis=-1)
    x, y = np.moveaxis(focal * _turned(undistort_points(grid, camera, coefficients), turn) + centre, -1, 0)
    x_from, x_to, y_from, y_to = x[:, 0].max(), x[:, -1].min(), y[0].max(), y[-1].min()
    if not (x_from < centre[0] < x_to and y_from < centre[1] < y_to):
        raise ValueError(
            "no rectangle of the picture is left after rectification: is the calibration that of these cameras?"
        )
    return max(
        centre[0] / (centre[0] - x_from),
        (right - centre[0]) / (x_to - centre[0]),
        centre[1] / (centre[1] - y_from),
        (bottom - centre[1]) / (y_to - centre[1]),
    )


def _turned(rays: Array, turn: Array) -> Array:
    """``rays`` (x, y, 1) [...,2] after ``turn``, normalised again."""
    turned = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1) @ turn.T
    return turned[..., :2] / turned[..., 2:]


def _rectified_rays(projection: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """x of each column and y of each row, where the rectified pixel's ray is (x, y, 1)."""
    focal, x, y = projection[0, 0], projection[0, 2], projection[1, 2]
    return (np.arange(size[0]) - x) / focal, (np.arange(size[1]) - y) / focal


def _camera_rays(turn: Array, projection: Array, size: tuple[int, int]) -> Array:
    """The ray of each rectified pixel in the unturned camera's frame: float64 [3,H,W]."""
    x, y = _rectified_rays(projection, size)
    rays = np.stack([*np.meshgrid(x, y), np.ones((size[1], size[0]))])
    return np.einsum("ji,jhw->ihw", turn, rays)


def _source_pixels(camera: Array, coefficients: Array, turn: Array, projection: Array, size: tuple[int, int]) -> Array:
    """OpenCV's initUndistortRectifyMap: float64 [2,H,W]."""
    rays = _camera_rays(turn, projection, size)
    x, y = distort(rays[0] / rays[2], rays[1] / rays[2], coefficients)
    return np.stack([camera[0, 0] * x + camera[0, 2], camera[1, 1] * y + camera[1, 2]])

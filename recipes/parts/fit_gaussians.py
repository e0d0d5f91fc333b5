"""Fits 2D Gaussians to pictures: ``python -m recipes.parts.fit_gaussians IMAGES OUT``.

Every picture in the folder IMAGES, or below it, becomes OUT/NAME.npz with ``gaussians`` (512,8), as stored
(`recipes.parts.gaussians.form`), and ``psnr``: what the data set ``fits`` of the VAE recipe reads. Pictures that have
their file already are passed over, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from kornia.losses import ssim_loss
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torchvision.transforms.v2 import functional as transforms

from recipes.parts.data_error import DataError
from recipes.parts.gaussians.construction import construct_gaussians
from recipes.parts.gaussians.files import read_gaussians
from recipes.parts.gaussians.render import render
from recipes.parts.image_files import read_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
RATES = {"xy": 5e-4, "scales": 2e-3, "angle": 2e-3, "colour": 5e-3}  # of Adam, as Image-GS has them
NARROWEST = 3.0  # 1/px: a Gaussian that is narrower than a third of a pixel falls between them


def fit(
    images: torch.Tensor, count: int = 512, *, steps: int = 200, step_done: Callable[[], None] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussians [B,count,8], as stored, for ``images`` [B,3,S,S] in 0..1, and their PSNR in dB [B].

    They begin by construction, and are moved by Adam along the gradient of L1 + 0.1 (1 - SSIM) of their render
    (Image-GS, Zhang et al., 2025). Each keeps the best it had, so that it never ends worse than it began.

    Args:
        step_done: called after each step.
    """
    side = images.shape[-1]
    begun = construct_gaussians(images, count)
    parts = {"xy": begun[..., :2], "scales": begun[..., 2:4], "angle": begun[..., 4:5], "colour": begun[..., 5:]}
    leaves = {name: part.clone().requires_grad_(True) for name, part in parts.items()}
    optimizer = torch.optim.Adam([{"params": [leaves[name]], "lr": rate} for name, rate in RATES.items()])
    best, best_error = begun.clone(), torch.full((len(images),), torch.inf, device=images.device)
    for step in range(steps + 1):
        gaussians = torch.cat(list(leaves.values()), -1)
        picture = render(gaussians, size=side, side=side)
        with torch.no_grad():
            error = (picture.clamp(0, 1) - images).square().mean((1, 2, 3))
            better = error < best_error
            best_error = torch.where(better, error, best_error)
            best = torch.where(better.view(-1, 1, 1), gaussians, best)
        if step == steps:
            break
        unlike = ssim_loss(picture, images, 7, reduction="none")  # half of 1 - SSIM
        loss = (picture - images).abs().mean((1, 2, 3)) + 0.2 * unlike.mean((1, 2, 3))
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        with torch.no_grad():
            leaves["scales"].clamp_(1 / side, NARROWEST)
        if step_done is not None:
            step_done()
    return best, -10 * best_error.clamp_min(1e-10).log10()


def read_square(path: Path, size: int) -> torch.Tensor:
    """The largest square in the middle of a picture, float32 [3,size,size] in 0..1.

    Raises:
        DataError: it cannot be read.
    """
    image = read_image(path)
    side = min(image.shape[1:])
    square = transforms.center_crop(image, [side, side]).float() / 255
    return transforms.resize(square, [size, size], antialias=True).clamp(0, 1)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in and below ``folder``, sorted.

    Raises:
        DataError: no such folder, or none in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"no pictures in {folder} (looked for {', '.join(SUFFIXES)})")
    return found


def fit_folder(
    images: Path, out: Path, *, count: int, size: int, steps: int, batch: int, device: torch.device, console: Console
) -> list[str]:
    """Fit all pictures in ``images`` that ``out`` has no Gaussians of; gives what went wrong, a line a picture.

    Raises:
        DataError: no pictures, or two of one name.
    """
    pictures = pictures_in(images)
    targets = {path: out / path.relative_to(images).with_suffix(".npz") for path in pictures}
    if len(set(targets.values())) < len(targets):
        raise DataError(f"pictures in {images} differ in nothing but their endings; each needs a name of its own")
    left = [path for path in pictures if not _is_fit(targets[path], count)]
    done = len(pictures) - len(left)
    problems: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("fitting", total=len(pictures), completed=done)
        for group in _groups(left, batch, size, problems):
            advance = partial(progress.advance, task, len(group) / max(steps, 1))
            gaussians, psnr = fit(torch.stack(list(group.values())).to(device), count, steps=steps, step_done=advance)
            for path, numbers, ratio in zip(group, gaussians.cpu().numpy(), psnr.tolist()):
                _save(targets[path], numbers, ratio)
            done += len(group)
            progress.update(task, completed=done + len(problems), description=f"fitting, {psnr.mean():.1f} dB")
        progress.update(task, completed=done + len(problems))
    return problems


def _groups(paths: list[Path], batch: int, size: int, problems: list[str]) -> Iterator[dict[Path, torch.Tensor]]:
    """The pictures, ``batch`` at a time; those that cannot be read are noted in ``problems``."""
    group: dict[Path, torch.Tensor] = {}
    for path in paths:
        try:
            group[path] = read_square(path, size)
        except DataError as error:
            problems.append(str(error))
        if len(group) == batch:
            yield group
            group = {}
    if group:
        yield group


def _is_fit(path: Path, count: int) -> bool:
    """Whether a whole file of so many Gaussians is there."""
    try:
        return len(read_gaussians(path)) == count
    except DataError:
        return False


def _save(path: Path, gaussians: np.ndarray, psnr: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    with half.open("wb") as file:
        np.savez(file, gaussians=gaussians, psnr=np.float32(psnr))
    os.replace(half, path)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns an exit code: 0, 1 where some pictures could not be read, 2 where nothing could be done."""
    parser = argparse.ArgumentParser(prog="python -m recipes.parts.fit_gaussians", description="Gaussians for pictures")
    parser.add_argument("images", type=Path, help="a folder of pictures; the middle square of each is taken")
    parser.add_argument("out", type=Path, help="a folder for the .npz files; what is there already is kept")
    parser.add_argument("--count", type=int, default=512, help="Gaussians of a picture, a power of two (512)")
    parser.add_argument("--size", type=int, default=64, help="side that pictures are brought to, px (64)")
    parser.add_argument("--steps", type=int, default=200, help="steps of each fit (200); 0: by construction alone")
    parser.add_argument("--batch", type=int, default=8, help="pictures fitted at a time (8)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute")
    options = parser.parse_args(arguments)
    for name, least in (("count", 2), ("size", 8), ("steps", 0), ("batch", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} is {getattr(options, name)}; it must be at least {least}")
    if options.count & (options.count - 1):
        parser.error(f"--count is {options.count}; it must be a power of two")
    console = Console(stderr=True)
    settings = {name: getattr(options, name) for name in ("count", "size", "steps", "batch")}
    try:
        device = torch.device(options.device)
        problems = fit_folder(options.images, options.out, **settings, device=device, console=console)
    except (DataError, OSError, RuntimeError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 2
    for problem in problems:
        console.print(problem, style="red", markup=False, soft_wrap=True)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

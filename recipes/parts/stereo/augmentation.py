"""Random changes of stereo pairs after which the disparity is still exact."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from recipes.parts.colour_jitter import ColourJitter
from recipes.parts.warping import right_view_disparity

Batch = dict[str, Any]
MAPS = ("left", "right", "disparity", "valid", "visible")
RIGHT_VIEW = ("disparity_right", "valid_right", "visible_right")


class StereoAugmentation(nn.Module):
    """Augments a whole batch on its device: crop, flips, colours, and a patch taken out of the right image.

    The batch is a dict with ``left``, ``right`` [B,3,H,W] in 0..1, ``disparity`` [B,1,H,W] px and the bool masks
    ``valid`` and ``visible``; it is not changed, and other entries are passed on. Only what keeps both eyes on the same
    rows and moves no disparity is done, so ``disparity`` is exact afterwards, and ``visible`` follows what the right
    eye has lost: pixels whose match was cropped off or erased.

    A left-right flip exchanges the eyes (new left = flipped right): a mirrored pair alone has negative disparities.
    The new truth is the right view's: the batch's ``disparity_right`` (with ``valid_right`` and ``visible_right``, if
    it has them), and else the left view's carried over, exact on planes, for what both eyes see; the rest is unknown.
    Those three entries are left out of the result, which they would no longer fit.

    Randomness comes from torch's global generator on the CPU, so nothing waits for the device.

    Args:
        jitter: brightness, contrast and saturation are multiplied by 1 +- this, alike in both eyes.
        gamma: so is the exponent.
        asymmetric_jitter: the share by which the eyes differ in each of these, as two cameras do.
        vertical_flip, swap, erase: the chance of each, for each sample. ``swap`` is the left-right flip; ``erase``
            fills a patch of the right image with its mean colour, so that matches must be guessed from around it.
        crop: (height, width) in px, at a place of its own in each sample; None keeps the size.
    """

    def __init__(
        self,
        *,
        jitter: float = 0.3,
        gamma: float = 0.2,
        asymmetric_jitter: float = 0.05,
        vertical_flip: float = 0.5,
        swap: float = 0.5,
        erase: float = 0.3,
        crop: tuple[int, int] | None = None,
    ):
        super().__init__()
        for name, value in (("jitter", jitter), ("gamma", gamma), ("asymmetric_jitter", asymmetric_jitter)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value}; it must be in [0, 1)")
        for name, value in (("vertical_flip", vertical_flip), ("swap", swap), ("erase", erase)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it is a chance, so it must be between 0 and 1")
        self.vertical_flip, self.swap, self.erase, self.crop = vertical_flip, swap, erase, crop
        own = asymmetric_jitter
        self.both_eyes = ColourJitter(jitter=jitter, gamma=gamma) if jitter or gamma or own else None
        self.one_eye = ColourJitter(jitter=own, gamma=own) if own else None

    def forward(self, batch: Batch) -> Batch:
        """An augmented copy of ``batch``."""
        batch = dict(batch)
        if self.crop is not None:
            self._crop(batch, *self.crop)
        self._exchange_eyes(batch)
        self._flip_rows(batch)
        self._change_colours(batch)
        self._erase_right(batch)
        return batch

    def _crop(self, batch: Batch, height: int, width: int) -> None:
        """The same window for both eyes of a sample: disparity is a difference of columns, and stays."""
        full_height, full_width = batch["left"].shape[-2:]
        if height > full_height or width > full_width:
            raise ValueError(f"crop ({height}, {width}) px is larger than the images, ({full_height}, {full_width}) px")
        size = len(batch["left"])
        tops = torch.randint(full_height - height + 1, (size,)).tolist()
        lefts = torch.randint(full_width - width + 1, (size,)).tolist()
        for name in (*MAPS, *RIGHT_VIEW):
            if name in batch:
                windows = [x[:, y : y + height, z : z + width] for x, y, z in zip(batch[name], tops, lefts)]
                batch[name] = torch.stack(windows)
        batch["visible"] = batch["visible"] & (_match_column(batch["disparity"]) >= 0)
        if "disparity_right" in batch and "visible_right" in batch:
            column = torch.arange(width, device=batch["left"].device) + batch["disparity_right"]
            batch["visible_right"] = batch["visible_right"] & (column <= width - 1)

    def _exchange_eyes(self, batch: Batch) -> None:
        rows = _chosen(self.swap, batch)
        right_view = {name: batch.pop(name) for name in RIGHT_VIEW if name in batch}
        if rows is None:
            return
        old = {name: batch[name][rows] for name in MAPS}
        if "disparity_right" in right_view:
            disparity = right_view["disparity_right"][rows]
            valid = right_view["valid_right"][rows] if "valid_right" in right_view else disparity > 0
            visible = right_view["visible_right"][rows] if "visible_right" in right_view else valid
        else:
            disparity, valid = right_view_disparity(old["disparity"], old["valid"] & old["visible"])
            visible = valid
        new = {"left": old["right"], "right": old["left"], "disparity": disparity, "valid": valid, "visible": visible}
        for name in MAPS:
            batch[name] = batch[name].index_copy(0, rows, new[name].flip(-1))

    def _flip_rows(self, batch: Batch) -> None:
        rows = _chosen(self.vertical_flip, batch)
        if rows is not None:
            for name in MAPS:
                batch[name] = batch[name].index_copy(0, rows, batch[name][rows].flip(-2))

    def _change_colours(self, batch: Batch) -> None:
        """What both eyes share times what each has of its own, so that either image is gone through once."""
        if self.both_eyes is None:
            return
        shape = batch["left"].shape
        shared = self.both_eyes.forward_parameters(shape)
        for eye in ("left", "right"):
            factors = dict(shared)
            if self.one_eye is not None:
                own = self.one_eye.forward_parameters(shape)
                factors.update({name: shared[name] * own[name] for name in ColourJitter.FACTORS})
            batch[eye] = self.both_eyes(batch[eye], params=factors)

    def _erase_right(self, batch: Batch) -> None:
        """A patch of a tenth to a third of the height and of the width; its matches are no longer visible."""
        if self.erase == 0:
            return
        right = batch["right"].clone()
        size, _, height, width = right.shape
        draws = torch.rand(size, 5).tolist()
        gone = torch.zeros(size, 1, height, width, dtype=torch.bool, device=right.device)
        means = right.mean(dim=(2, 3), keepdim=True)
        for sample, (chance, tall, wide, down, across) in enumerate(draws):
            if chance < self.erase:
                rows, columns = round(height * (0.1 + 0.23 * tall)), round(width * (0.1 + 0.23 * wide))
                top, start = round((height - rows) * down), round((width - columns) * across)
                right[sample, :, top : top + rows, start : start + columns] = means[sample]
                gone[sample, :, top : top + rows, start : start + columns] = True
        batch["right"] = right
        # A match between two columns is seen only if both of them are.
        column = _match_column(batch["disparity"])
        first = column.floor().clamp(0, width - 1).long()
        second = column.ceil().clamp(0, width - 1).long()
        batch["visible"] = batch["visible"] & ~gone.gather(-1, first) & ~gone.gather(-1, second)


def _chosen(chance: float, batch: Batch) -> torch.Tensor | None:
    """The numbers of the samples that a change befalls; None if there are none."""
    if chance == 0:
        return None
    rows = (torch.rand(len(batch["left"])) < chance).nonzero().flatten()
    return rows.to(batch["left"].device, non_blocking=True) if len(rows) else None


def _match_column(disparity: torch.Tensor) -> torch.Tensor:
    """Where in the right image, in px, the match of each pixel stands."""
    return torch.arange(disparity.shape[-1], device=disparity.device) - disparity

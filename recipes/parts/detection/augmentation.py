"""Random changes of whole batches of padded pictures, and of their boxes with them."""

from __future__ import annotations

from typing import Any

import torch
from kornia.augmentation import (
    AugmentationSequential,
    RandomAffine,
    RandomHorizontalFlip,
    RandomMosaic,
    RandomVerticalFlip,
)
from torch import nn
from torchvision.ops import box_area

from recipes.parts.colour_jitter import ColourJitter
from recipes.parts.detection.padded_pictures import LISTS, MEAN, picture_sizes

Batch = dict[str, Any]


class DetectionAugmentation(nn.Module):
    """Flips, moves and scales pictures within their borders, changes their colours, or puts four into one.

    The batch is that of `recipes.parts.detection.padded_pictures`; it is not changed. What is padding before is padding
    after: a mirrored picture is put back into the upper left corner, and what leaves its borders is lost. Boxes are cut
    at the picture's border, which kornia leaves to others, and dropped where less than ``least_kept`` of them is left.

    Args:
        flip: chance of a mirror image, left to right.
        vertical_flip: and of one upside down.
        scale: pictures are scaled by 1 - this to 1 + this, about their middle.
        move: and moved by up to this share of their size.
        jitter: brightness, contrast, saturation and the exponent are multiplied by 1 +- this.
        mosaic: chance that a sample becomes a window of four pictures of the batch, two by two; its padding is then
            where theirs was, and counts as picture.
        fill: colour of padding and of what comes in from outside, 0..1.
        least_kept: share of a box's area.
    """

    def __init__(
        self,
        *,
        flip: float = 0.5,
        vertical_flip: float = 0.0,
        scale: float = 0.0,
        move: float = 0.0,
        jitter: float = 0.2,
        mosaic: float = 0.0,
        fill: tuple[float, float, float] = MEAN,
        least_kept: float = 0.3,
    ):
        super().__init__()
        flips = [RandomHorizontalFlip(p=flip), RandomVerticalFlip(p=vertical_flip)]
        self.flips = _with_boxes(*flips) if flip or vertical_flip else None
        self.affine = (
            _with_boxes(RandomAffine(0.0, (move, move), (1 - scale, 1 + scale), p=1.0)) if scale or move else None
        )
        self.mosaic = RandomMosaic(start_ratio_range=(0.3, 0.7), p=mosaic, data_keys=["input", "bbox_xyxy"])
        self.mosaics = mosaic > 0
        self.colours = ColourJitter(jitter=jitter, gamma=jitter) if jitter else None
        self.fill, self.least_kept = fill, least_kept

    def forward(self, batch: Batch) -> Batch:
        """An augmented copy of ``batch``."""
        batch = dict(batch)
        if self.flips is not None:
            self._flip(batch)
        areas = [box_area(boxes) for boxes in batch["boxes"]]
        if self.mosaics:
            areas = self._assemble(batch, areas)
        if self.affine is not None:
            areas = self._move(batch, areas)
        if self.colours is not None:
            batch["image"] = self.colours(batch["image"])
        batch["image"] = torch.where(batch["mask"].unsqueeze(1), batch["image"], self._background(batch["image"]))
        self._cut(batch, areas)
        return batch

    def _flip(self, batch: Batch) -> None:
        """Mirror the padded pictures, and roll them back to the upper left corner."""
        image, boxes = _changed(self.flips, batch)
        # The mask goes the same way, so that its first row and column say how far a picture has moved.
        assert self.flips is not None
        mask = self.flips(batch["mask"].unsqueeze(1).float(), batch["boxes"], params=self.flips._params)[0] > 0.5
        down, right = mask.any(3).float().argmax(2).flatten(), mask.any(2).float().argmax(2).flatten()
        rolled = [torch.roll(x, (-int(y), -int(z)), (1, 2)) for x, y, z in zip(image, down, right)]
        batch["image"] = torch.stack(rolled)
        offsets = torch.stack([right, down, right, down], dim=1)
        batch["boxes"] = [own - offset for own, offset in zip(boxes, offsets)]

    def _assemble(self, batch: Batch, areas: list[torch.Tensor]) -> list[torch.Tensor]:
        """Four pictures in one; kornia's mosaic carries boxes in the order of its tiles, labels follow by that."""
        image, boxes = self.mosaic(batch["image"], batch["boxes"])
        params = self.mosaic._params
        chosen, tiles = params["batch_prob"].flatten() > 0.5, params["permutation"].long()
        lists: dict[str, list[torch.Tensor]] = {name: list(batch[name]) for name in LISTS}
        areas, mask = list(areas), batch["mask"].clone()
        for row in tiles.tolist():
            target = row[0]
            if not chosen[target]:
                continue
            for name in ("labels", "crowd"):
                lists[name][target] = torch.cat([batch[name][source] for source in row])
            areas[target] = torch.cat([box_area(batch["boxes"][source]) for source in row])
            lists["boxes"][target] = boxes[target]
            mask[target] = True
        batch.update(image=image, mask=mask, **lists)
        return areas

    def _move(self, batch: Batch, areas: list[torch.Tensor]) -> list[torch.Tensor]:
        fill = self._background(batch["image"])
        image, batch["boxes"] = _changed(self.affine, {**batch, "image": batch["image"] - fill})
        batch["image"] = (image + fill).clamp(0, 1)
        drawn: Any = self.affine._params  # type: ignore[union-attr]
        grown = drawn[0].data["scale"]
        return [area * factor.prod().to(area) for area, factor in zip(areas, grown)]

    def _background(self, image: torch.Tensor) -> torch.Tensor:
        return image.new_tensor(self.fill).view(1, 3, 1, 1)

    def _cut(self, batch: Batch, areas: list[torch.Tensor]) -> None:
        kept: dict[str, list[torch.Tensor]] = {name: [] for name in LISTS}
        limits = picture_sizes(batch["mask"])
        for number, (boxes, area, limit) in enumerate(zip(batch["boxes"], areas, limits)):
            clipped = torch.minimum(boxes.clamp_min(0), limit)
            sides = clipped[:, 2:] - clipped[:, :2]
            stays = (sides >= 1).all(1) & (sides.prod(1) >= self.least_kept * area)
            kept["boxes"].append(clipped[stays])
            for name in ("labels", "crowd"):
                kept[name].append(batch[name][number][stays])
        batch.update(kept)


def _changed(change: Any, batch: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Image and boxes after ``change``. To kornia 0 is the middle of the first pixel, to a box it is its edge."""
    image, boxes = change(batch["image"], [own - 0.5 for own in batch["boxes"]])
    return image, [own + 0.5 for own in boxes]


def _with_boxes(*changes: Any) -> AugmentationSequential:
    return AugmentationSequential(*changes, data_keys=["input", "bbox_xyxy"])

"""Flows as pictures that a person can read."""

from __future__ import annotations

import torch
from torchvision.utils import flow_to_image

from recipes.parts.error_map import UNKNOWN, error_map
from recipes.parts.picture_strip import strip
from recipes.parts.warping import warp


def colour_flow(flow: torch.Tensor, *, maximum: float, known: torch.Tensor | None = None) -> torch.Tensor:
    """``flow`` [2,H,W] in px as colours [3,H,W] in 0..1: the hue is the direction, white is no motion.

    The colours are Middlebury's (Baker et al., 2011), full at ``maximum`` px and above. Where it is not finite, or not
    ``known`` (bool [1,H,W]), the picture is grey.

    >>> colour_flow(torch.zeros(2, 1, 1), maximum=4.0).flatten().tolist()
    [1.0, 1.0, 1.0]
    """
    if maximum <= 0:
        raise ValueError(f"maximum is {maximum} px; it must be above 0")
    inside = flow.isfinite().all(dim=0, keepdim=True)
    inside = inside if known is None else inside & known
    flow = torch.where(inside, flow.float(), 0.0) / maximum
    flow = flow / flow.norm(dim=0, keepdim=True).clamp_min(1.0)
    # torchvision divides by the longest vector of a picture: one of full length in a corner that is cut off again.
    framed = torch.nn.functional.pad(flow, (0, 0, 0, 1))
    framed[0, -1, 0] = 1.0
    colours = flow_to_image(framed)[:, :-1].float() / 255
    return torch.where(inside, colours, UNKNOWN)


def flow_strip(
    first: torch.Tensor,
    second: torch.Tensor,
    flow: torch.Tensor,
    seen: torch.Tensor,
    truth: torch.Tensor,
    valid: torch.Tensor,
) -> torch.Tensor:
    """Both frames, flow, difference after warping, occlusion, and if there is a truth that and the error: [3,H',W'].

    Args:
        first, second: [3,H,W] in 0..1.
        flow: [2,H,W], px.
        seen: bool [1,H,W], where the flow is taken to lead to the same thing.
        truth, valid: [2,H,W] px and bool [1,H,W].
    """
    lengths = truth.norm(dim=0)[valid[0]] if valid.any() else torch.nan_to_num(flow.float()).norm(dim=0).flatten()
    maximum = max(torch.quantile(lengths.float()[:: 1 + lengths.numel() // 100_000], 0.99).item(), 1.0)
    warped = warp(second[None], torch.nan_to_num(flow[None].float()), border=True)[0]
    pictures = {
        "first frame": first,
        "second frame": second,
        f"flow, to {maximum:.1f} px": colour_flow(flow, maximum=maximum),
        "difference after warping": (warped - first)
        .abs()
        .mean(dim=0, keepdim=True)
        .mul(3)
        .clamp(0, 1)
        .expand(3, -1, -1),
        "occluded (black)": seen.float().expand(3, -1, -1),
    }
    if valid.any():
        error = (flow - truth).norm(dim=0, keepdim=True)
        mean = error[valid].mean().item()
        pictures["truth (grey: unknown)"] = colour_flow(truth, maximum=maximum, known=valid)
        # a stereo pair's colours, of which red begins at 12 px: here a quarter of the error is worth as much
        shown = error_map(4 * error[None], torch.zeros_like(error[None]), valid[None])
        pictures[f"error, mean {mean:.2f} px, red 3+"] = shown[0]
    return strip({name: picture.to(first.device) for name, picture in pictures.items()})

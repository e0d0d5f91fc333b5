"""A small transformer detector that learns within minutes: queries are the best places of the picture itself."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from recipes.parts.detection.box_set import BoxHead, BoxSet, SetOutputs, moved
from recipes.parts.detection.padded_pictures import normalised, picture_sizes
from recipes.parts.detection.sine_places import sines

STRIDE = 8
NOTHING = -20.0  # logit of a place that is none


class SmallDetector(nn.Module):
    """Convolutions to an eighth of the size, one encoder layer, and decoder layers that move boxes step by step.

    DETR's plan (Carion, 2020) with what makes it learn fast: queries start at the encoder's places that look most like
    an object, with its boxes (two stages of Deformable DETR, Zhu, 2021); each decoder layer moves the boxes of the one
    before; a query looks around its box first, by a Gaussian for each head (SMCA, Gao, 2021).

    What is padding is nought after every convolution, as what is beyond the border of a picture is, and no attention
    sees it: the answer does not depend on how much there is.

    Args:
        outputs: numbers that a query says about classes.
        queries: boxes it can find in a picture.
        width: of features and queries, a multiple of 16.
        layers: of the decoder.
        prior: of a class, at first, as a probability; None starts all classes alike.

    >>> model = SmallDetector(4, queries=10).eval()
    >>> mask = torch.ones(2, 64, 96, dtype=torch.bool)
    >>> answer = model(torch.rand(2, 3, 64, 96), mask)
    >>> len(answer.layers), answer.layers[-1].boxes.shape, answer.proposals.logits.shape
    (3, torch.Size([2, 10, 4]), torch.Size([2, 96, 4]))
    """

    def __init__(
        self, outputs: int, *, queries: int = 30, width: int = 128, layers: int = 3, prior: float | None = 0.01
    ):
        super().__init__()
        self.queries, self.width = queries, width
        self.backbone = _Backbone(width)
        self.encoder = _EncoderLayer(width)
        self.class_head = nn.Linear(width, outputs)
        self.box_head = BoxHead(width)
        self.query = nn.Linear(width, width)
        self.box_code = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width))
        self.decoder = nn.ModuleList(_DecoderLayer(width) for _ in range(layers))
        self.class_heads = nn.ModuleList(nn.Linear(width, outputs) for _ in range(layers))
        self.box_heads = nn.ModuleList(BoxHead(width) for _ in range(layers))
        if prior is not None:
            for head in (self.class_head, *self.class_heads):
                nn.init.constant_(head.bias, float(torch.logit(torch.tensor(prior))))  # type: ignore[arg-type]

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> SetOutputs:
        """Answers for ``image`` [B,3,H,W] in 0..1; ``mask`` bool [B,H,W] is true where there is a picture."""
        features, there = self.backbone(normalised(image) * mask.unsqueeze(1), mask)
        sizes = picture_sizes(mask)
        grid = _grid(features)
        places = torch.cartesian_prod(grid[1], grid[0]).flip(-1).expand(len(features), -1, -1)  # x, y of each
        code = torch.cat([sines(axis, self.width // 2, temperature=100.0) for axis in places.unbind(-1)], dim=-1)
        tokens, there = features.flatten(2).transpose(1, 2), there.flatten(1)
        tokens = self.encoder(tokens, code, there)
        proposals = self._propose(tokens, places, there, sizes)
        answers = self._decode(tokens, code, grid, there, sizes, proposals)
        return SetOutputs(answers, proposals)

    def _propose(self, tokens: torch.Tensor, places: torch.Tensor, there: torch.Tensor, sizes: torch.Tensor) -> BoxSet:
        """A box for each place: at first one of three places a side around it."""
        centre = places * STRIDE / sizes[:, None, :2]
        start = torch.cat([centre, (3 * STRIDE / sizes[:, None, 2:]).expand_as(centre)], dim=-1)
        logits = self.class_head(tokens).masked_fill(~there.unsqueeze(-1), NOTHING)
        return BoxSet(logits, moved(start.clamp(0, 1), self.box_head(tokens)))

    def _decode(
        self,
        tokens: torch.Tensor,
        code: torch.Tensor,
        grid: tuple[torch.Tensor, torch.Tensor],
        there: torch.Tensor,
        sizes: torch.Tensor,
        proposals: BoxSet,
    ) -> list[BoxSet]:
        promise = proposals.logits.detach().float().amax(-1).masked_fill(~there, -torch.inf)
        best, chosen = promise.topk(min(self.queries, promise.shape[1]))
        alive = best > -torch.inf  # a tiny picture beside a large one may have fewer places than queries
        boxes = proposals.boxes.detach().gather(1, chosen.unsqueeze(-1).expand(-1, -1, 4))
        queries = self.query(tokens.detach().gather(1, chosen.unsqueeze(-1).expand(-1, -1, self.width)))
        answers = []
        for layer, class_head, box_head in zip(self.decoder, self.class_heads, self.box_heads):
            units = boxes * sizes.unsqueeze(1) / STRIDE
            where = self.box_code(
                torch.cat([sines(axis, self.width // 2, temperature=100.0) for axis in units.unbind(-1)], dim=-1).to(
                    tokens.dtype
                )
            )
            queries = layer(queries, where, units, alive, tokens, code, grid, there)
            logits = class_head(queries).masked_fill(~alive.unsqueeze(-1), NOTHING)
            found = moved(boxes, box_head(queries))
            answers.append(BoxSet(logits, found))
            boxes = found.detach()
        return answers


class _Backbone(nn.Module):
    """Features [B,width,H/8,W/8] and where they are of the picture, bool [B,H/8,W/8]."""

    def __init__(self, width: int):
        super().__init__()
        first, second = width // 4, width // 2
        self.stem = _Convolution(3, first, stride=2)
        self.to_quarter = _Convolution(first, second, stride=2)
        self.quarter = _Block(second)
        self.to_eighth = _Convolution(second, width, stride=2)
        self.eighth = nn.ModuleList(_Block(width) for _ in range(2))

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        half, quarter, eighth = mask[:, ::2, ::2], mask[:, ::4, ::4], mask[:, ::8, ::8]
        x = self.quarter(self.to_quarter(self.stem(image, half), quarter), quarter)
        x = self.to_eighth(x, eighth)
        for block in self.eighth:
            x = block(x, eighth)
        return x, eighth


class _Convolution(nn.Module):
    """3 x 3, normalised over the batch, rectified; nought where there is no picture."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.convolution(x))) * mask.unsqueeze(1)


class _Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = _Convolution(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.norm(self.second(self.first(x, mask)))) * mask.unsqueeze(1)


class _EncoderLayer(nn.Module):
    """All places look at all places; normalised before each part (pre-norm), which needs no warm-up."""

    def __init__(self, width: int):
        super().__init__()
        self.before_attention, self.before_widening = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 8, batch_first=True)
        self.widening = _widening(width)
        self.last = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, code: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        y = self.before_attention(x)
        x = x + self.attention(y + code, y + code, y, key_padding_mask=~there, need_weights=False)[0]
        return self.last(x + self.widening(self.before_widening(x)))


class _DecoderLayer(nn.Module):
    """Queries look at each other, then around their boxes, each head at a place and as far as it has learnt."""

    HEADS = 8

    def __init__(self, width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.among = nn.MultiheadAttention(width, self.HEADS, batch_first=True)
        self.around = nn.MultiheadAttention(width, self.HEADS, batch_first=True)
        self.gaze = nn.Linear(width, self.HEADS * 4)
        self.widening = _widening(width)
        turns = torch.arange(self.HEADS) * 2 * torch.pi / self.HEADS  # one head to each side of the box
        nn.init.zeros_(self.gaze.weight)
        offsets = 0.35 * torch.stack([turns.cos(), turns.sin()], dim=1)
        with torch.no_grad():
            self.gaze.bias.copy_(torch.cat([offsets, torch.full((self.HEADS, 2), -0.7)], dim=1).flatten())

    def forward(
        self,
        queries: torch.Tensor,
        where: torch.Tensor,
        boxes: torch.Tensor,
        alive: torch.Tensor,
        tokens: torch.Tensor,
        code: torch.Tensor,
        grid: tuple[torch.Tensor, torch.Tensor],
        there: torch.Tensor,
    ) -> torch.Tensor:
        x = self.norms[0](queries)
        among = self.among(x + where, x + where, x, key_padding_mask=~alive, need_weights=False)[0]
        queries = queries + among
        x = self.norms[1](queries)
        bias = self._bias(x, boxes, grid).masked_fill(~there[:, None, None], -torch.inf).to(x.dtype)
        around = self.around(x + where, tokens + code, tokens, attn_mask=bias.flatten(0, 1), need_weights=False)[0]
        queries = queries + around
        return self.norms[3](queries + self.widening(self.norms[2](queries)))

    def _bias(
        self, queries: torch.Tensor, boxes: torch.Tensor, grid: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        """Logarithm of a Gaussian about a place in the box for each head: [B,heads,Q,T]. Boxes in steps of places."""
        gaze = self.gaze(queries).float().unflatten(-1, (self.HEADS, 4)).transpose(1, 2)
        centre, size = boxes[:, None, :, :2], boxes[:, None, :, 2:].clamp_min(1.0)
        middle = centre + gaze[..., :2] * size
        reach = size * gaze[..., 2:].clamp(-3, 3).exp()
        # A Gaussian of two axes is a product, its logarithm a sum: each axis by itself is far cheaper.
        across, down = (
            -0.5 * ((axis - middle[..., number, None]) / reach[..., number, None]).square()
            for number, axis in enumerate(grid)
        )
        return (down.unsqueeze(-1) + across.unsqueeze(-2)).flatten(-2)


def _widening(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))


def _grid(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The middles of the columns and of the rows of a map [B,C,H,W], in steps of places: [W] and [H]."""
    width, height = (torch.arange(features.shape[axis], device=features.device) + 0.5 for axis in (-1, -2))
    return width, height

"""DETR at its real size, as its authors name its tensors."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from recipes.parts.detection.box_set import BoxSet, SetOutputs
from recipes.parts.detection.masked_resnet import MaskedResNet50
from recipes.parts.detection.padded_pictures import normalised
from recipes.parts.detection.sine_places import place_code

WIDTH, HEADS, WIDENED = 256, 8, 2048


class Detr(nn.Module):
    """End-to-end detection with transformers (Carion, 2020): ResNet-50, encoder, decoder, learnt queries.

    Public state dicts of facebookresearch/detr (``detr-r50``) fit by name and shape, of as many classes and queries.
    What differs from that code: features of padding are nought in the backbone as well, so that an answer does not
    depend on how much there is (`recipes.parts.detection.masked_resnet`). For a picture without padding both are the
    same.

    Args:
        outputs: numbers that a query says about classes; the public files have 92: ids 0 to 90, and no object.
        queries: boxes it can find in a picture.
        layers: of the encoder and of the decoder.
        dropout: in training.
    """

    def __init__(self, outputs: int, *, queries: int = 100, layers: int = 6, dropout: float = 0.1):
        super().__init__()
        self.backbone = nn.Sequential(_Body())
        self.input_proj = nn.Conv2d(2048, WIDTH, 1)
        self.transformer = _Transformer(layers, dropout)
        self.query_embed = nn.Embedding(queries, WIDTH)
        self.class_embed = nn.Linear(WIDTH, outputs)
        self.bbox_embed = _BoxHead()

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> SetOutputs:
        """Answers for ``image`` [B,3,H,W] in 0..1; ``mask`` bool [B,H,W] is true where there is a picture."""
        features, there = self.backbone.get_submodule("0.body")(normalised(image) * mask.unsqueeze(1), mask)
        code = place_code(there, WIDTH).flatten(2).transpose(1, 2)
        tokens = self.input_proj(features).flatten(2).transpose(1, 2)
        found = self.transformer(tokens, code, ~there.flatten(1), self.query_embed.weight)
        return SetOutputs([BoxSet(self.class_embed(x), self.bbox_embed(x).float().sigmoid()) for x in found])


class _Body(nn.Module):
    """What the files call ``backbone.0``."""

    def __init__(self) -> None:
        super().__init__()
        self.body = MaskedResNet50()


class _BoxHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)  # type: ignore[no-any-return]


class _Transformer(nn.Module):
    """Normalised after each part (post-norm), as in the paper."""

    def __init__(self, layers: int, dropout: float):
        super().__init__()
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.layers = nn.ModuleList(_EncoderLayer(dropout) for _ in range(layers))
        self.decoder.layers = nn.ModuleList(_DecoderLayer(dropout) for _ in range(layers))
        self.decoder.norm = nn.LayerNorm(WIDTH)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, tokens: torch.Tensor, code: torch.Tensor, padding: torch.Tensor, queries: torch.Tensor
    ) -> list[torch.Tensor]:
        """What each decoder layer says, normalised: [B,Q,256] each."""
        for layer in self.encoder.layers:  # type: ignore[union-attr]
            tokens = layer(tokens, code, padding)
        queries = queries.to(tokens.dtype).expand(len(tokens), -1, -1)
        x, found = torch.zeros_like(queries), []
        for layer in self.decoder.layers:  # type: ignore[union-attr]
            x = layer(x, queries, tokens, code, padding)
            found.append(self.decoder.norm(x))  # type: ignore[operator]
        return found


class _EncoderLayer(nn.Module):
    def __init__(self, dropout: float):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, HEADS, dropout=dropout, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(WIDTH, WIDENED), nn.Linear(WIDENED, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, code: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        where = x + code
        seen = self.self_attn(where, where, x, key_padding_mask=padding, need_weights=False)[0]
        x = self.norm1(x + self.dropout(seen))
        widened = self.linear2(self.dropout(F.relu(self.linear1(x))))
        return self.norm2(x + self.dropout(widened))  # type: ignore[no-any-return]


class _DecoderLayer(nn.Module):
    def __init__(self, dropout: float):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, HEADS, dropout=dropout, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(WIDTH, HEADS, dropout=dropout, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(WIDTH, WIDENED), nn.Linear(WIDENED, WIDTH)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(WIDTH) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: torch.Tensor, queries: torch.Tensor, tokens: torch.Tensor, code: torch.Tensor, padding: torch.Tensor
    ) -> torch.Tensor:
        where = x + queries
        x = self.norm1(x + self.dropout(self.self_attn(where, where, x, need_weights=False)[0]))
        seen = self.multihead_attn(x + queries, tokens + code, tokens, key_padding_mask=padding, need_weights=False)[0]
        x = self.norm2(x + self.dropout(seen))
        widened = self.linear2(self.dropout(F.relu(self.linear1(x))))
        return self.norm3(x + self.dropout(widened))  # type: ignore[no-any-return]

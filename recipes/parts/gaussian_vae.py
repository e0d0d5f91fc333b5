"""A variational autoencoder over sets of 2D Gaussians."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from recipes.parts.gaussian_form import FORMS, ColumnStatistics
from recipes.parts.gaussian_order import put_in_order
from recipes.parts.sequence_networks import ResidualDecoder, ResidualEncoder, conv1d_decoder, conv1d_encoder, grid_of

NETWORKS = ("conv1d", "resnet", "grid")


class Reconstruction(NamedTuple):
    """What the autoencoder makes of a batch of B sets of N Gaussians, all in the model's order.

    Attributes:
        gaussians: the reconstruction as stored, [B,N,8].
        target: what was given, [B,N,8].
        columns, truth: both in the model's form, normalised, [B,N,C].
        weights: how much each of these numbers counts, [B,N,C].
        mean, log_variance: of the code, [B,Z].
    """

    gaussians: torch.Tensor
    target: torch.Tensor
    columns: torch.Tensor
    truth: torch.Tensor
    weights: torch.Tensor
    mean: torch.Tensor
    log_variance: torch.Tensor


class GaussianVAE(nn.Module):
    """Encodes a set of Gaussians into a code of ``latent`` numbers, and decodes it (Kingma and Welling, 2014).

    The order in which the Gaussians of a set are given does not matter: they are put in an order of the model's own.

    Args:
        network: ``conv1d``: convolutions along the sequence; ``resnet``: residual blocks along it; ``grid``: residual
            blocks on the grid that the balanced order makes.
        latent: numbers of a code.
        count: Gaussians of a set.
        form: of the numbers, see `recipes.parts.gaussian_form`.
        order: ``morton`` or ``balanced``.
        keep_position: False averages over the whole sequence before the code, which forgets what was where.

    Raises:
        ValueError: a network that does not go with the order or the count.

    >>> model = GaussianVAE(network="conv1d", latent=16, count=64).eval()
    >>> model(torch.rand(2, 64, 8)).gaussians.shape
    torch.Size([2, 64, 8])
    """

    def __init__(
        self,
        *,
        network: str = "grid",
        latent: int = 128,
        count: int = 512,
        form: str = "canonical",
        order: str = "balanced",
        keep_position: bool = True,
    ):
        super().__init__()
        if network == "grid" and (order != "balanced" or not keep_position):
            raise ValueError("the network 'grid' needs the order 'balanced', and keeps the position")
        self.form, self.order, self.latent, self.count = FORMS[form], order, latent, count
        columns = self.form.columns
        self.statistics = ColumnStatistics(columns)
        if network == "conv1d":
            self.encoder: nn.Module = conv1d_encoder(columns, places=16 if keep_position else 1)
            self.decoder: nn.Module = conv1d_decoder(columns, latent=latent, count=count)
        else:
            grid = grid_of(count) if network == "grid" else None
            channels = (32, 64, 128) if network == "grid" else (32, 64, 128, 128)
            places = None if keep_position else 1
            self.encoder = ResidualEncoder(columns, count=count, channels=channels, grid=grid, places=places)
            self.decoder = ResidualDecoder(columns, latent=latent, count=count, channels=channels, grid=grid)
        self.mean = nn.Linear(512, latent)
        self.log_variance = nn.Linear(512, latent)

    def fit_statistics(self, gaussians: torch.Tensor) -> None:
        """Take mean and spread of every column from the training data, [...,8] as stored."""
        columns = self.form.encode(gaussians)
        self.statistics.fit(columns, self.form.weights(columns))

    def forward(self, gaussians: torch.Tensor) -> Reconstruction:
        """[B,N,8] as stored. Training draws the code from its distribution, evaluation takes its mean.

        Raises:
            ValueError: another number of Gaussians.
        """
        target, columns, truth = self._prepare(gaussians)
        features = self.encoder(truth.transpose(1, 2))
        mean, log_variance = self.mean(features).float(), self.log_variance(features).float().clamp(-10.0, 10.0)
        code = mean
        if self.training:
            code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        predicted = self._decode(code)
        restored = self.form.decode(self.statistics.restore(predicted))
        return Reconstruction(restored, target, predicted, truth, self.form.weights(columns), mean, log_variance)

    def decode(self, code: torch.Tensor) -> torch.Tensor:
        """Gaussians [B,N,8], as stored, of codes [B,latent]."""
        return self.form.decode(self.statistics.restore(self._decode(code)))

    def trivial(self, gaussians: torch.Tensor) -> Reconstruction:
        """What predicting the mean of the training data for every number gives, with a code that says nothing."""
        target, columns, truth = self._prepare(gaussians)
        predicted = torch.zeros_like(truth)
        restored = self.form.decode(self.statistics.restore(predicted))
        code = truth.new_zeros(len(truth), self.latent)
        return Reconstruction(restored, target, predicted, truth, self.form.weights(columns), code, code)

    def _prepare(self, gaussians: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The Gaussians in the model's order, in its form, and that normalised."""
        if gaussians.shape[1:] != (self.count, 8):
            raise ValueError(f"Gaussians are {tuple(gaussians.shape)}; this model takes (batch, {self.count}, 8)")
        target = put_in_order(gaussians, self.order)
        columns = self.form.encode(target)
        return target, columns, self.statistics.normalise(columns)

    def _decode(self, code: torch.Tensor) -> torch.Tensor:
        columns: torch.Tensor = self.decoder(code).transpose(1, 2).float()
        return columns

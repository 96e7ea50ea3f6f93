"""`RqVae`: a residual-quantized autoencoder, the item tokenizer of TIGER."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from recsmith.errors import ArtifactError
from recsmith.item_tokenizers.residual import ResidualConfig, ResidualTokenizer
from recsmith.nn.quantizers import ResidualQuantizer, residual_codes
from recsmith.protocols import Progress
from recsmith.runtime import Device, Runtime
from recsmith.seeding import derive_seed


class RqVaeConfig(ResidualConfig):
    """Settings of the residual-quantized autoencoder."""

    hidden: tuple[int, ...] = (512, 256, 128)
    """Units of the encoder's hidden layers; the decoder has them in reverse."""
    latent: int = Field(64, ge=1)
    """Length of the vectors that are quantized."""
    epochs: int = Field(60, ge=1)
    """Passes over the items with quantization."""
    warm_up_epochs: int = Field(10, ge=0)
    """Passes before that as a plain autoencoder, so that k-means starts from a latent space that means something."""
    batch_size: int = Field(512, ge=1)
    """Items per step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Of AdamW, at its height; falls to zero along a cosine."""
    weight_decay: float = Field(1e-4, ge=0)
    """Of AdamW, on the network but not on the codebooks."""
    beta: float = Field(0.25, ge=0)
    """Weight of the commitment loss."""
    revive_until: float = Field(0.8, ge=0, le=1)
    """Share of the training in which codes unused for a whole epoch are moved to random residuals; 0 never revives."""
    device: Device = "auto"
    """Where to train: auto (CUDA where there is one), cpu or cuda."""


class RqVae(ResidualTokenizer):
    """Encoder → residual quantizer → decoder, trained to reconstruct the item vectors (TIGER: Rajput et al., 2023).

    Loss: mean squared reconstruction error + codebook loss + `beta` × commitment loss, the last two summed over levels (Zeghidour et
    al., 2021), with residuals taken as by Lee et al. (2022). Deviations from TIGER: item vectors are centred and divided by one
    number (their root mean square), a few epochs run without quantization, k-means starts the codebooks on all items instead of the
    first batch, dead codes are revived, AdamW with a cosine instead of Adagrad, 64
    latent numbers instead of 32 (fewer collisions, better reconstruction on titles), far fewer epochs. Training holds all items on the
    device.
    """

    Config: ClassVar[type[ResidualConfig]] = RqVaeConfig

    def _learn(self, vectors: Tensor, sizes: Sequence[int], *, seed: int, progress: Progress | None) -> list[Tensor]:
        device = Runtime.choose(self.config.device, "fp32").device
        self._mean = vectors.mean(0)
        spread = (vectors - self._mean).square().mean().sqrt()
        self._scale = torch.where(spread > 0, spread, torch.ones(()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "rq-vae", "weights"))
            widths = [vectors.shape[1], *self.config.hidden, self.config.latent]
            self._encoder = _network(widths).to(device)
            self._decoder = _network(widths[::-1]).to(device)
            quantizer = ResidualQuantizer(sizes, self.config.latent).to(device)
        x = self._scaled(vectors).to(device)
        RqVaeTraining(self.config, self._encoder, quantizer, self._decoder, seed, self._regulariser(quantizer, seed)).run(x, progress)
        self._encoder.cpu().requires_grad_(False)
        self._decoder.cpu().requires_grad_(False)
        return list(quantizer.codebooks)

    @torch.no_grad()
    def _latent(self, vectors: Tensor) -> Tensor:
        return torch.cat([self._encoder(part) for part in self._scaled(vectors).split(8192)])

    @torch.no_grad()
    def _more_figures(self, vectors: Tensor) -> dict[str, Any]:
        latent = self._latent(vectors)
        decoded = self._decoder(latent - residual_codes(latent, self._codebooks)[1])
        x = self._scaled(vectors)
        return {"reconstruction_error": float((decoded - x).square().mean() / x.square().mean().clamp(min=1e-12))}

    def _learned(self) -> dict[str, Tensor]:
        encoder = {f"encoder.{name}": tensor for name, tensor in self._encoder.state_dict().items()}
        decoder = {f"decoder.{name}": tensor for name, tensor in self._decoder.state_dict().items()}
        return {**encoder, **decoder, "mean": self._mean, "scale": self._scale.reshape(1)}

    def _restore(self, learned: Mapping[str, Tensor]) -> None:
        widths = [self._dim, *self.config.hidden, self.config.latent]
        self._encoder, self._decoder = _network(widths), _network(widths[::-1])
        try:
            self._mean, self._scale = learned["mean"], learned["scale"].reshape(())
            for prefix, network in (("encoder.", self._encoder), ("decoder.", self._decoder)):
                network.load_state_dict({n.removeprefix(prefix): t for n, t in learned.items() if n.startswith(prefix)})
        except (KeyError, RuntimeError) as error:
            raise ArtifactError(f"the tokenizer's state does not fit its settings ({str(error).splitlines()[0]}); fit it again") from error
        self._encoder.requires_grad_(False)
        self._decoder.requires_grad_(False)

    def _scaled(self, vectors: Tensor) -> Tensor:
        return (vectors - self._mean) / self._scale

    def _regulariser(self, quantizer: ResidualQuantizer, seed: int) -> Regulariser | None:
        """What a variant of the RQ-VAE adds to the loss."""
        return None


class Regulariser(Protocol):
    """A term of the loss beside reconstruction and quantization."""

    def begin_epoch(self) -> None:
        """Called before each epoch with quantization."""
        ...

    def __call__(self, rows: Tensor, quantized: Tensor, codes: Tensor) -> Tensor:
        """The term, a scalar, for items int64 `[row]` with quantized latent vectors `[row, latent]` and codes int64 `[row, level]`."""
        ...


@dataclass
class RqVaeTraining:
    """How the autoencoder and its codebooks are trained."""

    config: Any
    encoder: nn.Module
    quantizer: ResidualQuantizer
    decoder: nn.Module
    seed: int
    regulariser: Regulariser | None = None

    def run(self, x: Tensor, progress: Progress | None) -> None:
        """Train on `x` `[item, dim]`: warm-up, k-means start, quantized epochs."""
        settings = self.config
        random = torch.Generator().manual_seed(derive_seed(self.seed, "rq-vae", "order"))
        total = settings.warm_up_epochs + settings.epochs
        network = [*self.encoder.parameters(), *self.decoder.parameters()]
        groups = [
            {"params": network, "weight_decay": settings.weight_decay},
            {"params": list(self.quantizer.parameters()), "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
        for epoch in range(total):
            quantized = epoch - settings.warm_up_epochs
            if quantized == 0:
                self.quantizer.start(self._encoded(x), seed=derive_seed(self.seed, "rq-vae", "k-means") >> 1)
            counts = self._epoch(x, optimizer, random, quantize=quantized >= 0)
            if 0 <= quantized < settings.revive_until * settings.epochs - 1:
                self._revive(x, counts, optimizer, random)
            schedule.step()
            if progress is not None:
                progress("training the RQ-VAE", epoch + 1, total)

    def _epoch(self, x: Tensor, optimizer: torch.optim.Optimizer, random: torch.Generator, *, quantize: bool) -> list[Tensor]:
        counts = [torch.zeros(len(book), dtype=torch.int64, device=x.device) for book in self.quantizer.codebooks]
        if quantize and self.regulariser is not None:
            self.regulariser.begin_epoch()
        for rows in _batches(len(x), self.config.batch_size, random):
            part = x[rows.to(x.device)]
            latent = self.encoder(part)
            if quantize:
                quantized, codes, pull, commitment = self.quantizer(latent)
                loss = mse_loss(self.decoder(quantized), part) + pull + self.config.beta * commitment
                if self.regulariser is not None:
                    loss = loss + self.regulariser(rows, quantized, codes)
                for count, used in zip(counts, codes.T, strict=True):
                    count += torch.bincount(used, minlength=len(count))
            else:
                loss = mse_loss(self.decoder(latent), part)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return counts

    def _revive(self, x: Tensor, counts: list[Tensor], optimizer: torch.optim.Optimizer, random: torch.Generator) -> None:
        dead = [count == 0 for count in counts]
        if not any(bool(mask.any()) for mask in dead):
            return
        self.quantizer.revive(self._encoded(x), dead, generator=random)
        for codebook, mask in zip(self.quantizer.codebooks, dead, strict=True):
            for name in ("exp_avg", "exp_avg_sq"):  # the optimiser's memory of a dead code would drag the new one
                optimizer.state[codebook][name][mask] = 0

    @torch.no_grad()
    def _encoded(self, x: Tensor) -> Tensor:
        return torch.cat([self.encoder(part) for part in x.split(8192)])


def _network(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _batches(rows: int, size: int, random: torch.Generator) -> Iterator[Tensor]:
    yield from torch.randperm(rows, generator=random).split(size)

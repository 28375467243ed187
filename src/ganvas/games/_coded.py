"""The verbs that games with codes have in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganvas.errors import UsageError
from ganvas.game import Game, noise


class Coded(Game):
    """A game whose data is G(z), z ~ N(0, I). ``latent``: dimensions of z."""

    G: nn.Module
    latent: int

    def prior(self, n: int, *, seed: int = 0, first: int = 0, truncation: float | None = None) -> Tensor:
        z = noise(n, self.latent, seed=seed, first=first, truncation=truncation)
        return z.to(next(self.parameters()))

    @torch.no_grad()
    def decode(self, z: Tensor, *, seed: int = 0, first: int = 0, label: int | None = None) -> Tensor:
        """G(z)."""
        self.refuse(label)
        x: Tensor = self.G(z)
        return x

    def sample(
        self, n: int, *, seed: int = 0, first: int = 0, truncation: float | None = None, label: int | None = None
    ) -> Tensor:
        z = self.prior(n, seed=seed, first=first, truncation=truncation)
        return self.decode(z, seed=seed, first=first, label=label)

    def refuse(self, label: int | None) -> None:
        """Raises UsageError for a class that is asked of a game which knows none."""
        if label is not None:
            raise UsageError(f"This {type(self).__name__.lower()} knows no classes: leave the class out.")


class Inferred(Coded):
    """One whose encoder E gives q(z|x) = N(mu, sigma^2)."""

    E: nn.Module

    @torch.no_grad()
    def posterior(self, x: Tensor, *, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mu, log_sigma = self.E(x)
        return mu, log_sigma

    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        return self.posterior(x, label=label)[0]

    def reconstruct(self, x: Tensor, *, seed: int = 0, first: int = 0, label: Tensor | None = None) -> Tensor:
        """G at the posterior mean; what else G takes, from the seed."""
        return self.decode(self.encode(x), seed=seed, first=first)

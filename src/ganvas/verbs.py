"""What a system can do: a Protocol a verb. A verb exists for a system if, and only if, its class has the method.

In every verb row i depends on ``(seed, first + i)`` alone and noise is drawn on the CPU, so that the same picture comes
at any batch size and on any device, to rounding. Images are float32 [N, C, H, W] in [-1, 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:  # the command line reads this file and must not wait for torch
    from torch import Tensor


@runtime_checkable
class Samples(Protocol):
    """Draws from the model's distribution."""

    def sample(
        self, n: int, *, seed: int = 0, first: int = 0, truncation: float | None = None, label: int | None = None
    ) -> Tensor:
        """Rows ``first .. first + n - 1`` of the endless series of samples of ``seed``; of class ``label`` if given."""


@runtime_checkable
class Encodes(Protocol):
    """Maps data to its code."""

    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """The code of each row, [N, Z]; the posterior mean where there is a posterior."""


@runtime_checkable
class Draws(Protocol):
    """Has a prior to draw codes from."""

    def prior(self, n: int, *, seed: int = 0, first: int = 0, truncation: float | None = None) -> Tensor:
        """Codes [n, Z] from the prior, rows ``first ..`` of the series of ``seed``."""


@runtime_checkable
class Decodes(Protocol):
    """Maps codes to data: what interpolation and traversal need."""

    def decode(self, z: Tensor, *, seed: int = 0, first: int = 0, label: int | None = None) -> Tensor:
        """The data of each code."""


@runtime_checkable
class Reconstructs(Protocol):
    """Passes data through its code and back."""

    def reconstruct(self, x: Tensor, *, seed: int = 0, first: int = 0, label: Tensor | None = None) -> Tensor:
        """The reconstruction of each row, by the posterior mean."""


@runtime_checkable
class Infers(Protocol):
    """Has a posterior; no verb of its own, but what a reconstruction by a draw of it needs."""

    def posterior(self, x: Tensor, *, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log deviation of q(z|x) of each row: [N, Z], and [N, Z] or, one for all rows, [Z]."""


@runtime_checkable
class Bounds(Protocol):
    """Bounds the likelihood of data."""

    def elbo(self, x: Tensor, *, seed: int = 0, first: int = 0, label: Tensor | None = None) -> dict[str, Tensor]:
        """Each row's evidence lower bound and its parts, in nats: ``elbo``, ``reconstruction``, ``kl``, each [N].

        Where the likelihood is a density of pixels, they are dequantised first (uniform noise of one grey level), and
        ``bits_per_dim`` is there too.
        """


@runtime_checkable
class Translates(Protocol):
    """Maps an image, or a label map, to an image of another domain."""

    def translate(
        self,
        x: Tensor,
        *,
        instances: Tensor | None = None,
        style: Tensor | None = None,
        direction: str | None = None,
        as_published: bool = False,
        seed: int = 0,
        first: int = 0,
    ) -> Tensor:
        """The translation of each row, images [N, C, H, W] of the size of ``x``.

        x: images [N, C, H, W], or label maps uint8 [N, H, W] with their ``instances`` int32 [N, H, W] where the system
        was trained with any. style: features [N, F, H, W]; None: drawn by the seed, where a system has styles.
        direction: AtoB or BtoA; None: the one there is, or AtoB of two. as_published: with the dropout that the
        authors' test script leaves on. Raises UsageError for what a system has not.
        """


VERBS: dict[str, type] = {
    "sample": Samples,
    "encode": Encodes,
    "prior": Draws,
    "decode": Decodes,
    "reconstruct": Reconstructs,
    "elbo": Bounds,
    "translate": Translates,
}
GUARDED = {*VERBS, "posterior", "style_of", "draw_style"}
"""The methods of a game that users call: their arguments are checked."""


def verbs_of(system: object) -> tuple[str, ...]:
    """The verbs of a system, given as its class or an instance, in the order of ``VERBS``."""
    return tuple(name for name in VERBS if callable(getattr(system, name, None)))

"""Which modes of a known mixture a set of points covers."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ganvas.errors import DataError
from ganvas.metrics.figure import Figure
from ganvas.metrics.moments import double
from ganvas.ops.mixtures import mixture as known_mixture

RADIUS = 3.0  # sigmas within which a point is of high quality
ENOUGH = 5  # such points cover a mode


class Modes:
    """Modes covered by points, after Metz et al. 2017, 1611.02163, and Lin et al. 2018, 1712.04086.

    A point is of high quality within 3 sigma of its nearest mode; a mode with at least 5 such points is covered. The
    parts are ``of`` (how many modes there are), ``high_quality`` (a fraction; 1 - exp(-4.5) = 0.989 for the mixture's
    own points in the plane) and ``kl``: KL(histogram of all points by nearest mode || uniform) in nats.
    """

    compares: ClassVar[Literal["mixture"]] = "mixture"

    def __init__(self, name: str = "modes") -> None:
        self.name = name

    def figure(self, points: Tensor, mixture: str) -> Figure:
        """The number of modes that ``points`` [N, D] cover of a named mixture. Raises DataError, UsageError."""
        known = known_mixture(mixture)
        points = double(points)
        centres = known.centres.to(points.device)  # [K, D]
        if points.ndim != 2 or points.shape[1] != centres.shape[1] or not len(points):
            raise DataError(
                f"{self.name} measures points [N, {centres.shape[1]}] against {mixture}, not {list(points.shape)}."
            )
        finite = points.isfinite().all(1)
        # by differences: matrix products, the default for many points, lose half the digits of close points
        distance, mode = torch.cdist(points[finite], centres, compute_mode="donot_use_mm_for_euclid_dist").min(1)
        good = mode[distance <= RADIUS * known.sigma]
        per_mode = torch.bincount(mode, minlength=len(centres)).double()
        share = per_mode / per_mode.sum()
        parts = {
            "of": len(centres),
            "high_quality": len(good) / len(points),
            "kl": torch.special.xlogy(share, share * len(centres)).sum().item(),
        }
        recipe: dict[str, Any] = {
            "mixture": mixture,
            "sigma": known.sigma,
            "high_quality": f"within {RADIUS:g} sigma of the nearest mode",
            "covered": f"at least {ENOUGH} such points",
            "kl": "histogram of all points by nearest mode || uniform, nats",
        }
        if strangers := len(points) - int(finite.sum()):
            recipe["warning"] = f"{strangers} of {len(points)} points are not finite and near no mode"
        covered = int((torch.bincount(good, minlength=len(centres)) >= ENOUGH).sum())
        return Figure(float(covered), None, len(points), recipe, parts)

"""Optimiser recipes and schedules of the clock."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ganvas.game import Clock, Recipe, Schedule, constant

__all__ = ["KerasAdam", "adam", "constant", "exponential_decay", "keras_adam", "linear_decay", "rmsprop"]


class KerasAdam(torch.optim.Adam):
    """Adam with epsilon outside the bias correction, as Keras has it.

    Keras steps by lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps); in PyTorch's form that is
    eps_t = eps / sqrt(1 - beta2^t). The count t lives in the parameter group, so that it is saved and never read back
    from the device.
    """

    def __init__(
        self, params: list[nn.Parameter], lr: float | torch.Tensor, betas: tuple[float, float], eps: float,
        weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)
        for group in self.param_groups:
            group["keras_eps"], group["t"] = eps, 0

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["t"] += 1
            group["eps"] = group["keras_eps"] / math.sqrt(1 - group["betas"][1] ** group["t"])
        return super().step(closure)


def _rate(lr: float, weights: list[nn.Parameter]) -> torch.Tensor:
    """The learning rate as a scalar on the device: a schedule fills it in place, so a captured graph sees it too."""
    return torch.tensor(lr, device=weights[0].device)


def adam(lr: float, betas: tuple[float, float] = (0.9, 0.999), *, eps: float = 1e-8) -> Recipe:
    """Adam (Kingma & Ba 2015, 1412.6980) as PyTorch has it, fused."""
    return lambda weights: torch.optim.Adam(weights, lr=_rate(lr, weights), betas=betas, eps=eps, fused=True)


def keras_adam(
    lr: float, betas: tuple[float, float] = (0.9, 0.999), *, eps: float = 1e-7, weight_decay: float = 0.0
) -> Recipe:
    """Adam as Keras has it, fused; see `KerasAdam`. ``weight_decay`` times a weight is added to its gradient."""
    return lambda weights: KerasAdam(weights, _rate(lr, weights), betas, eps, weight_decay)


def rmsprop(lr: float, decay: float = 0.9, *, eps: float = 1e-8) -> Recipe:
    """RMSProp (Tieleman & Hinton 2012, lecture 6.5): steps of lr g / (sqrt(v) + eps), v a running mean of g^2."""
    return lambda weights: torch.optim.RMSprop(weights, lr=_rate(lr, weights), alpha=decay, eps=eps)


def exponential_decay(rate: float, flat: float = 0.0) -> Schedule:
    """Continuous, from 1 to ``rate`` over the run, after a first part of it, ``flat``, at 1: without that it is
    rate^(step / total_steps)."""

    def schedule(clock: Clock) -> float:
        part = (clock.step / clock.total_steps - flat) / (1 - flat)
        return float(rate ** max(0.0, part))

    return schedule


def linear_decay(flat: float = 0.5) -> Schedule:
    """1 for the first ``flat`` part of the run, then straight to 0 at its end."""

    def schedule(clock: Clock) -> float:
        left = 1 - clock.step / clock.total_steps
        return min(1.0, max(0.0, left / (1 - flat)))

    return schedule

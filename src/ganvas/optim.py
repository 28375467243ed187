"""Optimiser recipes and schedules of the clock."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ganvas.game import Clock, Recipe, Schedule, constant

__all__ = [
    "KerasAdam",
    "adam",
    "constant",
    "during",
    "epoch_decay",
    "exponential_decay",
    "keras_adam",
    "rmsprop",
]


FEWEST_EPOCHS = 4  # of a run whose learning rate goes down by epochs


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


def epoch_decay(flat: float = 0.5, *, shift: int = 0, longer: int = 0) -> Schedule:
    """1 for the first ``flat`` part of the run's epochs, then down in a straight line, a step at each epoch's start.

    Of E epochs n = flat E are flat and d = E - n decay; the k-th, from 1, has the factor
    1 - max(0, k + shift - n) / (d + longer), and none is below 0. An epoch that the run only begins counts as one.

    As CycleGAN and pix2pix mean it (``longer=1``): the last epoch has 1 / (d + 1). As their released code has it since
    2020 (``shift=1, longer=1``): all comes an epoch earlier, and the last epoch stands still. As pix2pixHD has it
    (``shift=-1``): epoch n + 1 is still at 1, the last has 1 / d.

    A run of fewer than 4 epochs has too few starts of epochs to decay at: a whole run could be spent at one factor, 0
    for one. It decays at every step instead, in a straight line from 1 at the end of the flat part to 0 at the end of
    the run, whatever ``shift`` and ``longer`` are.
    """

    def schedule(clock: Clock) -> float:
        if clock.total_steps < FEWEST_EPOCHS * clock.steps_per_epoch:
            left = 1 - clock.step / clock.total_steps
            return max(0.0, min(1.0, left / (1 - flat))) if flat < 1 else 1.0
        epochs = math.ceil(clock.total_steps / clock.steps_per_epoch)
        late = clock.epoch + 1 + shift - flat * epochs
        span = (1 - flat) * epochs + longer
        return 1.0 if late <= 0 else max(0.0, 1 - late / span) if span else 0.0

    return schedule


def during(first: float, last: float, schedule: Schedule) -> Schedule:
    """``schedule`` of a stage of the run, from the part ``first`` of its steps to ``last``: its epochs are counted from
    the stage's start, and end with it."""

    def staged(clock: Clock) -> float:
        begun, ended = (round(part * clock.total_steps) for part in (first, last))
        return schedule(Clock(max(0, clock.step - begun), clock.steps_per_epoch, max(1, ended - begun)))

    return staged

"""Losses against closed forms and torch.distributions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from ganvas import losses

SCORES = st.lists(st.floats(-30, 30), min_size=1, max_size=8).map(lambda s: torch.tensor(s, dtype=torch.float64))


@settings(deadline=None)
@given(SCORES, st.floats(0, 1))
def test_bce_is_the_cross_entropy_of_the_sigmoid(score: torch.Tensor, target: float) -> None:
    d = torch.sigmoid(score)
    want = -(target * d.log() + (1 - target) * torch.sigmoid(-score).log()).mean()
    torch.testing.assert_close(losses.bce(score, target), want, atol=1e-9, rtol=1e-9)


@settings(deadline=None)
@given(SCORES)
def test_adversarial_losses_by_their_formulas(score: torch.Tensor) -> None:
    low = score.clamp(max=15)  # above, 1 - d is lost to rounding
    torch.testing.assert_close(losses.saturating(low), torch.log(1 - torch.sigmoid(low)).mean(), atol=1e-8, rtol=0)
    torch.testing.assert_close(losses.saturating(score), torch.nn.functional.logsigmoid(-score).mean())
    torch.testing.assert_close(losses.raw(score), -score.mean())
    torch.testing.assert_close(losses.lsgan(score, 1), ((score - 1) ** 2).mean())
    for sign in (1, -1):
        torch.testing.assert_close(losses.hinge(score, sign), torch.clamp(1 - sign * score, min=0).mean())


def test_the_minimax_losses_add_up_to_the_value_function() -> None:
    real, fake = torch.randn(50).double(), torch.randn(50).double()
    value = torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean()  # V(D, G), equation 1
    torch.testing.assert_close(-(losses.bce(real, 1) + losses.bce(fake, 0)), value)
    torch.testing.assert_close(losses.saturating(fake), -losses.bce(fake, 0))


@pytest.mark.parametrize("centre", [0.0, 1.0])
def test_the_penalty_of_a_linear_critic_is_its_norms(centre: float) -> None:
    w = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    penalty = losses.gradient_penalty(lambda v: (v * w).sum((1, 2, 3)), x, centre)
    torch.testing.assert_close(penalty, (w.norm() - centre) ** 2)
    penalty.backward()
    assert w.grad is not None
    torch.testing.assert_close(w.grad, 2 * (w.norm() - centre) * w.detach() / w.detach().norm())


@pytest.mark.parametrize("centre", [0.0, 1.0])
def test_the_penalty_of_a_quadratic_critic_is_of_the_distance_to_its_centre(centre: float) -> None:
    """s(x) = a |x|^2 / 2 has the slope a x, row by row: E[(a |x| - centre)^2], and its derivative in a."""
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    norms = x.flatten(1).norm(dim=1)
    penalty = losses.gradient_penalty(lambda v: a * v.square().sum((1, 2, 3)) / 2, x, centre)
    torch.testing.assert_close(penalty.detach(), ((0.7 * norms - centre) ** 2).mean())
    (slope,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(slope, (2 * (0.7 * norms - centre) * norms).mean())
    assert not x.requires_grad


def test_accuracy_counts_rows_on_the_right_side() -> None:
    real, fake = torch.tensor([2.0, 0.2, -1.0, 0.0]), torch.tensor([-1.0, 0.3, 0.7, 0.0])
    assert losses.accuracy(real, fake)["accuracy"].item() == (2 / 4 + 1 / 4) / 2  # on the line is not right
    assert losses.accuracy(real, fake, 0.5)["accuracy"].item() == (1 / 4 + 3 / 4) / 2


def test_the_penalty_where_the_critic_is_flat_is_1_and_has_finite_gradients() -> None:
    w = torch.zeros(2, 1, 1, requires_grad=True)
    penalty = losses.gradient_penalty(lambda v: (v * w).sum((1, 2, 3)), torch.zeros(3, 2, 1, 1), 1.0)
    (gradient,) = torch.autograd.grad(penalty, w)
    assert penalty.item() == 1
    assert gradient.isfinite().all()


def test_the_penalty_has_gradients_even_where_grads_are_off() -> None:
    w = torch.ones(2, 1, 1, requires_grad=True)
    with torch.no_grad():
        assert losses.gradient_penalty(lambda v: (v * w).sum((1, 2, 3)), torch.zeros(1, 2, 1, 1), 0.0).item() == 2


def test_likelihoods_are_those_of_torch_distributions() -> None:
    x, mean = torch.randn(4, 3, 5).double(), torch.randn(4, 3, 5).double()
    torch.testing.assert_close(losses.gaussian_nll(x, mean), -Normal(mean, 1.0).log_prob(x).sum((1, 2)))
    torch.testing.assert_close(losses.squared_error(x, mean), ((x - mean) ** 2).sum((1, 2)) / 2)
    torch.testing.assert_close(losses.absolute_error(x, mean), (x - mean).abs().sum((1, 2)))
    bits = (x > 0).double()
    want = -torch.distributions.Bernoulli(logits=mean).log_prob(bits).sum((1, 2))
    torch.testing.assert_close(losses.bernoulli_nll(bits, mean), want)


@pytest.mark.parametrize("shape", [(6,), (4, 6)])
def test_kl_is_that_of_torch_distributions(shape: tuple[int, ...]) -> None:
    mu, log_sigma = torch.randn(4, 6).double(), torch.randn(shape).double()
    want = kl_divergence(Normal(mu, log_sigma.exp().expand(4, 6)), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(losses.kl_normal(mu, log_sigma), want)


def test_a_uniform_model_of_bytes_costs_eight_bits() -> None:
    dims = 10
    density = 127.5 / 256  # over the 256 grey levels of width 2/255 that cover dequantised pixels
    elbo = torch.full((3,), dims * math.log(density), dtype=torch.float64)
    torch.testing.assert_close(losses.bits_per_dim(elbo, dims), torch.full((3,), 8.0, dtype=torch.float64))


def test_losses_are_at_least_fp32() -> None:
    half = torch.randn(4, 3).bfloat16()
    for loss in (losses.bce(half, 1), losses.raw(half), losses.squared_error(half, half), losses.kl_normal(half, half)):
        assert loss.dtype == torch.float32
    assert losses.bce(half.double(), 1).dtype == torch.float64

"""Losses as pure functions: at least fp32, a mean over the batch, a sum over the dimensions of a row.

Critics give logits or scores s [B]; sp(t) = softplus(t) = ln(1 + e^t), and d = sigmoid(s) is the probability of "real".
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ganvas.game import exactly, wide

LN_2PI = math.log(2 * math.pi)


# ---- adversarial -----------------------------------------------------------------------------------------------------
def bce(score: Tensor, target: float) -> Tensor:
    """E[-t ln d - (1 - t) ln(1 - d)] = E[sp(s) - t s]: a critic's loss (Goodfellow et al. 2014, equation 1).

    ``bce(s_fake, 1)`` is the generator's non-saturating loss (section 3 there); a target under 1 for real rows is
    one-sided label smoothing (Salimans et al. 2016, 1606.03498, section 3.4).
    """
    s = wide(score)
    if target == 1:
        return F.softplus(-s).mean()
    return (F.softplus(s) - target * s).mean() if target else F.softplus(s).mean()


def saturating(score: Tensor) -> Tensor:
    """E[ln(1 - d)] = E[-sp(s)] of fakes: the generator's minimax loss (Goodfellow et al. 2014, equation 1)."""
    return -F.softplus(wide(score)).mean()


def raw(score: Tensor) -> Tensor:
    """E[-s]: the generator's loss on the bare logit (Plumerault et al. 2020), Wasserstein GAN (Arjovsky et al. 2017,
    1701.07875) and hinge (Lim & Ye 2017, 1705.02894)."""
    return -wide(score).mean()


def lsgan(score: Tensor, target: float) -> Tensor:
    """E[(s - t)^2] (Mao et al. 2017, 1611.04076, equation 2 with a = 0, b = c = 1, without the factor 1/2)."""
    return (wide(score) - target).square().mean()


def hinge(score: Tensor, sign: float) -> Tensor:
    """E[max(0, 1 - sign * s)]: the critic's loss, sign 1 for real rows and -1 for fakes (Lim & Ye 2017, 1705.02894)."""
    return F.relu(1 - sign * wide(score)).mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], x: Tensor, centre: float) -> Tensor:
    """E[(|grad_x s(x)|_2 - centre)^2] over rows, in fp32.

    centre 1 at points between real and fake: WGAN-GP (Gulrajani et al. 2017, 1704.00028, equation 3). centre 0 at real
    points: R1 without its factor gamma / 2 (Mescheder et al. 2018, 1801.04406, equation 9).
    """
    with exactly(x.device.type):
        x = wide(x.detach()).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        slope = gradient.flatten(1)
        if centre == 0:
            return slope.square().sum(1).mean()
        return (torch.linalg.vector_norm(slope, dim=1) - centre).square().mean()  # no NaN where it is flat


def accuracy(real: Tensor, fake: Tensor, between: float = 0.0) -> dict[str, Tensor]:
    """The share of rows that a critic sorts rightly, real ones over the score ``between``: a note, not a loss."""
    return {"accuracy": ((real > between).float().mean() + (fake < between).float().mean()) / 2}


# ---- distances of pictures -------------------------------------------------------------------------------------------
def l1(x: Tensor, y: Tensor) -> Tensor:
    """E|x - y|, a mean over all pixels (Isola et al. 2017, 1611.07004, equation 3, as released)."""
    return (wide(x) - wide(y)).abs().mean()


# ---- likelihoods, per row --------------------------------------------------------------------------------------------
def gaussian_nll(x: Tensor, mean: Tensor) -> Tensor:
    """-ln N(x; mean, I) = sum((x - mean)^2) / 2 + D/2 ln 2 pi, in nats, [B]."""
    return squared_error(x, mean) + x[0].numel() / 2 * LN_2PI


def squared_error(x: Tensor, mean: Tensor) -> Tensor:
    """sum((x - mean)^2) / 2 over the dimensions of a row, [B]: `gaussian_nll` without its constant."""
    return (wide(x) - wide(mean)).square().flatten(1).sum(1) / 2


def absolute_error(x: Tensor, mean: Tensor) -> Tensor:
    """sum(|x - mean|) over the dimensions of a row, [B]."""
    return (wide(x) - wide(mean)).abs().flatten(1).sum(1)


def bernoulli_nll(x: Tensor, logit: Tensor) -> Tensor:
    """-ln Bernoulli(x; sigmoid(logit)) = sum(sp(l) - x l), x in [0, 1], in nats, [B]."""
    return (F.softplus(wide(logit)) - wide(x) * wide(logit)).flatten(1).sum(1)


def kl_normal(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)) = sum(mu^2/2 + sigma^2/2 - 1/2 - ln sigma), in nats, [B] (Kingma & Welling 2014,
    appendix B). log_sigma [Z] or [B, Z]."""
    mu, log_sigma = wide(mu), wide(log_sigma)
    return (mu.square() / 2 + torch.exp(2 * log_sigma) / 2 - 0.5 - log_sigma).sum(1)


def bits_per_dim(elbo: Tensor, dims: int) -> Tensor:
    """-ELBO / (D ln 2) + log2(127.5): bits per 8-bit value, of an ELBO in nats on uniformly dequantised pixels.

    Pixels are in [-1, 1]; the constant is the volume of a grey level there, 1 / 127.5.
    """
    return -elbo / (dims * math.log(2)) + math.log2(127.5)


# ---- AVAE's latent loss, per row -------------------------------------------------------------------------------------
def latent_nll(z: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    """-ln q(z | G(z, xi)) = sum((z - mu)^2 / (2 sigma^2) + ln sigma), [B]; sigma [Z] is held constant.

    Read as L_Z^a of Plumerault et al. 2020 (2012.11551), without the constant Z/2 ln 2 pi.
    """
    log_sigma = wide(log_sigma).detach()
    return ((wide(z) - wide(mu)).square() * torch.exp(-2 * log_sigma) / 2 + log_sigma).sum(1)


def latent_precision(z: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    """sum(w (z - mu)^2 / 2), w = softmax(-2 ln sigma) held constant, [B]: dimensions weigh by the encoder's precision.

    Read as L_Z^b of Plumerault et al. 2020; as their released code has it, but for its sum over the batch.
    """
    weight = torch.softmax(-2 * wide(log_sigma).detach(), -1)
    return (weight * (wide(z) - wide(mu)).square() / 2).sum(1)

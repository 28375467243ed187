"""The nets of pix2pixHD against their published keys and sizes, and written out again from their layer table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import precision
from ganvas.nets.isola import Norm
from ganvas.nets.wang import Encoder, GlobalGenerator, LocalEnhancer, MultiscaleCritic, halved, head

Weights = dict[str, Tensor]
F64 = torch.float64


def count(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


# ---- keys and sizes --------------------------------------------------------------------------------------------------
def layers(prefix: str, *indices: int) -> list[str]:
    return [f"{prefix}.{i}.{kind}" for i in indices for kind in ("weight", "bias")]


def blocks(prefix: str, *indices: int) -> list[str]:
    return [key for i in indices for key in layers(f"{prefix}.{i}.conv_block", 1, 5)]


G1 = [*layers("model", 1, 4, 7, 10, 13), *blocks("model", *range(16, 25)), *layers("model", 25, 28, 31, 34)]


@pytest.mark.parametrize(
    ("make", "keys", "weights"),
    [
        (lambda: GlobalGenerator(36), [*G1, *layers("model", 38)], 182_546_755),
        (lambda: GlobalGenerator(3), [*G1, *layers("model", 38)], 182_443_267),
        (
            lambda: LocalEnhancer(36),
            [*G1, *layers("model1_1", 1, 4), *blocks("model1_2", 0, 1, 2), *layers("model1_2", 3, 7)],
            182_857_059,
        ),
        (lambda: Encoder(), layers("model", 1, 4, 7, 10, 13, 16, 19, 22, 25, 29), 788_803),
        (
            lambda: MultiscaleCritic(39, scales=2),
            [f"scale{i}_layer{j}.0.{kind}" for i in (1, 0) for j in range(5) for kind in ("weight", "bias")],
            2 * 2_801_601,
        ),
    ],
    ids=["G1 of labels", "G1 of RGB", "G2", "E", "D"],
)
def test_keys_and_sizes_are_the_published_ones(make: Callable[[], nn.Module], keys: list[str], weights: int) -> None:
    with torch.device("meta"):
        net = make()
    assert sorted(net.state_dict()) == sorted(keys)
    assert count(net) == weights


def test_other_depths_number_their_layers_by_the_published_rule() -> None:
    """First up-convolution at 4 + 3 downs + blocks, the last convolution 3 downs + 1 after it."""
    with torch.device("meta"):
        net = GlobalGenerator(3, 3, 8, downs=3, blocks=6)
    ups = [int(key.split(".")[1]) for key in net.state_dict() if "conv_block" not in key]
    assert sorted(set(ups)) == [1, 4, 7, 10, 19, 22, 25, 29]


def test_g1_with_its_head_is_the_published_g1() -> None:
    """What a local enhancer lacks of G1 are three layers; `head` has them."""
    local, last = LocalEnhancer(4, 3, 2, downs=2, blocks=1, local_blocks=1), head(4, 3)
    whole = GlobalGenerator(4, 3, 4, downs=2, blocks=1)
    n = len(local.model)
    keys = {f"model.{n + int(key[0])}{key[1:]}": value for key, value in last.state_dict().items()}
    whole.load_state_dict({f"model.{key}": value for key, value in local.model.state_dict().items()} | keys)
    x = torch.randn(2, 4, 16, 16)
    torch.testing.assert_close(last(local(x, alone=True)), whole(x))


def test_a_critic_pads_by_two_and_halves_between_scales() -> None:
    maps = MultiscaleCritic(39, 4, scales=3)(torch.zeros(1, 39, 256, 256))
    assert [tuple(scale[-1].shape[1:]) for scale in maps] == [(1, 35, 35), (1, 19, 19), (1, 11, 11)]
    assert [[m.shape[1] for m in scale] for scale in maps] == [[4, 8, 16, 32, 1]] * 3
    with torch.device("meta"):
        wide = MultiscaleCritic(3, 300, scales=1)
    assert [w.shape[0] for key, w in wide.state_dict().items() if key.endswith("weight")] == [300, 512, 512, 512, 1]


def test_fewer_scales_are_the_coarsest_at_the_size_that_they_are_given() -> None:
    torch.manual_seed(0)
    critic = MultiscaleCritic(3, 2, scales=3)
    x = torch.randn(1, 3, 64, 64)
    all_of_them = critic(x)
    for two, three in zip(critic(halved(x), 2), all_of_them[1:], strict=True):
        for a, b in zip(two, three, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_weights_start_as_published() -> None:
    """N(0, 0.02) for kernels, PyTorch's own start for biases (not zeros), N(1, 0.02) and 0 for batch norms."""
    torch.manual_seed(0)
    for net in (
        LocalEnhancer(8, 3, 16, downs=2, norm="batch"),
        MultiscaleCritic(8, norm="batch"),
        Encoder(),
        head(64, 3),
    ):
        for name, weight in net.named_parameters():
            if weight.ndim == 4 and weight.numel() > 5_000:
                assert weight.std().item() == pytest.approx(0.02, rel=0.1), name
                assert abs(weight.mean().item()) < 2e-3, name
        for module in net.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None and len(module.bias) > 8:
                assert module.bias.std() > 1e-3
            if isinstance(module, nn.BatchNorm2d):
                assert not module.bias.any()
                assert (module.weight - 1).std().item() == pytest.approx(0.02, rel=0.5)


# ---- written out -----------------------------------------------------------------------------------------------------
def conv(w: Weights, key: str, x: Tensor, **options: int) -> Tensor:
    return F.conv2d(x, w[f"{key}.weight"], w[f"{key}.bias"], **options)


def up(w: Weights, key: str, x: Tensor) -> Tensor:
    return F.conv_transpose2d(x, w[f"{key}.weight"], w[f"{key}.bias"], stride=2, padding=1, output_padding=1)


def mirrored(x: Tensor, n: int) -> Tensor:
    return F.pad(x, (n, n, n, n), mode="reflect")


Norms = Callable[[Weights, str, Tensor], Tensor]


def by_image(w: Weights, key: str, x: Tensor) -> Tensor:
    """(x - mean) / sqrt(var + 1e-5) of each map; with batch norm's weights where there are any."""
    mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
    y = (x - mean) / (var + 1e-5).sqrt()
    return y * w[f"{key}.weight"].view(1, -1, 1, 1) + w[f"{key}.bias"].view(1, -1, 1, 1) if f"{key}.weight" in w else y


def block(w: Weights, key: str, x: Tensor) -> Tensor:
    y = by_image(w, f"{key}.conv_block.2", conv(w, f"{key}.conv_block.1", mirrored(x, 1))).clamp(min=0)
    return x + by_image(w, f"{key}.conv_block.6", conv(w, f"{key}.conv_block.5", mirrored(y, 1)))


def rectified(w: Weights, key: str, y: Tensor) -> Tensor:
    """The norm after a convolution and a ReLU. key: of the norm."""
    return by_image(w, key, y).clamp(min=0)


def features(w: Weights, x: Tensor, downs: int, n_blocks: int, name: str = "model") -> Tensor:
    """G1 without its last layers."""
    x = rectified(w, f"{name}.2", conv(w, f"{name}.1", mirrored(x, 3)))
    i = 4
    for _ in range(downs):
        x, i = rectified(w, f"{name}.{i + 1}", conv(w, f"{name}.{i}", x, stride=2, padding=1)), i + 3
    for _ in range(n_blocks):
        x, i = block(w, f"{name}.{i}", x), i + 1
    for _ in range(downs):
        x, i = rectified(w, f"{name}.{i + 1}", up(w, f"{name}.{i}", x)), i + 3
    return x


def picture(w: Weights, key: str, x: Tensor) -> Tensor:
    return conv(w, key, mirrored(x, 3)).tanh()


def half(x: Tensor) -> Tensor:
    """Means of 3x3 at every second pixel over what lies inside, by sums and counts."""
    kernel = torch.ones(1, 1, 3, 3, dtype=x.dtype)
    sums = F.conv2d(x.flatten(0, 1)[:, None], kernel, stride=2, padding=1).unflatten(0, x.shape[:2])[:, :, 0]
    return sums / F.conv2d(torch.ones_like(x[:1, :1]), kernel, stride=2, padding=1)


def judged(w: Weights, i: int, x: Tensor, depth: int) -> list[Tensor]:
    """One critic: 4x4 kernels padded by 2; no norm in the first layer and in the last."""
    maps = []
    for j in range(depth):
        x = conv(w, f"scale{i}_layer{j}.0", x, stride=2 if j < depth - 2 else 1, padding=2)
        if 0 < j < depth - 1:
            x = by_image(w, f"scale{i}_layer{j}.1", x)
        if j < depth - 1:
            x = torch.where(x > 0, x, 0.2 * x)
        maps.append(x)
    return maps


def awake(net: nn.Module) -> Weights:
    """The weights of a net in eval mode, large enough to matter, also those that start at 0 or 1."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in net.eval().parameters():
            weight.normal_(0, 1.5 / weight[0].numel() ** 0.5, generator=generator)
    return {name: value.clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_nets_equal_those_written_out(norm: Norm, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 32, 48, dtype=dtype).to(memory_format=torch.channels_last)

    def near(net: nn.Module, **how: Any) -> dict[str, float]:
        if dtype == F64:
            return {"rtol": 1e-12, "atol": 1e-12}
        return {"rtol": 0, "atol": precision.tolerance(net, x, **how)}

    one = GlobalGenerator(5, 3, 4, downs=2, blocks=2, norm=norm).to(x)
    w = awake(one)
    torch.testing.assert_close(one(x), picture(w, "model.19", features(w, x, 2, 2)), **near(one))

    local = LocalEnhancer(5, 3, 2, downs=2, blocks=2, local_blocks=2, norm=norm).to(x)
    w = awake(local)
    fine = rectified(w, "model1_1.2", conv(w, "model1_1.1", mirrored(x, 3)))
    fine = rectified(w, "model1_1.5", conv(w, "model1_1.4", fine, stride=2, padding=1))
    both = fine + features(w, half(x), 2, 2)
    both = block(w, "model1_2.1", block(w, "model1_2.0", both))
    want = picture(w, "model1_2.6", rectified(w, "model1_2.3", up(w, "model1_2.2", both)))
    torch.testing.assert_close(local(x), want, **near(local))
    torch.testing.assert_close(local(x, alone=True), features(w, x, 2, 2), **near(local, alone=True))

    encoder = Encoder(5, 3, 2, downs=3, norm=norm).to(x)
    w = awake(encoder)
    torch.testing.assert_close(encoder(x), picture(w, "model.23", features(w, x, 3, 0)), **near(encoder))

    critic = MultiscaleCritic(5, 4, layers=2, scales=3, norm=norm).to(x)
    w = awake(critic)
    within = near(critic)
    for i, maps in zip((2, 1, 0), critic(x), strict=True):
        for ours, theirs in zip(maps, judged(w, i, x, 4), strict=True):
            torch.testing.assert_close(ours, theirs, **within)
        x = half(x)


def test_biases_that_an_instance_norm_takes_away_are_not_learnt() -> None:
    """They are in the checkpoint; their gradient would be rounding errors."""
    net = LocalEnhancer(3, 3, 2, downs=1, blocks=1, local_blocks=1)
    net(torch.randn(1, 3, 16, 16)).square().sum().backward()
    learnt = [name for name, weight in net.named_parameters() if weight.grad is not None]
    assert [name for name in learnt if name.endswith("bias")] == ["model1_2.5.bias"]
    assert sum(name.endswith("weight") for name in learnt) == sum("weight" in name for name in net.state_dict())

"""The nets of pix2pix and CycleGAN: keys and sizes as published, norms by image, and the pool of fakes."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import toys
from ganvas.nets.isola import ImageNorm, ImagePool, PatchCritic, ResnetGenerator, UNetGenerator


def size(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize(
    ("net", "weights"),
    [
        (lambda: ResnetGenerator(3, 3, blocks=9), 11_378_179),
        (lambda: ResnetGenerator(3, 3, blocks=6), 7_837_699),
        (lambda: UNetGenerator(3, 3, downs=8, dropout=True), 54_413_955),
        (lambda: UNetGenerator(3, 3, downs=7, dropout=True), 41_828_995),
        (lambda: PatchCritic(3), 2_764_737),
        (lambda: PatchCritic(6, norm="batch"), 2_768_705),
    ],
    ids=["resnet-9", "resnet-6", "unet-256", "unet-128", "patch", "patch-of-pairs"],
)
def test_the_nets_have_as_many_weights_as_published(net: type, weights: int) -> None:
    with torch.device("meta"):
        assert size(net()) == weights


def entries(*names: str, norms: tuple[str, ...] = (), bias: bool = True) -> set[str]:
    """State-dict keys of convolutions with or without a bias, and of batch norms."""
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys = {f"{name}.{kind}" for name in names for kind in (("weight", "bias") if bias else ("weight",))}
    return keys | {f"{name}.{kind}" for name in norms for kind in kinds}


def test_residual_generators_have_the_published_keys() -> None:
    blocks = range(10, 19)
    convs = [f"model.{i}" for i in (1, 4, 7, 19, 22, 26)]
    plain = [*convs, *(f"model.{b}.conv_block.{i}" for b in blocks for i in (1, 5))]
    dropped = [*convs, *(f"model.{b}.conv_block.{i}" for b in blocks for i in (1, 6))]
    assert ResnetGenerator(3, 3, 2).state_dict().keys() == entries(*plain)
    assert ResnetGenerator(3, 3, 2, dropout=True).state_dict().keys() == entries(*dropped)
    batch = entries(*plain[:5], *plain[6:], norms=("model.2", "model.5", "model.8", "model.20", "model.23"), bias=False)
    batch |= entries(norms=tuple(f"model.{b}.conv_block.{i}" for b in blocks for i in (2, 6)))
    assert ResnetGenerator(3, 3, 2, norm="batch").state_dict().keys() == batch | entries("model.26")
    six = ResnetGenerator(3, 3, 2, blocks=6).state_dict()
    assert {"model.16.weight", "model.19.weight", "model.23.weight"} <= six.keys()


def test_u_nets_have_the_published_keys() -> None:
    keys = entries("model.model.0", bias=False) | entries("model.model.3")
    level = "model.model.1.model"
    for depth in range(2, 9):
        if depth < 8:
            keys |= entries(f"{level}.1", f"{level}.5", norms=(f"{level}.2", f"{level}.6"), bias=False)
            level += ".3.model"
        else:
            keys |= entries(f"{level}.1", f"{level}.3", norms=(f"{level}.4",), bias=False)
    net = UNetGenerator(3, 3, 2, dropout=True)
    assert net.state_dict().keys() == keys
    assert sum(isinstance(module, nn.Dropout) for module in net.modules()) == 3
    downs = ("model.model.0.weight", ".model.1.weight")
    widths = [weight.shape[0] for name, weight in net.state_dict().items() if name.endswith(downs)]
    assert sorted(widths) == sorted(2 * i for i in (1, 2, 4, 8, 8, 8, 8, 8))


def test_critics_have_the_published_keys_and_patches() -> None:
    assert PatchCritic(3, 2).state_dict().keys() == entries(*(f"model.{i}" for i in (0, 2, 5, 8, 11)))
    batch = entries("model.0", "model.11") | entries("model.2", "model.5", "model.8", bias=False)
    batch |= entries(norms=("model.3", "model.6", "model.9"))
    assert PatchCritic(6, 2, norm="batch").state_dict().keys() == batch
    critic = PatchCritic(3, 2)
    assert critic(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)
    x = torch.randn(1, 3, 128, 128, dtype=torch.float64, requires_grad=True)
    for module in critic.modules():  # instance norm sees the whole picture
        if isinstance(module, nn.InstanceNorm2d):
            module.forward = lambda h: h  # type: ignore[method-assign]
    critic.double()(x)[0, 0, 7, 7].backward()
    rows, columns = x.grad[0].abs().sum(0).nonzero().T  # type: ignore[union-attr]
    assert (int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1) == (70, 70)


def test_image_norm_is_batch_norm_in_training_and_by_image_elsewhere() -> None:
    torch.manual_seed(0)
    norm, plain = ImageNorm(3), nn.BatchNorm2d(3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    plain.load_state_dict(norm.state_dict())
    x = torch.randn(4, 3, 5, 6) * 3 + 1
    torch.testing.assert_close(norm(x), plain(x))
    assert norm.state_dict()["running_mean"].abs().max() > 0
    alone = torch.cat([plain(row[None]) for row in x])  # in training at batch 1, as published
    torch.testing.assert_close(norm.eval()(x), alone)


class Pool:
    """The published pool, on plain numbers: a list, and a coin above a half."""

    def __init__(self, size: int) -> None:
        self.size, self.kept = size, []

    def query(self, image: float, swap: float, which: float) -> float:
        if len(self.kept) < self.size:
            self.kept.append(image)
            return image
        if swap > 0.5:
            slot = int(which * self.size)
            self.kept[slot], image = image, self.kept[slot]
        return image


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 7), st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 2**31))
def test_the_pool_gives_what_the_published_one_gives(size: int, batches: list[int], seed: int) -> None:
    coin = random.Random(seed)
    ours, theirs, number = ImagePool(size, (1, 2, 2)), Pool(size), 0
    for n in batches:
        images = [float(number + i) for i in range(n)]
        coins = [(coin.random(), coin.random()) for _ in range(n)]
        number += n
        x = torch.tensor(images).view(n, 1, 1, 1).expand(n, 1, 2, 2)
        given = ours(x, torch.tensor(coins, dtype=torch.float64))
        want = [theirs.query(image, *pair) for image, pair in zip(images, coins, strict=True)] if size else images
        assert given[:, 0, 0, 0].tolist() == given[:, 0, 1, 1].tolist() == want
    assert ours.images[: len(theirs.kept), 0, 0, 0].tolist() == theirs.kept


def test_the_pool_is_memory_and_passes_validation_by() -> None:
    pool = ImagePool(2, (1, 1, 1))
    assert pool.state_dict() == {}
    assert {name for name, _ in pool.named_buffers()} == {"images", "held"}

    def see(value: float) -> Tensor:
        return pool(torch.full((1, 1, 1, 1), value), torch.tensor([[0.9, 0.0]]))

    assert [see(value).item() for value in (1.0, 2.0, 3.0)] == [1.0, 2.0, 1.0]
    pool.eval()
    before = pool.images.clone()
    assert see(9.0).item() == 9.0
    assert torch.equal(pool.images, before)


def test_the_pool_waits_for_no_value() -> None:
    with toys.fake_tensors():
        pool = ImagePool(2, (3, 4, 4))
        assert pool(torch.zeros(3, 3, 4, 4), torch.rand(3, 2)).shape == (3, 3, 4, 4)

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ganvas import weights
from ganvas.nets.features import KINDS, SCALE, SHIFT, FeatureStack, digest, published


def by_hand(kind: str, w: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The maps of LPIPS, written out from the papers and torchvision's keys, independent of the modules."""

    def conv(x: Tensor, i: int | str, **options: int) -> Tensor:
        return F.conv2d(x, w[f"features.{i}.weight"], w[f"features.{i}.bias"], **options)

    def fire(x: Tensor, i: int) -> Tensor:
        x = conv(x, f"{i}.squeeze").clamp(min=0)
        return torch.cat([conv(x, f"{i}.expand1x1"), conv(x, f"{i}.expand3x3", padding=1)], 1).clamp(min=0)

    if kind == "vgg19":  # images as they are; the maps after the first convolution of each block
        maps = []
        for block in ([0, 2], [5, 7], [10, 12, 14, 16], [19, 21, 23, 25], [28]):
            for i in block:
                x = conv(x, i, padding=1).clamp(min=0)
                maps += [x] if i == block[0] else []
            x = F.max_pool2d(x, 2)
        return maps
    shift, scale = (torch.tensor(c).to(x.dtype).view(3, 1, 1) for c in (SHIFT, SCALE))
    x = (x - shift) / scale
    if kind == "alex":
        a = conv(x, 0, stride=4, padding=2).clamp(min=0)
        b = conv(F.max_pool2d(a, 3, 2), 3, padding=2).clamp(min=0)
        c = conv(F.max_pool2d(b, 3, 2), 6, padding=1).clamp(min=0)
        d = conv(c, 8, padding=1).clamp(min=0)
        return [a, b, c, d, conv(d, 10, padding=1).clamp(min=0)]
    if kind == "squeeze":
        a = conv(x, 0, stride=2).clamp(min=0)
        b = fire(fire(F.max_pool2d(a, 3, 2, ceil_mode=True), 3), 4)
        c = fire(fire(F.max_pool2d(b, 3, 2, ceil_mode=True), 6), 7)
        d = fire(F.max_pool2d(c, 3, 2, ceil_mode=True), 9)
        e = fire(d, 10)
        f = fire(e, 11)
        return [a, b, c, d, e, f, fire(f, 12)]
    maps = []
    for block in ([0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28]):
        for i in block:
            x = conv(x, i, padding=1).clamp(min=0)
        maps.append(x)
        x = F.max_pool2d(x, 2)
        if kind == "vgg-12" and len(maps) == 2:
            break
    return maps


@pytest.mark.parametrize(("kind", "side"), [("alex", 67), ("squeeze", 69), ("vgg", 34), ("vgg-12", 34), ("vgg19", 34)])
def test_maps_equal_those_written_out_by_hand(kind: str, side: int) -> None:
    torch.manual_seed(0)
    stack = FeatureStack(kind).double()
    x = torch.rand(2, 3, side, side + 4, dtype=torch.float64) * 2 - 1
    with torch.inference_mode():
        maps = stack(x)
        expected = by_hand(kind, stack.state_dict(), x)
    assert [m.shape[1] for m in maps] == list(stack.channels)
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_least_side_is_the_least_that_leaves_a_map(kind: str) -> None:
    stack = FeatureStack(kind)
    side = stack.least
    with torch.inference_mode():
        assert all(m.numel() for m in stack(torch.zeros(1, 3, side, side)))
        with pytest.raises(RuntimeError):
            stack(torch.zeros(1, 3, side - 1, side))


def test_grey_stands_for_three_equal_channels() -> None:
    stack = FeatureStack("squeeze")
    grey = torch.rand(2, 1, 32, 32) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(stack(grey)[-1], stack(grey.expand(-1, 3, -1, -1))[-1], rtol=0, atol=0)


def test_the_digest_names_the_values_and_not_their_layout() -> None:
    tensors = FeatureStack("alex").state_dict()
    before = digest(tensors)
    reordered = {name: tensors[name].clone(memory_format=torch.contiguous_format) for name in reversed(tensors)}
    channels_last = {
        name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
        for name, value in tensors.items()
    }
    assert before == digest(reordered) == digest(channels_last)
    reordered["features.10.bias"][7] += 1e-6
    assert digest(reordered) != before
    assert digest({"a": torch.zeros(4)}) != digest({"a": torch.zeros(2, 2)})


def test_loads_a_backbone_published_whole_or_as_features_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FeatureStack("squeeze")
    features = stack.state_dict()
    whole = {**features, "classifier.1.weight": torch.zeros(1000, 512, 1, 1)}
    digests = []
    monkeypatch.setenv("GANVAS_WEIGHTS", str(tmp_path))
    for tensors in (features, whole):
        torch.save(tensors, path := tmp_path / "net.pth")
        row = weights.Published("a net", "", 1, (("net.pth", weights.sha256(path)),))
        monkeypatch.setitem(weights.TABLE, "squeezenet1_1", row)
        before = torch.get_rng_state()
        net = published("squeeze")
        assert torch.equal(before, torch.get_rng_state())  # loading draws no random numbers
        digests.append(digest(net.state_dict()))
    assert digests == [digest(features)] * 2
    assert not net.training
    assert not any(value.requires_grad for value in net.parameters())


def test_the_shared_backbones_fit(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANVAS_WEIGHTS", str(shared / "weights"))
    sizes = {kind: sum(v.numel() for v in published(kind).parameters()) for kind in ("alex", "squeeze", "vgg-12")}
    assert sizes == {"alex": 2_469_696, "squeeze": 722_496, "vgg-12": 260_160}

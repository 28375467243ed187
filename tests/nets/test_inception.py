from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import precision
import published
from ganvas import weights
from ganvas.errors import Damaged, MissingWeights
from ganvas.nets import inception
from ganvas.nets.features import digest
from ganvas.nets.inception import Inception, folded


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return published.weights()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the published file is looked for; what is put there counts as the published one."""
    monkeypatch.setenv("GANVAS_WEIGHTS", str(tmp_path))
    return tmp_path / "pt_inception-2015-12-05-6726825d.pth"


def put(path: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(tensors, path)
    row = weights.Published("the Inception net of FID", "", 1, ((path.name, weights.sha256(path)),))
    monkeypatch.setitem(weights.TABLE, "inception", row)


def test_equals_the_published_graph_written_out_in_float64(tensors: dict[str, Tensor]) -> None:
    exact = {name: value.double() for name, value in tensors.items()}
    net = Inception().double()
    net.load_state_dict(folded(exact))
    x = torch.rand(1, 3, 139, 123, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        found, expected = net(x), published.features(exact, x)
        logits = net.logits(found)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(logits, expected @ exact["fc.weight"].T, rtol=1e-10, atol=1e-12)  # without fc.bias
    single = Inception()
    single.load_state_dict(folded(tensors))
    with torch.inference_mode():
        within = precision.allowed(published.features(tensors, x.float()), expected)
        torch.testing.assert_close(single(x.float()).double(), expected, rtol=0, atol=within)


def test_maps_have_the_sizes_of_the_paper_at_299() -> None:
    """Table 1, and the channels of the published graph."""
    with torch.device("meta"):
        net = Inception()
        seen: dict[str, list[int]] = {}
        for name, layer in net.named_children():
            layer.register_forward_hook(lambda _m, _x, y, name=name: seen.__setitem__(name, list(y.shape[1:])))
        assert net(torch.empty(1, 3, 299, 299)).shape == (1, 2048)
    assert seen["Conv2d_1a_3x3"] == [32, 149, 149]
    assert seen["Conv2d_2b_3x3"] == [64, 147, 147]
    assert seen["Conv2d_4a_3x3"] == [192, 71, 71]
    assert [seen[f"Mixed_5{i}"] for i in "bcd"] == [[256, 35, 35], [288, 35, 35], [288, 35, 35]]
    assert [seen[f"Mixed_6{i}"] for i in "abcde"] == [[768, 17, 17]] * 5
    assert [seen[f"Mixed_7{i}"] for i in "abc"] == [[1280, 8, 8], [2048, 8, 8], [2048, 8, 8]]


def test_loads_a_published_file(file: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the counters that a module's batch norms save, though there is nothing to count."""
    before = torch.get_rng_state()
    put(file, published.weights(counters=True), monkeypatch)
    net = inception.published()
    assert digest(net.state_dict()) == digest(folded(tensors))
    assert torch.equal(before, torch.get_rng_state())
    assert not net.training
    assert not any(value.requires_grad for value in net.parameters())


def test_what_is_not_there_truncated_or_of_another_net_is_one_line(
    file: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingWeights, match=r"run `ganvas fetch inception`.*or weights-inception-2015-12-05-6726825d"):
        inception.published()
    file.write_bytes(b"the beginning of it")
    whole = weights.sha256(file)
    with pytest.raises(Damaged, match=rf"6726825d\.pth is truncated or another file: its SHA-256 is {whole}.*6726825d"):
        inception.published()
    short = {name: value for name, value in tensors.items() if name != "Mixed_7c.branch1x1.bn.bias"}
    small = {**tensors, "fc.weight": torch.zeros(1000, 2048)}  # torchvision's
    for foreign, why in ((short, "no Mixed_7c.branch1x1.bn.bias"), (small, r"fc\.weight.*1000")):
        put(file, foreign, monkeypatch)
        with pytest.raises(Damaged, match=why) as caught:
            inception.published()
        assert f"(SHA-256 {weights.sha256(file)}) holds another net than the Inception net" in str(caught.value)
        assert "\n" not in str(caught.value)

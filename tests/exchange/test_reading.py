"""Published files: what wraps them, what training left in them, and what is refused."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganvas.errors import Damaged, DataError
from ganvas.exchange.reading import read


def plain() -> dict[str, Tensor]:
    """A convolution, a batch norm, and an instance norm of the time when it kept statistics."""
    torch.manual_seed(0)
    return {
        "model.0.weight": torch.randn(8, 3, 4, 4),
        "model.0.bias": torch.randn(8),
        "model.1.weight": torch.ones(8),
        "model.1.bias": torch.zeros(8),
        "model.1.running_mean": torch.randn(8),
        "model.1.running_var": torch.rand(8),
        "model.1.num_batches_tracked": torch.tensor(7),
    }


def stale() -> dict[str, Tensor]:
    return {
        f"model.4.{name}": torch.zeros(()) if name == "num_batches_tracked" else torch.randn(8)
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return list(found) == list(wanted) and all(torch.equal(found[key], wanted[key]) for key in wanted)


def save(path: Path, content: Any, *, old: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        OrderedDict,
        lambda net: {f"module.{key}": value for key, value in net.items()},
        lambda net: {f"module._orig_mod.{key}": value for key, value in net.items()},
        lambda net: net | stale(),
        lambda net: {"state_dict": net, "epoch": 3, "losses": [0.5], "optimizer": {"state": {0: {"step": 1}}}},
        lambda net: {"params": {"model.0.weight": torch.zeros(1)}, "params_ema": net},
        lambda net: {"netD": {"model.0.weight": torch.zeros(1)}, "netG": net, "step": torch.tensor(4)},
        lambda net: {"G_A": net, "G_B": {"model.0.weight": torch.zeros(1)}, "G": {"model.0.weight": torch.zeros(1)}},
        lambda net: {"netG_A": {"state_dict": {f"module.{key}": value for key, value in net.items()}}},
        lambda net: {"model": net},
    ],
)
def test_whatever_wraps_a_net_its_tensors_are_found(wrap: Any, old: bool, tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", wrap(plain()), old=old)
    file = read("G_A", path)
    assert same(file.tensors, plain())
    assert file.tensors["model.1.num_batches_tracked"].dtype == torch.int64


def test_half_and_double_precision_become_single(tmp_path: Path) -> None:
    for kind in (torch.float16, torch.float64):
        halves = {key: value.to(kind) if value.is_floating_point() else value for key, value in plain().items()}
        file = read("G", save(tmp_path / "net.pth", halves))
        assert {value.dtype for value in file.tensors.values()} == {torch.float32, torch.int64}
        assert torch.equal(file.tensors["model.0.weight"], halves["model.0.weight"].float())


def test_code_in_a_file_is_named_and_never_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "harm"),)

    nets = nn.Sequential(nn.Conv2d(1, 1, 1))
    for content, named in ((plain() | {"x": Harm()}, "posix.mkdir"), (nets, "torch.nn.modules.container.Sequential")):
        for old in (False, True):
            path = save(tmp_path / "net.pth", content, old=old)
            with pytest.raises(DataError, match=f"net.pth holds code, {named}, which is not run: save the state_dict"):
                read("G", path)
    for protocol in (2, 4):
        (tmp_path / "net.pth").write_bytes(pickle.dumps({"x": Harm()}, protocol=protocol))
        with pytest.raises((DataError, Damaged), match=r"holds code|not written by torch.save"):
            read("G", tmp_path / "net.pth")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("old", [False, True])
def test_a_file_cut_anywhere_is_damaged(old: bool, tmp_path: Path) -> None:
    whole = save(tmp_path / "net.pth", plain(), old=old).read_bytes()
    for part in (0, 0.02, 0.3, 0.6, 0.9, 0.999):
        (tmp_path / "net.pth").write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(Damaged, match=r"is empty|cut short, damaged"):
            read("G", tmp_path / "net.pth")


def huge() -> dict[str, Tensor]:
    return {"model.0.weight": torch.zeros(1).expand(1 << 20, 1 << 20)}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<!DOCTYPE html> quota exceeded", "was not written by torch.save: it begins with b'<!DO'"),
        (b"version https://git-lfs", "was not written by torch.save"),
        (b"\x80\x02K\x01.", "holds a int|cut short, damaged"),
        ([1, 2], "holds a list, not the state dict of a net"),
        (torch.zeros(3), "holds a Tensor, not the state dict"),
        ({}, "holds no state dict of G: in it are nothing"),
        ({"epoch": 3, "optimizer": {"state": {}}}, "holds no state dict of G: in it are epoch, optimizer"),
        ({"model.0.weight": torch.tensor([1.0, float("nan")])}, "not finite, in model.0.weight"),
        ({"a.weight": torch.ones(1), "module.a.weight": torch.ones(1)}, "two tensors that are called a.weight"),
        (stale(), "holds no weights"),
        (huge(), "says that model.0.weight has 1,099,511,627,776 numbers, and holds fewer"),
    ],
)
def test_what_is_no_state_dict_is_one_sentence(content: Any, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save(path, content)
    with pytest.raises((DataError, Damaged), match=sentence) as refused:
        read("G", path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_or_is_a_folder_says_so(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.pth", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(DataError, match=f"cannot be read: {why}"):
            read("G", path)

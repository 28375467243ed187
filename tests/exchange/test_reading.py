"""Published files: what wraps them, what training left in them, and what is refused."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganvas import pickles
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


# ---- what is meant to hurt -------------------------------------------------------------------------------------------
def packed(path: Path, pickled: bytes, *, deflated: bool = False, **records: bytes) -> Path:
    """A ZIP as torch.save lays it out, round that pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as file:
        file.writestr("net/data.pkl", pickled)
        file.writestr("net/version", b"3\n")
        for name, data in records.items():
            file.writestr(f"net/{name}", data)
    return path


def nested(depth: int) -> bytes:
    """A key of tuples that each hold the one before twice: its hash takes 2**depth steps."""
    doubled = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(depth))
    return b"\x80\x02}K\x01" + doubled + b"K\x01s."


MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00."  # of the form before torch 1.6


@pytest.mark.parametrize(
    "pickled",
    [
        nested(45),
        b"\x80\x02}K\x01" + b"\x85" * 4000 + b"K\x01s.",  # a hash that would end the process
        b"\x80\x02ccollections\nOrderedDict\n]" + nested(45)[3:-4] + b"K\x01\x86a\x85R.",  # hashed by what is called
        b"\x80\x02](" + b"}" * 6000 + b"e.",
        b"\x80\x02" + b"]" * 200 + b"a" * 199 + b".",
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_of_too_much_is_refused_before_it_is_loaded(
    pickled: bytes, old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickles, "MOST_OPERATIONS", 5000)
    path = tmp_path / "net.pth"
    if old:
        path.write_bytes(MAGIC + pickled + b"\x80\x02].")
    else:
        packed(path, pickled)
    with pytest.raises(DataError, match=r"holds (more than the weights|over 100 lists).*save the state_dict\(\)"):
        read("G", path)


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_that_says_it_has_more_text_than_there_is_is_damaged(old: bool, tmp_path: Path) -> None:
    pickled = b"\x80\x02X\xff\xff\xff\x7fabc."
    path = tmp_path / "net.pth"
    path.write_bytes(MAGIC + pickled) if old else packed(path, pickled)
    with pytest.raises(Damaged, match=r"not written by torch\.save"):
        read("G", path)


def test_only_a_zip_as_torch_writes_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    with pytest.raises(Damaged, match="is a ZIP of another kind"):
        read("G", packed(path, bytes(10 << 20), deflated=True))
    with pytest.raises(Damaged, match="is a ZIP of another kind"):
        read("G", packed(path, b"\x80\x02}.", **{"DATA.pkl": b"\x80\x02}."}))
    with pytest.raises(DataError, match="holds more than the weights of a net"):
        read("G", packed(path, bytes(40 << 20)))
    with pytest.raises(DataError, match="holds a TorchScript program, which is not run"):
        read("G", packed(path, b"\x80\x02}.", **{"constants.pkl": b"\x80\x02)."}))


def test_a_bit_that_flipped_in_a_tensor_is_found(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", plain())
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        info = max(file.infolist(), key=lambda info: info.file_size)
    data[data.index(plain()["model.0.weight"].numpy().tobytes()) + 100] ^= 0x10
    assert info.file_size > 1000
    path.write_bytes(data)
    with pytest.raises(Damaged, match=r"Bad CRC-32.*get it again"):
        read("G", path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["sparse", "csr", "meta", "quantized", "nested", "complex"])
def test_a_tensor_that_is_not_plain_is_one_sentence(kind: str, tmp_path: Path) -> None:
    tensor = {
        "sparse": lambda: torch.eye(3).to_sparse(),
        "csr": lambda: torch.eye(3).to_sparse_csr(),
        "meta": lambda: torch.empty(4, device="meta"),
        "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "complex": lambda: torch.ones(3, dtype=torch.complex64),
    }[kind]()
    path = save(tmp_path / "net.pth", {"model.1.weight": tensor})
    with pytest.raises(DataError, match=r"holds? a tensor that is not plain|has a tensor that is not plain") as refused:
        read("G", path)
    assert "\n" not in str(refused.value)


def test_keys_that_are_no_text_are_left_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", {(1, (2, 3)): torch.zeros(1), 4: {"a": 1}, "model.0.weight": torch.ones(2)})
    assert list(read("G", path).tensors) == ["model.0.weight"]

"""A checkpoint is there whole or not at all, says itself whether it still is, and never runs code."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import folders
from ganvas.checkpoint import AVERAGE, MANIFEST, STATE, Checkpoint, verified, write
from ganvas.errors import Damaged, RunError
from ganvas.files import sha256
from ganvas.run import Run

FILES = ["weights.safetensors", "ema.safetensors", "state.pt", "state-0.pt"]
MEGABYTE = 1 << 18  # in floats


def written(folder: Path, step: int = 7, **parts: Any) -> Path:
    number = torch.arange(6.0)
    parts = {"weights": {"w": number}, "average": {"w": -number}, "state": {"step": step},
             "memory": {0: {"pool": number}}} | parts  # fmt: skip
    write(folder, step, **parts, calibrated=True)
    return folder


def test_every_kind_of_tensor_comes_back_as_it_was(tmp_path: Path) -> None:
    """Channels-last, transposed and sliced ones, two names for one memory, views into one memory, numbers, nothing."""
    convolution = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "channels_last": convolution.weight,
        "tied": convolution.weight,
        "detached": convolution.weight.detach(),
        "transposed": base.T,
        "whole": base,
        "rows": base[1:3],
        "columns": base[:, ::2],
        "expanded": torch.ones(1).expand(3, 2),
        "scalar": torch.tensor(5),
        "none": torch.empty(0, 3),
        "none_either": torch.empty(0, 3),
        "bool": torch.tensor([True, False]),
        "bfloat16": torch.randn(7).bfloat16(),
        "float64": torch.randn(7, dtype=torch.float64),
        "odd": torch.tensor([float("nan"), float("inf"), -0.0, 5e-324], dtype=torch.float64),
    }
    critic = {"state": {0: {"exp_avg": base.T}}, "param_groups": [{"betas": (0.5, 0.999), "fused": None}]}
    state = {"step": 7, "counts": {"critic/real": 3}, "optimisers": {"critic": critic}}
    folder = written(tmp_path / "c", weights=tensors, average=tensors, state=state, memory={2: {"pool": base.T}})
    checkpoint = verified(folder, 7)
    assert (checkpoint.step, checkpoint.calibrated) == (7, True)
    for loaded in (checkpoint.weights(), checkpoint.average()):
        assert loaded.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert loaded[name].dtype == tensor.dtype
            assert torch.equal(bits(loaded[name]), bits(tensor)), name
    loaded_state = checkpoint.state()
    optimiser = loaded_state["optimisers"]["critic"]
    assert torch.equal(optimiser["state"][0]["exp_avg"], base.T)
    assert optimiser["param_groups"] == critic["param_groups"]
    assert (loaded_state["step"], loaded_state["counts"]) == (7, {"critic/real": 3})
    assert torch.equal(checkpoint.memory(2)["pool"], base.T)
    assert checkpoint.memory(0) == {}


def bits(tensor: Tensor) -> Tensor:
    """The tensor's bytes: NaN is not equal to itself, and 0 is equal to -0."""
    flat = tensor.detach().contiguous().reshape(-1)
    return torch.cat([flat.view(torch.uint8), torch.tensor(tensor.shape, dtype=torch.uint8)])


def test_writing_does_not_keep_what_it_was_given_alive_or_change_it(tmp_path: Path) -> None:
    weight = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last).weight
    before, stride = weight.detach().clone(), weight.stride()
    folder = written(tmp_path / "c", weights={"w": weight})
    with torch.no_grad():
        weight.add_(1)
    assert weight.stride() == stride
    assert torch.equal(verified(folder, 7).weights()["w"], before)


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def lengthened(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def made_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("harm", [folders.flip, truncated, lengthened, Path.unlink, made_a_folder])
@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_damage_is_found_and_the_file_named(name: str, harm: Callable[[Path], None], tmp_path: Path) -> None:
    folder = written(tmp_path / "c")
    harm(folder / name)
    with pytest.raises(Damaged, match=name.replace(".", r"\.")) as damaged:
        verified(folder, 7)
    assert damaged.value.exit_code == 4


@pytest.mark.parametrize(
    "text", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b'{"step": "7"}', b'{"step": 7, "calibrated": true, "files": {}}']
)
def test_a_manifest_that_says_something_else_is_damage(text: bytes, tmp_path: Path) -> None:
    folder = written(tmp_path / "c")
    (folder / MANIFEST).write_bytes(text)
    with pytest.raises(Damaged, match=MANIFEST):
        verified(folder, 7)


def test_a_manifest_of_another_step_is_damage(tmp_path: Path) -> None:
    """One flipped bit makes 7 a 6, which is as good a number."""
    folder = written(tmp_path / "c")
    manifest = folder / MANIFEST
    folders.flip(manifest, manifest.read_bytes().index(b"7"))
    assert msgspec.json.decode(manifest.read_bytes())["step"] == 6
    with pytest.raises(Damaged, match=r"manifest\.json is of step 6"):
        verified(folder, 7)


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_no_flipped_bit_of_a_manifest_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "flipped"
    if not folder.exists():
        written(folder)
    manifest = folder / MANIFEST
    whole = manifest.read_bytes()
    folders.flip(manifest, data.draw(st.integers(0, len(whole) - 2)), data.draw(st.integers(0, 7)))
    try:
        with pytest.raises(Damaged):
            verified(folder, 7)
    finally:
        manifest.write_bytes(whole)
    assert verified(folder, 7).step == 7


# ---- code ------------------------------------------------------------------------------------------------------------
class Payload:
    """Pickles to a call that makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["state.pt", "state-0.pt"])
def test_pickled_code_is_refused_and_does_not_run(name: str, tmp_path: Path) -> None:
    """Though its digest is right, as whoever would plant it would see to."""
    folder, mark = written(tmp_path / "c"), tmp_path / "the code ran"
    torch.save({"step": 7, "optimisers": Payload(mark)}, folder / name)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes())
    manifest["files"][name] = {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size}
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    checkpoint = verified(folder, 7)
    with pytest.raises(Damaged, match=name.replace(".", r"\.")):
        checkpoint.state() if name == "state.pt" else checkpoint.memory(0)
    assert not mark.exists()
    torch.load(folder / name, weights_only=False)
    assert mark.exists()  # so it was code, and would have run


# ---- a disk that refuses ---------------------------------------------------------------------------------------------
def fails_at(patch: pytest.MonkeyPatch, place: Any, name: str, call: int, number: int = errno.ENOSPC) -> None:
    """Makes the call-th call of a function fail as on a full disk."""
    real, calls = getattr(place, name), iter(range(1000))

    def failing(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    patch.setattr(place, name, failing)


REFUSALS = [
    *[(safetensors.torch, "save_file", call) for call in range(2)],
    *[(torch, "save", call) for call in range(2)],
    (Path, "write_bytes", 0),
    *[(os, "fsync", call) for call in (0, 4)],  # of the first file and of the last
    (os, "replace", 0),
]


@pytest.mark.parametrize("again", [False, True], ids=["new", "again"])
@pytest.mark.parametrize(("place", "name", "call"), REFUSALS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_refusal_at_any_point_leaves_the_run_as_it_was(
    place: Any, name: str, call: int, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folders.build(tmp_path / "run", 10, 20)
    before = sorted(run.folder.rglob("*"))
    fails_at(monkeypatch, place, name, call)
    with pytest.raises(
        RunError, match=r"No space left on device; the checkpoint of step 20 is intact; free"
    ) as refused:
        folders.save(run, 20 if again else 30, value=99.0, memory={0: {"pool": torch.ones(2)}}, keep=1)
    assert "\n" not in str(refused.value)
    assert sorted(run.folder.rglob("*")) == before
    assert folders.value(run) == 20.0
    monkeypatch.undo()
    folders.save(run, 30, keep=1)
    assert run.checkpoints() == [30]


def test_a_refused_rename_puts_the_replaced_checkpoint_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = folders.build(tmp_path / "run", 10, 20)
    fails_at(
        monkeypatch, os, "replace", 1, errno.EIO
    )  # the old one has stepped aside, the new one cannot take its place
    with pytest.raises(RunError, match="the checkpoint of step 20 is intact"):
        folders.save(run, 20, value=99.0)
    assert run.checkpoints() == [10, 20]
    assert folders.hidden(run.folder) == []
    assert folders.value(run) == 20.0


def test_the_first_checkpoint_that_cannot_be_written_says_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folders.build(tmp_path / "run")
    fails_at(monkeypatch, torch, "save", 0)
    with pytest.raises(RunError, match="there is no earlier checkpoint"):
        folders.save(run, 10)
    assert run.latest() is None


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """The system refuses files larger than this inside: a real refusal, in the midst of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def large(part: str) -> dict[str, Any]:
    """A checkpoint of which one part is three megabytes."""
    numbers = torch.ones(3 * MEGABYTE)
    return {part: {0: {"pool": numbers}} if part == "memory" else {"w": numbers}}


@pytest.mark.parametrize("part", ["weights", "average", "state", "memory"])
def test_a_write_that_the_system_breaks_off_is_one_sentence(part: str, tmp_path: Path) -> None:
    """What really breaks off a write inside safetensors and inside torch, each of which wraps it in its own way."""
    run = folders.build(tmp_path / "run", 10)
    with no_file_over(1 << 20), pytest.raises(RunError, match="File too large; the checkpoint of step 10 is intact"):
        folders.save(run, 20, **large(part))
    assert folders.hidden(run.folder) == []
    assert folders.value(run) == 10.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True)
    except OSError:
        pytest.skip("there is no mount on this machine")
    if mounted.returncode:
        pytest.skip("mounting a small disk takes a privilege that the tests do not have here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("part", ["weights", "average", "state", "memory"])
def test_a_disk_that_is_really_full_keeps_the_checkpoint_before(part: str, small_disk: Path) -> None:
    run = folders.build(small_disk / "run", 10)
    with pytest.raises(RunError, match="No space left on device; the checkpoint of step 10 is intact"):
        folders.save(run, 20, **large(part))
    assert folders.hidden(run.folder) == []
    assert folders.value(run) == 10.0
    folders.save(run, 20)
    assert folders.value(Run.open(run.folder)) == 20.0


def test_figures_that_find_no_room_are_one_sentence(small_disk: Path) -> None:
    run = folders.build(small_disk / "run", 10)
    run.append(folders.tick(5, kl=1.0))
    (small_disk / "filler").write_bytes(b"\0" * (small_disk_free(small_disk)))
    many = {f"term {i}": 1.0 for i in range(2000)}
    for write_more in (
        lambda: run.append(folders.tick(10, **many)),
        lambda: run.record(10, {"mse": folders.figure(1.0, recipe=many)}),
        lambda: run.amend(folders.config(leaves=many)),
    ):
        with pytest.raises(RunError, match="cannot be written: No space left on device; free some space"):
            write_more()
    (small_disk / "filler").unlink()
    run.append(folders.tick(10, kl=0.5))  # after a line of which only the beginning found room
    assert [row["step"] for row in run.stats()] == [5, 10]
    assert Run.open(run.folder).config == folders.config()


def small_disk_free(disk: Path) -> int:
    free = os.statvfs(disk)
    return free.f_bavail * free.f_frsize


def test_a_checkpoint_is_read_without_its_neighbours(tmp_path: Path) -> None:
    """A checkpoint folder that was copied elsewhere is still one."""
    folder = written(tmp_path / "c").rename(tmp_path / "elsewhere")
    assert verified(folder, 7) == Checkpoint(folder, 7, True)


def test_only_what_is_read_is_hashed(tmp_path: Path) -> None:
    """Of the optimizers' state, the larger part of a checkpoint, a verb wants nothing."""
    folder = written(tmp_path / "c")
    folders.flip(folder / STATE)
    assert verified(folder, 7, [AVERAGE]).step == 7
    with pytest.raises(Damaged, match=STATE):
        verified(folder, 7)
    (folder / STATE).write_bytes(b"")
    with pytest.raises(Damaged, match="0 bytes instead"):
        verified(folder, 7, [AVERAGE])


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES])
def test_a_file_that_the_system_will_not_open_is_not_taken_for_damage(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an older checkpoint would stand for one that is whole."""
    folder = written(tmp_path / "c")

    def refused(path: Path) -> str:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr("ganvas.checkpoint.sha256", refused)
    with pytest.raises(RunError, match=f"{os.strerror(number)}; mend that"):
        verified(folder, 7)

"""One checkpoint of a run: a folder that is there whole or not at all, and that says itself whether it still is.

    weights.safetensors     the raw game
    ema.safetensors         the averaged game
    state.pt                optimisers, step, running log sums
    state-RANK.pt           what that rank remembers between rounds, if anything
    manifest.json           the SHA-256 and the size of each

``*.pt`` are read with ``weights_only=True``: nothing is ever unpickled with code execution.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ganvas import pickles
from ganvas.bounds import read_json, refuse_unless_regular
from ganvas.errors import Damaged, RunError
from ganvas.files import atomic_folder, sha256

if TYPE_CHECKING:
    from torch import Tensor

REFUSALS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM)
WEIGHTS, AVERAGE, STATE, MANIFEST = "weights.safetensors", "ema.safetensors", "state.pt", "manifest.json"


class File(msgspec.Struct, frozen=True):
    """What is known of a file."""

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint is of, and its files by name."""

    step: int
    calibrated: bool
    files: dict[str, File]
    paused: bool = False  # written where training was asked to stop, not where one was due


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint that is whole."""

    folder: Path
    step: int
    calibrated: bool
    paused: bool = False

    def weights(self) -> dict[str, Tensor]:
        """The raw game's tensors by name."""
        return self._tensors(WEIGHTS)

    def average(self) -> dict[str, Tensor]:
        """The averaged game's tensors by name, batch-norm statistics calibrated if ``calibrated``."""
        return self._tensors(AVERAGE)

    def state(self) -> dict[str, Any]:
        """Optimisers, step and running log sums."""
        return self._load(STATE)

    def memory(self, rank: int) -> dict[str, Tensor]:
        """What that rank remembers between rounds (its image pools), if anything."""
        name = f"state-{rank}.pt"
        return self._load(name) if (self.folder / name).exists() else {}

    def _tensors(self, name: str) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        try:
            return load_file(self.folder / name)
        except FileNotFoundError:  # removed meanwhile, by the process that trains
            raise
        except Exception as error:  # safetensors and torch raise whatever reading torn bytes leads to
            raise self._unread(name, error) from error

    def _load(self, name: str) -> dict[str, Any]:
        try:
            loaded = pickles.load(self.folder / name, verify=False)  # its digest was checked
        except FileNotFoundError:
            raise
        except (OSError, pickles.Refused) as error:
            raise self._unread(name, error) from error
        if not isinstance(loaded, dict):
            raise self._unread(name, f"it holds a {type(loaded).__name__}")
        return loaded

    def _unread(self, name: str, reason: object) -> Damaged:
        """What to raise for a file that is as the manifest says, and yet is none of ours."""
        line = str(reason).partition("\n")[0]
        return Damaged(f"{self.folder / name} was not written by ganvas ({line}): restore it from a copy.")


def verified(folder: Path, step: int, read: Collection[str] | None = None) -> Checkpoint:
    """The checkpoint of ``step`` in ``folder``. Raises Damaged, saying what is wrong, unless every file is as it was
    written.

    read: the files that will be read (default: all); of the others only the size is looked at, as reading them takes
    long.
    """
    try:
        manifest: Manifest = read_json(folder / MANIFEST, Manifest)
    except FileNotFoundError:
        raise Damaged(f"{MANIFEST} is missing") from None
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors, and so is text that is no text
        _refuse(error, folder / MANIFEST)
        raise Damaged(f"{MANIFEST} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if manifest.step != step:
        raise Damaged(f"{MANIFEST} is of step {manifest.step:,}")
    for name in (WEIGHTS, AVERAGE, STATE):
        if name not in manifest.files:
            raise Damaged(f"{MANIFEST} does not know {name}")
    for name, known in manifest.files.items():
        file = folder / name
        if name != os.path.basename(name) or "\0" in name:
            raise Damaged(f"{MANIFEST} names {name!r}, which is no file of a checkpoint")
        try:
            refuse_unless_regular(status := file.stat(), file)
            if (size := status.st_size) != known.bytes:
                raise Damaged(f"{name} has {size:,} bytes instead of {known.bytes:,}")
            if (read is None or name in read) and sha256(file) != known.sha256:
                raise Damaged(f"{name} is not what was written: its digest differs")
        except FileNotFoundError:
            raise Damaged(f"{name} is missing") from None
        except OSError as error:
            _refuse(error, file)
            raise Damaged(f"{name} cannot be read: {error.strerror}") from None
    return Checkpoint(folder, manifest.step, manifest.calibrated, manifest.paused)


def _refuse(error: Exception, file: Path) -> None:
    """Raises RunError where the system refused to open a file that may be whole: an older one must not stand for it."""
    if isinstance(error, OSError) and error.errno in REFUSALS:
        raise RunError(f"{file} cannot be read: {error.strerror}; mend that and run again.") from error


def paused(folder: Path) -> bool:
    """Whether a checkpoint, damaged or not, says that it was written where training was asked to stop."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest).paused
    except (OSError, ValueError):
        return False


def write(
    folder: Path,
    step: int,
    *,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    state: Mapping[str, Any],
    memory: Mapping[int, Mapping[str, Tensor]],
    calibrated: bool,
    paused: bool = False,
) -> None:
    """Writes a checkpoint beside ``folder``, then gives it that name. Raises OSError, leaving nothing, if it fails."""
    import torch
    from safetensors.torch import save_file

    with atomic_folder(folder, replace=True) as part:
        try:
            save_file(_plain(weights), part / WEIGHTS)
            save_file(_plain(average), part / AVERAGE)
            saved = {STATE: state, **{f"state-{rank}.pt": dict(buffers) for rank, buffers in memory.items()}}
            for name, value in saved.items():
                with (part / name).open("wb") as file:  # given a path, torch would hide why it could not write
                    torch.save(value, file)
        except Exception as error:
            if (reason := _system_error(error)) is None:
                raise
            raise reason from error
        files = {file.name: File(sha256(file), file.stat().st_size) for file in sorted(part.iterdir())}
        manifest = msgspec.json.encode(Manifest(step, calibrated, files, paused))
        (part / MANIFEST).write_bytes(msgspec.json.format(manifest, indent=2) + b"\n")


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors takes them: contiguous, on the CPU, sharing no memory."""
    seen: set[int] = set()
    plain = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        plain[name] = value.clone() if memory in seen else value
        seen.add(memory)
    return plain


def _system_error(error: BaseException | None) -> OSError | None:
    """Why the system refused to write, if it did: torch and safetensors wrap that in errors of their own."""
    while error is not None:
        if isinstance(error, OSError):
            return error
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            return OSError(int(number[1]), os.strerror(int(number[1])))
        error = error.__context__
    return None

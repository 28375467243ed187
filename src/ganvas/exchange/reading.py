"""Published checkpoint files: read with suspicion, freed of what training left in them, told apart by their keys."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganvas import pickles
from ganvas.bounds import open_regular
from ganvas.errors import Damaged, DataError
from ganvas.exchange.looks import KINDS, PART_OF, looks, unprefixed
from ganvas.files import sha256

LARGEST = 8 << 30  # bytes; the largest published net of these systems has 0.7e9
SHOWN = 4  # keys that a refusal lists
WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net")  # round a state dict, best first
WORDS = {"G": ("netG", "G", "generator"), "D": ("netD", "D", "discriminator"), "E": ("netE", "E", "encoder")}
SPECTRAL = (".weight_orig", ".parametrizations.weight.original")  # of a layer with spectral norm
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Published:
    """The tensors of one published net, float32 but for counters, and the file they are from."""

    part: str
    path: Path
    sha256: str
    tensors: Tensors

    @property
    def look(self) -> str:
        """What it is, as far as its keys tell."""
        return looks(self.tensors)[0]

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a convolution's weights. Raises DataError where there are none of that name."""
        if key not in self.tensors:
            raise self.refusal(f"it has no {key}, but {listed(self.tensors)}")
        found = tuple(self.tensors[key].shape)
        if len(found) != 4:
            raise self.refusal(f"{key} has {len(found)} dimensions, not the 4 of a convolution")
        return found

    def length(self, key: str) -> int:
        """The length of a bias. Raises DataError where there is none of that name."""
        if key not in self.tensors:
            raise self.refusal(f"it has no {key}, but {listed(self.tensors)}")
        return self.tensors[key].numel()

    def expect(self, *wanted: str, alike: str = "") -> str:
        """The look, which must be one of these, or ``alike``, of another net with the same keys. Raises DataError."""
        if normed := [key for key in self.tensors if key.endswith(SPECTRAL)]:
            raise self.refusal(
                f"it has spectral norm ({listed(normed)}), which these nets have not: take it off with "
                "torch.nn.utils.remove_spectral_norm (or parametrize.remove_parametrizations) and save it again",
                *wanted,
            )
        if (look := self.look) in (*wanted, alike):
            return look
        kind = PART_OF.get(look)
        swapped = f", which is {KINDS[kind]}" if kind is not None and kind != self.part[:1] else ""
        raise self.refusal(f"it looks like {look}{swapped}; its keys are {listed(self.tensors)}", *wanted)

    def refusal(self, why: str, *wanted: str) -> DataError:
        """The file cannot be this part, and why."""
        what = f" ({' or '.join(wanted)})" if wanted else ""
        return DataError(f"{self.path} cannot be {self.part}{what}: {why}.")


def read(part: str, path: Path) -> Published:
    """Reads one file, whatever wraps its state dict, and cleans it.

    Taken off: ``module.`` of DataParallel and ``_orig_mod.`` of torch.compile; a prefix that wraps all keys; the
    statistics that instance norm kept before torch 0.4 (statistics of a norm without weights). Half and double
    precision become float32. Raises DataError for what is no state dict, holds code, or numbers that are not finite;
    Damaged for a file that is cut short.
    """
    content = _load(path)
    tensors = _unwrapped(part, path, content)
    clean: Tensors = {}
    for key, value in tensors.items():
        name = re.sub(r"^((module|_orig_mod)\.)+", "", key)
        if strange := odd(value):
            raise DataError(f"{path} has a tensor that is not plain, {key} ({strange}): save plain tensors of floats.")
        if name in clean:
            raise DataError(f"{path} has two tensors that are called {name}, and one of them is {key}.")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise DataError(f"{path} says that {key} has {value.numel():,} numbers, and holds fewer.")
        clean[name] = value if name.endswith("num_batches_tracked") else value.float()
    clean = unprefixed(clean, _names(part))
    normed = {key.rpartition(".")[0] for key in clean if key.endswith((".weight", ".bias"))}
    clean = {
        k: value for k, value in clean.items() if not (k.endswith(STATISTICS) and k.rpartition(".")[0] not in normed)
    }
    if broken := [key for key, value in clean.items() if not bool(value.isfinite().all())]:
        raise DataError(f"{path} has numbers that are not finite, in {listed(broken)}.")
    if not clean:
        raise DataError(f"{path} holds no weights.")
    return Published(part, path, sha256(path), clean)


def odd(tensor: Tensor) -> str:
    """What is odd about a tensor of a file; "" of a plain one."""
    if tensor.is_nested:
        return "nested"
    if tensor.layout is not torch.strided:
        return "sparse"
    if tensor.is_meta:
        return "without data"
    if tensor.is_quantized:
        return "quantized"
    return "complex" if tensor.is_complex() else ""


def listed(names: Iterable[str]) -> str:
    """The first few of some names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _load(path: Path) -> Any:
    """What torch.save wrote, tensors and plain values alone: nothing in the file is run, and the checksums of a ZIP are
    verified."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(4)
        if size > LARGEST:
            raise DataError(f"{path} has {size:,} bytes, more than any net of these systems.")
        if not size:
            raise Damaged(f"{path} is empty: get it again.")
        if not head.startswith((pickles.ZIP, pickles.PICKLE)):
            raise DataError(
                f"{path} was not written by torch.save: it begins with {head!r}; give the .pth file itself."
            )
        return pickles.load(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except pickles.Torn as error:
        raise Damaged(
            f"{path} is cut short, damaged, or not written by torch.save ({size:,} bytes; {error}): get it again."
        ) from error
    except pickles.Refused as error:
        raise DataError(f"{path} {error}.") from error


def _names(part: str) -> list[str]:
    """What files call a part: its own name first, then the usual words for its kind."""
    kind = part.partition("_")[0]
    words = WORDS.get(kind, ())
    named = [part, f"net{part}", f"net_{part}", *(word + part[len(kind) :] for word in words), *words]
    return list(dict.fromkeys(named))


def _unwrapped(part: str, path: Path, content: Any) -> Tensors:
    """The state dict in ``content``: itself, or what lies under the part's own name or a usual wrapper's."""
    names = dict.fromkeys([*_names(part), *WRAPPERS])
    for _ in range(4):  # wrappers in wrappers
        if not isinstance(content, Mapping):
            raise DataError(f"{path} holds a {type(content).__name__}, not the state dict of a net.")
        content = {key: value for key, value in content.items() if isinstance(key, str)}
        inner = {key: value for key, value in content.items() if isinstance(value, Mapping)}
        found = next((name for name in names if name in inner), None)
        if found is None:
            tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
            if tensors:
                return tensors
            keys = listed(content) or "nothing"
            raise DataError(f"{path} holds no state dict of {part}: in it are {keys}.")
        content = inner[found]
    raise DataError(f"{path} wraps its state dict too often.")

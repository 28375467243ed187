"""The device that a name means on this machine."""

from __future__ import annotations

import torch

from ganvas.errors import UsageError


def device(name: str) -> str:
    """The device to work on: ``auto`` is CUDA where there is one, else the CPU. Raises UsageError for one that is not
    there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in there or (number and not number.isdecimal()):
        raise UsageError(f"There is no device {name!r}: auto, cpu, cuda or mps.")
    if not there[kind] or (kind == "cuda" and number and int(number) >= torch.cuda.device_count()):
        raise UsageError(f"The device {name!r} is not there on this machine; use --device auto or cpu.")
    return name

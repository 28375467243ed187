"""The device that a name means on this machine."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from ganvas.errors import UsageError

NAMES = "auto, cpu, cuda or mps"


def named(name: str) -> str:
    """The name of a device, without looking for it: needs no torch. Raises UsageError for what cannot be one."""
    if not re.fullmatch(r"auto|(cpu|cuda|mps)(:[0-9]{1,3})?", name):
        raise UsageError(f"There is no device {name!r}: {NAMES}.")
    return name


def device(name: str) -> str:
    """The device to work on: ``auto`` is CUDA where there is one, else the CPU. Raises UsageError for one that is not
    there."""
    import torch

    if named(name) == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if int(number or 0) >= there[kind]:
        raise UsageError(f"The device {name!r} is not there on this machine; use --device auto or cpu.")
    return name


def hardware(device: str = "cpu") -> str:
    """What a device is, in a clause: its processor, threads or accelerator, and the version of torch."""
    import torch

    if device.startswith("cuda"):
        what = torch.cuda.get_device_name(device)
    else:
        info = Path("/proc/cpuinfo")
        lines = info.read_text().splitlines() if info.exists() else []
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        threads = torch.get_num_threads()
        what = f"{names[0] if names else platform.processor()}, {threads} thread{'s' if threads > 1 else ''}"
    return f"{what}; torch {torch.__version__}"

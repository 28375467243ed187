"""What the pages of results share: commands as a user types them, and the hardware they ran on."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

import ganvas


def ganvas_command(*words: str) -> str:
    """Runs a command of ours; returns what it printed."""
    print("$ ganvas", *words, flush=True)
    ended = subprocess.run([sys.executable, "-m", "ganvas", *words], stdout=subprocess.PIPE, text=True, check=True)
    return ended.stdout


def hardware() -> str:
    """A sentence on the processor, the versions and the day."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (
        f"Hardware: {names[0] if names else platform.processor()}, {torch.get_num_threads()} threads; torch "
        f"{torch.__version__}; ganvas {ganvas.__version__}; {time.strftime('%Y-%m-%d')}."
    )

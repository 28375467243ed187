"""What the pages of results share: commands as a user types them, and the hardware they ran on."""

from __future__ import annotations

import subprocess
import sys
import time

import ganvas
from ganvas import devices


def ganvas_command(*words: str) -> str:
    """Runs a command of ours; returns what it printed."""
    print("$ ganvas", *words, flush=True)
    ended = subprocess.run([sys.executable, "-m", "ganvas", *words], stdout=subprocess.PIPE, text=True, check=True)
    return ended.stdout


def hardware() -> str:
    """A sentence on the processor, the versions and the day."""
    return f"Hardware: {devices.hardware()}; ganvas {ganvas.__version__}; {time.strftime('%Y-%m-%d')}."

"""How long the command line takes to say what it can do.

    python benchmarks/startup.py [--runs 20]

Wall seconds of whole processes, warm, median of the runs; a bare interpreter beside them. Goal: `ganvas --help` under
0.4 s, since it imports no torch.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "ganvas --help": ["-m", "ganvas", "--help"],
    "ganvas train avae --help": ["-m", "ganvas", "train", "avae", "--help"],
}


def seconds(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    for name, words in COMMANDS.items():
        seconds(words)
        found = [seconds(words) for _ in range(options.runs)]
        print(f"{name:28} {statistics.median(found):.3f} s ({min(found):.3f} to {max(found):.3f})")


if __name__ == "__main__":
    main()

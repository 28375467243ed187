"""What small files that unpack to a great deal may take: memory and time, measured in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_files import AS_MAPS, FILES, make

MOST_MIB = 512  # beyond what the process takes before it reads
MOST_BYTES = 10_000_000  # of such a file


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FILES, *(f"map:{name}" for name in AS_MAPS)])
def test_a_small_file_takes_little_memory_whatever_it_says_of_itself(name: str, tmp_path: Path) -> None:
    path = make(tmp_path, name)
    assert path.stat().st_size <= MOST_BYTES
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("hostile_files.py"), tmp_path, name],
        env={**os.environ, "GANVAS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    seconds, mib, said = done.stdout.strip().split(" ", 2)
    print(f"{name}: {path.stat().st_size:,} bytes, {seconds} s, {mib} MiB: {said}")
    assert float(mib) <= MOST_MIB, said

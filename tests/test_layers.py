"""Who may call whom, and what the command line may wait for."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "matplotlib", "sklearn", "skimage", "jinja2")


def python(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported_by(program: str) -> list[str]:
    """The heavy packages that a program pulls in."""
    return python(f"{program}\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])").split()


def test_arrows_go_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", ["ganvas", "ganvas.errors", "ganvas.files", "ganvas.verbs", "ganvas.schema"])
def test_light_modules_stay_light(module: str) -> None:
    assert imported_by(f"import {module}") == []


@pytest.mark.skipif(not importlib.util.find_spec("ganvas.cli"), reason="ganvas.cli is not written yet")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_does_not_wait_for_torch(arguments: list[str]) -> None:
    program = f"""
import sys
from ganvas.cli import main
sys.argv = ["ganvas", *{arguments}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
sys.stdout.flush()
"""
    shown = python(f"{program}\nprint('heavy:', *[name for name in {HEAVY} if name in sys.modules])")
    assert shown.splitlines()[-1].split() == ["heavy:"]
    assert len(shown.splitlines()) > 1

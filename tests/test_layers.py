"""Who may call whom, and what the command line may wait for."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import ganvas

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


def test_the_public_face_is_light_until_a_name_is_used() -> None:
    assert imported_by("import ganvas; assert 'train' in dir(ganvas); ganvas.errors.GanvasError; ganvas.Run") == []
    assert "torch" in imported_by("import ganvas; ganvas.train")


def test_the_stub_is_the_public_face() -> None:
    """Type checkers read the stub, Python reads the names off it."""
    stub = ast.parse((ROOT / "src/ganvas/__init__.pyi").read_text())
    names = [alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(ganvas.__all__) == sorted(name for name in names if name)
    assert {"train", "load", "systems", "errors", "evaluate", "compare", "interpolate"} <= set(ganvas.__all__)


@pytest.mark.parametrize("name", ganvas.__all__)
def test_a_public_name_is_what_it_says_whatever_was_imported_before(name: str) -> None:
    """A module of the same name would take its place as soon as somebody imports it."""
    for module in pkgutil.walk_packages(ganvas.__path__, "ganvas."):
        if module.name != "ganvas.__main__":
            importlib.import_module(module.name)
    kind = {"Run": inspect.isclass, "errors": inspect.ismodule}.get(name, inspect.isfunction)
    assert kind(getattr(ganvas, name))
    assert getattr(ganvas, name).__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="trian"):
        ganvas.trian  # noqa: B018

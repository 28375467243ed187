"""How long waiting threads spin, as the command line sets it before torch is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ganvas import threads

SCRIPT = """
import os, sys
from ganvas import cli
told = os.environ.get
cli.run = lambda words: print(told("GOMP_SPINCOUNT"), told("OMP_WAIT_POLICY"), "torch" in sys.modules)
cli.main()
"""


@pytest.mark.parametrize(
    ("given", "want"),
    [({}, f"{threads.SPIN_COUNT} None"), ({"GOMP_SPINCOUNT": "7"}, "7 None"),
     ({"OMP_WAIT_POLICY": "active"}, "None active")],
)  # fmt: skip
def test_the_command_line_limits_spinning_before_torch_is_loaded_unless_the_user_has(
    given: dict[str, str], want: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in threads.USERS_OWN:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert ended.stdout == f"{want} False\n"


def test_importing_the_package_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in threads.USERS_OWN:
        monkeypatch.delenv(name, raising=False)
    script = "import os, ganvas, ganvas.training; print('GOMP_SPINCOUNT' in os.environ)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"

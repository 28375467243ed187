"""What is asked of the C library is taken in some measure."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest

from ganvas.memory import MOST_BYTES, SURE_BYTES, hold_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
@pytest.mark.parametrize("most", [MOST_BYTES, SURE_BYTES])
def test_a_library_that_takes_less_is_given_less(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: dict[int, int] = {}

    def mallopt(parameter: int, value: int) -> int:
        if value <= most:
            taken[parameter] = value
        return int(value <= most)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    hold_memory()
    assert taken == {-1: most, -3: most}

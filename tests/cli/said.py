"""What a command line left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

import ganvas


@dataclass(frozen=True)
class Said:
    """A command's exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        found = msgspec.json.decode(self.out)
        assert isinstance(found, dict)
        assert self.out.count("\n") == 1
        assert found["version"] == ganvas.__version__
        return found


Command = Callable[..., Said]  # of words, and the exit code that must come (default: 0)
Refusal = Callable[..., str]  # of words; gives the sentence on stderr

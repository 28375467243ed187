"""What is wrong with a command's words that can be told before torch is imported: runs and data that are not there,
devices that there cannot be."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganvas.errors import DataError


def check(arguments: Mapping[str, Any]) -> None:
    """Checks the arguments of a command by their names. Raises UsageError, RunError, DataError."""
    for name, value in arguments.items():
        if value is None:
            continue
        if name == "training":  # the flags that every system has
            check({"device": value.device, "data": value.data, "init": value.init})
        elif name == "device":
            from ganvas.devices import named

            named(value)
        elif name in ("run", "init"):
            from ganvas.run import Run

            Run.open(value)
        elif name in ("data", "input", "spec", "a", "b", "style_from", "image", "from_", "to") and isinstance(
            value, str
        ):
            check_data(value)


def check_data(text: str) -> None:
    """Raises UsageError for a data spec that makes no sense, DataError for one that names nothing that is there."""
    from ganvas.data import named
    from ganvas.data.spec import GROUPED, parse

    if Path(text).exists():
        return
    spec = parse(text)
    if spec.kind in ("mixture", "hub", *GROUPED) or spec.source in named.names() or not _missing(spec.source):
        return
    raise DataError(named.absent(spec.source))


def _missing(source: str) -> bool:
    """Whether a source cannot be anything that is there."""
    if glob.has_magic(source) or "{" in source or "\0" in source:  # a pattern, which says itself what it misses
        return False
    try:
        os.stat(os.path.expanduser(source))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return False
    return False

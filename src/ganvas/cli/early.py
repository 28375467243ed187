"""What is wrong with a command's words that can be told before torch is imported: runs and data that are not there,
devices that there cannot be."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from ganvas.errors import DataError

METAVARS = ("SPEC", "INPUT", "IMAGE", "A", "B")  # of arguments that are data specs


def check(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Checks the arguments of a command. Raises UsageError, RunError, DataError."""
    hints = get_type_hints(function, include_extras=True)
    for name, value in arguments.items():
        metavars = {getattr(told, "metavar", None) for told in getattr(hints.get(name), "__metadata__", ())}
        if value is None:
            continue
        if name == "training":  # the flags that every system has
            check(type(value), {name: getattr(value, name) for name in ("device", "data", "init")})
        elif name == "device":
            from ganvas.devices import named

            named(value)
        elif name in ("run", "init"):
            from ganvas.run import Run

            Run.open(value)
        elif metavars & set(METAVARS):
            check_data(value)


def check_data(text: str) -> None:
    """Raises UsageError for a data spec that makes no sense, DataError for one that names nothing that is there."""
    from ganvas.data import named
    from ganvas.data.spec import GROUPED, parse

    if os.path.exists(text):  # which is not put off by a name that no file can have
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

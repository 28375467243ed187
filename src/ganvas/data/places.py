"""Which place a data spec names, however its path is spelled."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ganvas.data import named
from ganvas.data.opening import EMBEDDED
from ganvas.data.spec import GROUPED, Spec


def is_path(spec: Spec) -> bool:
    """Whether the source is a path, or a pattern of paths: not a named set, a set of the Hub or a mixture."""
    if spec.kind in ("hub", "mixture"):
        return False
    return spec.kind in GROUPED or spec.source not in (*EMBEDDED, *named.SETS)


def places(spec: Spec, root: str | None = None) -> Sequence[str]:
    """The real paths that a spec names, two where it names two folders; or its name, where it names no path.

    root: the folder that relative paths start from (default: this process's).
    """
    if not is_path(spec):
        return (f"{spec.kind or ''}:{spec.source}:{spec.config or ''}",)
    whole = _real(spec.source, root)
    parts = spec.source.split(",")
    if spec.kind in GROUPED and not os.path.exists(whole):
        for i in range(1, len(parts)):
            two = [_real(",".join(some), root) for some in (parts[:i], parts[i:])]
            if all(map(os.path.isdir, two)):
                return two
    return (whole,)


def _real(source: str, root: str | None) -> str:
    try:
        return os.path.realpath(os.path.join(root or "", os.path.expanduser(source)))
    except (OSError, ValueError):  # nothing can have such a name
        return source


def same_place(asked: Spec, own: Spec, root: str | None = None) -> bool:
    """Whether ``asked`` names the very data of ``own``, whose relative paths start from ``root``, and as its kind.

    Images may be asked for by their kind or without; of other data, no kind is its own.
    """
    kinds = {None, own.kind} | ({"images"} if own.kind is None else set())
    return asked.kind in kinds and list(places(asked)) == list(places(own, root))

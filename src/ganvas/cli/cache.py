"""The command on the cache."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ganvas.cache import Entry
from ganvas.cli.flags import Answer, default
from ganvas.errors import UsageError


def cache(
    action: Annotated[Positional[Literal["list", "prune"]], arg(metavar="list|prune")] = "list",
    older_than: Annotated[float | None, arg(metavar="DAYS"), default("any age stays")] = None,
    larger_than: Annotated[float | None, arg(metavar="GB"), default("any size stays")] = None,
    dry_run: bool = False,
) -> Answer:
    """List the stores and downloads that are kept, or remove those that were not used for long.

    The cache is the user's cache folder, or the folder that GANVAS_CACHE names. A store is data as it was read, and is
    made again from its source whenever it is needed; a download is fetched again by ganvas fetch. Whatever a killed
    process left half-done goes in any case. What a running process uses stays, and so do files that you put there.

    Args:
        action: list shows everything; prune removes.
        older_than: prune: remove what was not used for so many days.
        larger_than: prune: remove what was not used for the longest, until the rest fits into so many gigabytes.
        dry_run: prune: only say what would be removed.
    """
    if action == "list":
        if older_than is not None or larger_than is not None or dry_run:
            raise UsageError("--older-than, --larger-than and --dry-run are for ganvas cache prune.")
        return _list()
    for flag, value in (("older-than", older_than), ("larger-than", larger_than)):
        if value is not None and not 0 <= value < float("inf"):
            raise UsageError(f"--{flag} must be a number from 0, not {value:g}.")
    return _prune(older_than, larger_than, dry_run)


def _list() -> Answer:
    from ganvas.cache import entries
    from ganvas.files import cache_folder

    found = entries()
    total, figures = sum(entry.bytes for entry in found), [entry for entry in found if entry.kind == "figures"]
    rows = [("size", "last use", "kind", "of", "")]
    for entry in found:
        if entry.kind != "figures":
            rows.append((size(entry.bytes), _ago(entry.used), entry.kind, entry.what, entry.kept or _where(entry)))
    if figures:  # each is small, and there are many
        used = _ago(max(entry.used for entry in figures))
        rows.append((size(sum(entry.bytes for entry in figures)), used, "figures", f"{len(figures)} files", ""))
    rows.append((size(total), "", "total", str(cache_folder()), ""))
    widths = [max(len(row[i]) for row in rows) for i in range(3)] + [max(len(row[3]) for row in rows[:-1])]
    lines = [f"{row[0]:>{widths[0]}}  " + "  ".join(f"{row[i]:{widths[i]}}" for i in (1, 2, 3)) for row in rows]
    shown = [
        f"{line}  {row[4]}".rstrip() for line, row in zip(lines, rows, strict=True)
    ]  # never folded: paths are copied
    return Answer({"folder": str(cache_folder()), "bytes": total, "entries": _told(found)}, "\n".join(shown))


def _prune(older_than: float | None, larger_than: float | None, dry_run: bool) -> Answer:
    from ganvas.cache import clean_up, entries, prune

    freed = 0 if dry_run else clean_up()
    gone = prune(older_than_days=older_than, larger_than_gb=larger_than, dry_run=dry_run)
    removed = sum(entry.bytes for entry in gone)
    left = sum(entry.bytes for entry in entries()) - (removed if dry_run else 0)
    lines = [f"{size(entry.bytes):>9}  {entry.kind} of {entry.what}, last used {_ago(entry.used)}" for entry in gone]
    if freed:
        lines.append(f"{size(freed):>9}  left half-done by processes that were killed")
    said = "would be removed" if dry_run else "removed"
    lines.append(f"{said} {size(removed + freed)}; {size(left)} {'would be left' if dry_run else 'are left'}")
    if older_than is None and larger_than is None:
        lines.append("to remove more, say --older-than DAYS or --larger-than GB (see ganvas cache list)")
    elif larger_than is not None and left > larger_than * 1e9:
        lines.append(f"what is left is over {larger_than:g} GB: it is in use, or was not fetched by ganvas")
    fields = {"removed": _told(gone), "bytes": removed + freed, "bytes_left": left, "dry_run": dry_run}
    return Answer(fields, "\n".join(lines))


def _told(found: Sequence[Entry]) -> list[dict[str, Any]]:
    return [
        {
            "kind": entry.kind,
            "of": entry.what,
            "source": entry.source or None,
            "bytes": entry.bytes,
            "used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.used)),
            "path": str(entry.path),
            "kept": entry.kept or None,
        }
        for entry in found
    ]


def _where(entry: Entry) -> str:
    """The source, where the spec does not tell where it lies."""
    return entry.source if entry.source and entry.source not in entry.what else ""


def size(n: int) -> str:
    """Bytes, for people."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if n >= unit:
            return f"{n / unit:.3g} {name}" if n < 1000 * unit else f"{n / unit:,.0f} {name}"
    return f"{n / 1e3:.3g} kB" if n else "0 kB"


def _ago(then: float) -> str:
    """How long ago, for people."""
    seconds = max(0.0, time.time() - then)
    for unit, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if (n := int(seconds // unit)) > 0:
            return f"{n} {name}{'s' if n > 1 else ''} ago"
    return "just now"

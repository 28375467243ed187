"""Commands on what there is to train, and to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ganvas.cli.flags import Answer, default, describes, facts


def systems() -> Answer:
    """List the systems, what each can do, and their presets."""
    from rich.table import Table

    from ganvas import games

    table = Table("system", "", "presets", "verbs", box=None, padding=(0, 2, 0, 0))
    rows = []
    for name, system in games.systems().items():
        rows.append({"name": name, "summary": system.summary, "verbs": system.verbs, "presets": list(system.presets)})
        table.add_row(name, system.summary, " ".join(system.presets), " ".join(system.verbs))
    return Answer({"systems": rows}, table)


def _known() -> str:
    from ganvas.data import keys, kinds
    from ganvas.data.named import SETS

    sets = {name: f"{one.originals}{f'; read as ?{one.keys}' * bool(one.keys)}" for name, one in SETS.items()}
    lines = ["Kinds:", "", *(f"    {name}: {help}" for name, help in kinds().items()), ""]
    lines += ["Keys:", "", *(f"    {name}: {help}" for name, help in keys().items()), ""]
    lines += [
        "Sets that have a name, once `ganvas fetch` has been asked for it, or as a folder with the originals:",
        "",
    ]
    return "\n".join([*lines, *(f"    {name}: {text}" for name, text in sets.items())])


@describes(_known)
def data(
    spec: Annotated[Positional[str], arg(metavar="SPEC")],
    out: Annotated[Path | None, arg(metavar="SHEET.png"), default("no sheet")] = None,
) -> Answer:
    """Show what a data spec finds; with --out, draw a contact sheet of it.

    SPEC = [KIND:]SOURCE[?key=value&...], such as photos/, 'photos/?size=64&flip=true', set.zip, arrays.npz,
    'data/train-*.parquet?stream=true', hub:mnist, cifar10, digits, photos, mixture:ring8, a folder with trainA/ and
    trainB/, paired:sketches,photos or 'labels:streets?scale_width=512&crop=256'.

    Args:
        spec: The data.
        out: Where to draw a contact sheet: images from all over the data.
    """
    from ganvas.data import contact_sheet, open_data
    from ganvas.ops.sheet import save_image
    from ganvas.output import kind_of, saving

    if out is not None:
        kind_of(out, among=("sheet",))
    dataset = open_data(spec)
    found, sheet = dataset.found, None if out is None else str(out)
    if out is not None:
        with saving(out):
            save_image(contact_sheet(dataset), out)
    return Answer({**found, "sheet": sheet}, _found(found, sheet))


def _published() -> str:
    from ganvas import weights  # and no data sets, which would wait for torch

    known = " ".join(weights.names())
    return f"NAME is a data set, of those that ganvas data --help lists; or weights: {known} (all that metrics need)."


@describes(_published)
def fetch(
    name: Annotated[Positional[str], arg(metavar="NAME")],
    dest: Annotated[Path | None, arg(metavar="DIR"), default("the cache, where ganvas looks for it")] = None,
) -> Answer:
    """Download a named data set or weight file from its publisher, checksum verified.

    What is there whole is not fetched again.

    Args:
        name: The data set or the weights.
        dest: The folder to put it into.
    """
    from ganvas.fetching import fetch as download

    path = download(name, dest)
    return Answer({"name": name, "path": str(path)}, str(path))


def _found(found: dict[str, Any], sheet: str | None) -> str:
    """What `Dataset.found` says, for people."""
    shapes = (f"{name} {'x'.join(map(str, shape)) or 'number'}" for name, shape in found["fields"].items())
    more = found["different_sizes"] - len(found["sizes"])
    rows = {
        "data": found["spec"],
        "read as": f"{found['kind']}: {'; '.join([found['layout'], *found.get('arrangement', [])])}",
        "rows": _rows(found),
        "a row": ", ".join(shapes),
        "classes": _counts(found["classes"]) or _shares(found),
        "sizes": _counts(found["sizes"]) + (f" and {more} more" if more > 0 else ""),
        "modes": _counts(found["modes"]),
        "bad files": _bad(found["bad"]),
        "left out": "\n".join(map(_left_out, found.get("left_out", []))),
        "notes": "\n".join(found.get("notes", [])),
        "fingerprint": found["fingerprint"][:16],
        "sheet": sheet or "",
    }
    return facts(rows)


def _rows(found: dict[str, Any]) -> str:
    """How many rows each split has; of unpaired sets, each side."""
    if "sides" not in found:
        return ", ".join(f"{split} {n:,}" for split, n in found["splits"].items())
    of = {split: ", ".join(f"{side} {n:,}" for side, n in sides.items()) for split, sides in found["sides"].items()}
    return "; ".join(f"{split} {counts}" for split, counts in of.items())


def _shares(found: dict[str, Any]) -> str:
    """Which share of the pixels each class has, in percent, and void."""
    if "shares" not in found:
        return ""
    present = {name: share for name, share in found["shares"].items() if share}
    shares = ", ".join(f"{name} ({100 * share:.3g}%)" for name, share in present.items())
    absent = len(found["shares"]) - len(present)
    rest = f", {absent} others nowhere" if absent else ""
    return f"{len(found['shares'])}, by pixels: {shares}{rest}; void {100 * found['void']:.3g}%"


def _counts(counts: dict[str, int], most: int = 12) -> str:
    shown = ", ".join(f"{name} ({n:,})" for name, n in list(counts.items())[:most])
    return f"{shown} and {len(counts) - most} more" if len(counts) > most else shown


def _left_out(entry: dict[str, Any]) -> str:
    """One reason for which files are left out: how many, and which."""
    names = ", ".join(entry["names"])
    more = ", ..." if entry["count"] > len(entry["names"]) and not names.endswith("/") else ""
    return f"{entry['reason']} ({entry['count']:,}): {names}{more}"


def _bad(bad: dict[str, Any], most: int = 10) -> str:
    if not bad["count"]:
        return ""
    lines = [f"{name}: {reason}" for name, reason in list(bad["files"].items())[:most]]
    hidden = bad["count"] - len(lines)
    return "\n".join([f"{bad['count']} of {bad['of']:,}, skipped", *lines, *([f"... {hidden} more"] if hidden else [])])

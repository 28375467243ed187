"""The AVAE table as pages: Markdown, CSV, JSON, HTML, and sheets of its models' pictures side by side."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
import numpy as np

from ganvas.benchmark.cell import PICTURES
from ganvas.benchmark.result import Table
from ganvas.benchmark.scoring import SHOWN, originals
from ganvas.benchmark.table import ALIKE, CLOSE, FAR, NOTES, TITLES, Verdict, published
from ganvas.bounds import read_json
from ganvas.console import clock
from ganvas.data import Dataset, named
from ganvas.errors import RunError
from ganvas.files import atomic, writing
from ganvas.ops.sheet import save_image, strips

DIGITS = {"mse": 3, "lpips-alex": 3}  # after the point; others one
HEADS = {"mse": "MSE", "lpips-alex": "LPIPS-alex", "fd-alex": "fd-alex", "fid": "FID"}
PUBLISHED = ("mse", "lpips", "fid")


def write(table: Table) -> None:
    """Writes every page into the table's folder, each whole or not at all. Raises RunError."""
    with writing(table.folder):
        sheets = {
            f"{data}-{kind}.png": picture
            for data in table.data
            for kind, draw in _SHEETS.items()
            if (picture := draw(table, data)) is not None
        }
        for name, picture in sheets.items():
            save_image(picture, table.folder / name)
        _put(table.folder / "table.json", msgspec.json.format(msgspec.json.encode(table.to_json()), indent=1).decode())
        _put(table.folder / "table.csv", _csv(table))
        _put(table.folder / "table.md", _markdown(table, list(sheets)))
        _put(table.folder / "table.html", _html(table, list(sheets)))


def before(folder: Path) -> dict[str, Any] | None:
    """The ``table.json`` in a folder, None where there is none. Raises RunError for one that is not ours."""
    path = folder / "table.json"
    try:
        found: dict[str, Any] = read_json(path, dict[str, Any])
        if not all(isinstance(found[name], int | float) for name in ("seconds", "width", "steps")):
            raise ValueError("no seconds, width and steps")
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path} is no table of ours ({error}): choose another --out.") from None


def _put(path: Path, text: str) -> None:
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


# ---- cells of the pages ----------------------------------------------------------------------------------------------
def _spread(mean: float, std: float | None, digits: int) -> str:
    return f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")


def figure(table: Table, row: str, data: str, metric: str) -> str:
    found = table.mean(row, data, metric)
    return "" if found is None else _spread(found.mean, found.std, DIGITS.get(metric, 1))


def _published(row: str, data: str, metric: str) -> str:
    found = published(row, metric, data)
    return "" if found is None else _spread(*found, 2)


def steps_of(table: Table, row: str, data: str) -> str:
    """How far a row's runs are, how many of its seeds there are where that is not all, and whether any failed."""
    found = [r.step for r in table.results if (r.cell.row, r.cell.data) == (row, data)]
    said = [f"{step:,}" for step in sorted(set(found))]
    if found and len(found) < table.seeds:
        said.append(f"{len(found)} of {table.seeds} seeds")
    if any(name.startswith(f"{row} on {data},") for name in table.failures):
        said.append("failed")
    return ", ".join(said)


def _grid(table: Table, data: str) -> tuple[list[str], list[list[str]]]:
    heads = ["model", *(HEADS[m] for m in table.metrics), "steps", *(f"{HEADS.get(m, m.upper())} (published)"
             for m in PUBLISHED)]  # fmt: skip
    body = [
        [
            TITLES[row],
            *(figure(table, row, data, m) for m in table.metrics),
            steps_of(table, row, data),
            *(_published(row, data, m) for m in PUBLISHED),
        ]
        for row in table.rows
    ]
    return heads, body


def said(verdict: Verdict) -> str:
    return {True: "holds", False: "does not hold", None: "not judged"}[verdict.holds]


def _recipes(table: Table) -> dict[str, str]:
    """Metric -> how it was measured; where cells differ in that, each way."""
    hidden = ("seed", "data", "warning")
    ways: dict[str, dict[str, dict[str, None]]] = {}
    for result in table.results:
        for name, figure in result.metrics.items():
            for key, value in {"N": f"{figure['n']:,}", **figure["recipe"]}.items():
                if key not in hidden:
                    ways.setdefault(name, {}).setdefault(key, {})[str(value)] = None
    for name, found in ways.items():
        spent = [r.seconds[name] for r in table.results if name in r.seconds]
        found["time"] = {f"{fmean(spent):.0f} s a cell": None} if spent else {}
    return {
        name: "; ".join(f"{key}: {' or '.join(values)}" for key, values in found.items() if values)
        for name, found in ways.items()
    }


def _failures(table: Table) -> dict[str, str]:
    return {name: outcome.message for name, outcome in table.failures.items()}


def _size(table: Table) -> str:
    runs = f"{table.seeds} seeds, mean ± standard deviation (n - 1)" if table.seeds > 1 else "one seed"
    return f"Width {table.width}, {table.steps:,} steps of 64 images, {runs}."


def doubt(name: str, data: Dataset) -> str:
    """A sentence where data under a published name cannot be that set."""
    train = data.splits.get(named.SETS[name].train, data.splits.get("train", 0))
    return named.doubt(name, data.spec, train, data.schema["image"][0], len(data.schema.classes))


def _notes(table: Table) -> list[str]:
    """What a reader must know besides the recipes."""
    differs = [f"{data}: {named.SETS[data].differs}." for data in table.data if named.SETS[data].differs]
    warnings = {
        f"Warning, {name} of {r.cell.name}: {figure['recipe']['warning']}."
        for r in table.results
        for name, figure in r.metrics.items()
        if "warning" in figure["recipe"]
    }
    ran = [f"Ran on {'; '.join(table.hardware())}."] if table.results else []
    doubts = [f"{sentence}." for name, data in table.test.items() if (sentence := doubt(name, data))]
    return [
        *doubts,
        *NOTES,
        *differs,
        *sorted(warnings),
        *ran,
        f"Wall time of all calls so far: {clock(table.seconds)}.",
    ]


PUBLISHED_NOTE = (
    "Columns marked (published) are those of Plumerault et al. 2020 (arXiv:2012.11551): width 128, 50,000 steps, five "
    "runs."
)
CLAIMS_NOTE = (
    f"The claims are the published table's; what counts as close ({CLOSE:g}x), far ({FAR:g}) and nearly the same "
    f"({ALIKE:.0%}) is our reading, chosen so that the published numbers meet every claim on every set, and applied to "
    "fd-alex where FID was not measured."
)


# ---- the pages -------------------------------------------------------------------------------------------------------
def _markdown(table: Table, sheets: list[str]) -> str:
    lines = ["# The AVAE table", "", _size(table), PUBLISHED_NOTE, ""]
    for data in table.data:
        heads, body = _grid(table, data)
        lines += [f"## {data}", "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        lines += [f"| {' | '.join(line)} |" for line in body]
        lines += ["", "| what the published table says | here | by |", "|---|---|---|"]
        lines += [f"| {v.claim} | {said(v)} | {v.why} |" for v in table.verdicts(data)]
        lines += [""]
        lines += [f"![{name.rpartition('.')[0]}]({name})" for name in sheets if name.startswith(f"{data}-")]
        lines += [""]
    lines += ["## How it was measured", ""]
    lines += [f"- **{name}**: {recipe}" for name, recipe in _recipes(table).items()]
    lines += ["", "## Notes", "", *(f"- {line}" for line in [CLAIMS_NOTE, *_notes(table)])]
    if table.command:
        lines += ["", "```sh", table.command, "```"]
    if table.failures:
        lines += ["", "## Failed", "", *(f"- {name}: {why}" for name, why in _failures(table).items())]
    return "\n".join(lines) + "\n"


def _csv(table: Table) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["model", "data", "metric", "mean", "std", "seeds", "steps", "published mean", "published std"])
    for data in table.data:
        for row in table.rows:
            for metric in table.metrics:
                mean = table.mean(row, data, metric)
                known = published(row, {"lpips-alex": "lpips"}.get(metric, metric), data)
                if mean is not None or known is not None:
                    found = ["", "", 0, ""] if mean is None else [
                        repr(mean.mean), "" if mean.std is None else repr(mean.std), mean.seeds,
                        " ".join(map(str, mean.steps)),
                    ]  # fmt: skip
                    writer.writerow([row, data, metric, *found, *(known or ("", ""))])
    return out.getvalue()


def _html(table: Table, sheets: list[str]) -> str:
    from jinja2 import Environment, PackageLoader

    page = Environment(loader=PackageLoader("ganvas.benchmark", "."), autoescape=True, trim_blocks=True)
    sets = [
        {
            "name": data,
            "grid": _grid(table, data),
            "verdicts": [(v, said(v)) for v in table.verdicts(data)],
            "sheets": [
                (name, base64.b64encode((table.folder / name).read_bytes()).decode())
                for name in sheets
                if name.startswith(f"{data}-")
            ],
        }
        for data in table.data
    ]
    return page.get_template("table.html.jinja").render(
        size=_size(table),
        note=PUBLISHED_NOTE,
        sets=sets,
        recipes=_recipes(table),
        failures=_failures(table),
        command=table.command,
        notes=[CLAIMS_NOTE, *_notes(table)],
    )


# ---- sheets ----------------------------------------------------------------------------------------------------------
def _pictures(table: Table, data: str, kind: str) -> dict[str, Any]:
    """Title -> uint8 [N, H, W, C] of the first seed of every row that has such pictures."""
    found: dict[str, Any] = {}
    for result in table.results:
        if result.cell.data != data or TITLES[result.cell.row] in found:
            continue
        try:
            with np.load(Path(result.cell.folder) / PICTURES, allow_pickle=False) as arrays:
                if kind in arrays:
                    found[TITLES[result.cell.row]] = arrays[kind][:SHOWN]
        except (OSError, ValueError):
            continue
    return found


def _named(rows: dict[str, Any]) -> Any:
    return strips({title.replace("ξ", "xi"): pictures for title, pictures in rows.items()})  # no ξ in Pillow's font


def _samples(table: Table, data: str) -> Any:
    found = _pictures(table, data, "samples")
    return _named(found) if found else None


def _reconstructions(table: Table, data: str) -> Any:
    found = _pictures(table, data, "reconstructions")
    return _named({"images": originals(table.test[data]), **found}) if found else None


_SHEETS: dict[str, Callable[[Table, str], Any]] = {"samples": _samples, "reconstructions": _reconstructions}

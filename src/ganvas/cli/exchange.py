"""Commands that import published checkpoints, and export runs as such."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ganvas.cli.flags import EVERYWHERE, Answer, RunFolder, default, facts
from ganvas.cli.runs import last, spelt_out
from ganvas.errors import UsageError

USAGE = "usage: ganvas import --as SYSTEM PART=FILE ... --out RUN [--LEAF value]"


@dataclass(frozen=True)
class Importing:
    """Flags that every system has."""

    parts: Annotated[Positional[list[str]], arg(metavar="PART=FILE")]
    """The nets and their files, such as G_A=latest_net_G_A.pth; what needs a net without a file is refused."""
    out: Annotated[Path, arg(metavar="RUN")]
    """The run folder to make."""
    as_: Annotated[str, arg(name="as", metavar="SYSTEM")]
    """Whose checkpoints they are."""
    labels: Annotated[int | None, default("read from the files")] = None
    """Number of classes of the label maps that the net takes; 0: it takes images."""
    size: Annotated[str | None, arg(metavar="N|WxH"), default("as published")] = None
    """Size that images are stretched to before they are translated."""


def import_() -> Answer:
    """Make a run from published checkpoints; ganvas import --help lists the systems and their parts."""
    raise UsageError(USAGE)


def importer(words: Sequence[str]) -> tuple[Callable[..., Answer], str, list[str]]:
    """The command ``import`` as a typed function of the flags of the system that the words name, its name in messages,
    and its words. Raises UsageError where they name none."""
    name = last(words, "--as")
    if name is None:
        if {"-h", "--help"} & set(words):
            print(_help())
            raise SystemExit(0)
        raise UsageError(f"{USAGE} (see ganvas import --help).")
    from ganvas import games
    from ganvas.exchange.importing import PRESET
    from ganvas.exchange.layouts import layout

    kept, system = layout(name), games.system(name)
    config, _ = system.preset(PRESET)
    leaves = {f.name for f in fields(config)}
    said = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
    given = {name for name in leaves if {name, f"no_{name}"} & said}

    def run(importing: Importing, own: Any = config) -> Answer:
        return _import(name, importing, {name: getattr(own, name) for name in given})

    run.__doc__ = (
        f"Make a run from published checkpoints of {name} ({kept.source}).\n\nParts: "
        f"{', '.join(f'{part} ({file})' for part, file in kept.files.items())}."
    )
    run.__annotations__ = {"importing": Importing, "own": Annotated[system.config, arg(name=name)]}
    return run, "ganvas import", ["", *_parts_first(spelt_out(words, system.config), kept.files)]


def _parts_first(words: Sequence[str], parts: Container[str]) -> list[str]:
    """The words with every PART=FILE before the flags, so that these may stand between them."""
    ahead = [
        word.partition("=")[0] in parts and "=" in word and before != "--out" for before, word in pairwise(["", *words])
    ]
    split = [[word for word, first in zip(words, ahead, strict=True) if first is wanted] for wanted in (True, False)]
    return [*split[0], *split[1]]


def _help() -> str:
    from ganvas.exchange.layouts import LAYOUTS

    width = max(map(len, LAYOUTS))
    rows = [f"  {name:{width}}  {' '.join(kept.files)}, of {kept.source}" for name, kept in LAYOUTS.items()]
    return "\n".join(
        [
            f"{USAGE}, such as",
            "  ganvas import --as cyclegan G_A=latest_net_G_A.pth --out runs/official",
            "",
            "Make a run from published checkpoints of these systems and parts:",
            *rows,
            "",
            f"ganvas import --as SYSTEM --help lists a system's flags. {EVERYWHERE}",
        ]
    )


def _import(system: str, importing: Importing, leaves: dict[str, Any]) -> Answer:
    from ganvas.exchange import import_run

    parts: dict[str, str] = {}
    for word in importing.parts:
        part, equals, file = word.partition("=")
        if not (part and equals and file):
            raise UsageError(f"Write a part and its file as PART=FILE, such as G=latest_net_G.pth, not {word!r}.")
        if part in parts:
            raise UsageError(f"{part} is given twice: {parts[part]} and {file}.")
        parts[part] = file
    size = None if importing.size is None else _size(importing.size)
    run = import_run(system, parts, out=importing.out, labels=importing.labels, size=size, **leaves)
    return Answer(run.info(), str(run.folder))


def _size(text: str) -> tuple[int, int]:
    from ganvas.data.spec import read_size

    try:
        return read_size(text)
    except ValueError as error:
        raise UsageError(f"--size takes {error}, not {text!r}.") from None


def export(
    run: RunFolder,
    to: Annotated[Literal["published"], arg(metavar="published")],
    out: Annotated[Path, arg(metavar="DIR")],
) -> Answer:
    """Write a run as checkpoints for its authors' own program, and check that they give the same output.

    Args:
        run: The run folder.
        to: The format: published, that of the authors' program.
        out: The folder to make.
    """
    from ganvas.exchange import export_published
    from ganvas.run import Run

    opened = Run.open(run)
    found = export_published(opened, out)
    shown = {
        str(one.file): f"{one.part}, {one.tensors} tensors of {one.numbers:,} numbers; read back from the file, its "
        f"output differs by at most {one.difference:.3g}"
        for one in found
    }
    rows = [
        {"part": one.part, "file": str(one.file), "tensors": one.tensors, "numbers": one.numbers,
         "difference": one.difference}
        for one in found
    ]  # fmt: skip
    return Answer({"run": str(run), "out": str(out), "parts": rows}, f"{facts(shown)}\n{out}")

"""What to say of a flag that a command does not have: where it belongs, or what it stands for."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

from ganvas.errors import near

WRITTEN = {
    "report": "the report is written into the run folder, as RUN/report.html",
    "evaluate": "figures go to stdout and into the run folder; with --json as one object",
    "compare": "figures go to stdout; with --json as one object",
    "info": "it goes to stdout; with --json as one object",
    "runs": "the table goes to stdout; with --json as one object",
    "systems": "the list goes to stdout; with --json as one object",
    "calibrate": "the checkpoint is written into the run folder",
    "fetch": "--dest says where to",
}  # commands without --out
INPUTS = {"train": "--data 'SPEC?", "evaluate": "--data 'SPEC?", "calibrate": "--data 'SPEC?", "data": "'SPEC?",
          "compare": "'SPEC?", "encode": "'INPUT?", "reconstruct": "'INPUT?", "translate": "'INPUT?"}  # fmt: skip
MEANT = {
    **dict.fromkeys(("image-size", "img-size", "resolution", "res", "imsize"), "size"),
    **dict.fromkeys(("hflip", "horizontal-flip", "mirror"), "flip"),
    **dict.fromkeys(("crop-size", "center-crop", "centre-crop"), "crop"),
}  # words for keys of data specs
ALIKE = {
    **dict.fromkeys(("iterations", "iters", "max-iters", "num-steps", "max-steps", "epochs", "num-epochs"), "--steps"),
    **dict.fromkeys(("output", "output-dir", "outdir", "save", "dest"), "--out"),
    **dict.fromkeys(("dataset", "dataroot", "data-dir", "data-path"), "--data"),
    **dict.fromkeys(("gpu", "gpus", "gpu-ids", "cuda", "cpu"), "--device"),
    **dict.fromkeys(("bs", "batch"), "--batch-size"),
    **dict.fromkeys(("amp", "fp16", "bf16", "mixed-precision"), "--precision"),
    **dict.fromkeys(("num-samples", "num", "number"), "--count"),
}  # words that other programs have for flags of ours


def unknown_flag(flag: str, value: str, known: Iterable[str], prog: str) -> str:
    """A sentence on a flag that a command does not have, without its end. known: the command's own flags. prog: the
    command as people type it, ``ganvas train vae``."""
    own = sorted(set(known))
    bare, command = flag.lstrip("-").casefold(), prog.split()[1]
    said = f"There is no flag {flag}"
    if (key := _key(bare)) and (command in INPUTS or near(bare, own) is None):
        given = value or {"flip": "true", "stream": "true", "strict": "true", "channels": "gray"}.get(key, "...")
        where = f": {INPUTS[command]}{key}={given}'" if command in INPUTS else ""
        return f"{said}: {key} is a key of the data{where}"
    if (alike := ALIKE.get(bare)) in own:
        why = ", of which an epoch has as many as the data has batches" if "epoch" in bare else ""
        return f"{said}: did you mean {alike}{why}?"
    if bare == "out" and command in WRITTEN:
        return f"{said}: {WRITTEN[command]}"
    if bare in ("resume", "continue", "continue-train") and command == "train":
        return f"{said}: the same command as before resumes a run"
    if len(bare) > 1 and (longer := [one for one in own if f"-{bare}-" in f"-{one.strip('-0123456789')}-"]):
        return f"{said}: did you mean {_either(longer)}?"
    if elsewhere := list(_elsewhere(bare, command, prog)):
        return f"{said}; {', '.join(elsewhere)} {'has' if len(elsewhere) == 1 else 'have'} it"
    return f"{said}: did you mean {one}?" if (one := near(flag, own)) is not None else said


def _key(bare: str) -> str | None:
    """The key of data specs that a flag's name is."""
    from ganvas.data.spec import KEYS

    plain = {key.replace("_", "-"): key for key in KEYS}
    return plain.get(MEANT.get(bare, bare))


def _elsewhere(bare: str, command: str, prog: str) -> Iterator[str]:
    """Other commands, or other systems, that have a flag of that name."""
    from ganvas import games
    from ganvas.cli import _commands
    from ganvas.cli.outline import outline

    name = bare.replace("-", "_")
    for other, function in _commands().items():
        if other != command and {name, f"{name}_"} & inspect.signature(function).parameters.keys():
            yield f"ganvas {other}"
    if command == "train":
        for system in games.names():
            if system != prog.split()[-1] and name.removeprefix("no_") in outline(system).config.__dataclass_fields__:
                yield f"ganvas train {system}"


def _either(flags: list[str]) -> str:
    return flags[0] if len(flags) == 1 else f"{', '.join(flags[:-1])} or {flags[-1]}"

"""The command line: ``ganvas COMMAND ...``, one typed function a command, whose signature and docstring are its help.

    data.py      systems, data, fetch
    cache.py     cache
    runs.py      train, info, runs, calibrate, report
    verbs.py     sample, encode, reconstruct, interpolate, traverse
    translation.py  translate, edit
    measures.py  evaluate, compare
    exchange.py  import, export
    benchmarks.py  benchmark
    flags.py     what all of them share: a function as a command, and its Answer
    outline.py   the options of a system, read without torch
    early.py     what is wrong with the words of a command, found before torch is imported
    hints.py     what to say of a flag that a command does not have

Figures and the paths of what was written go to stdout, all else to stderr. Nothing here imports torch before it must.
"""

from __future__ import annotations

import inspect
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import ganvas
from ganvas import signals
from ganvas.console import hearing, note, silence
from ganvas.errors import GanvasError, UsageError, nearest
from ganvas.threads import limit_spinning

BUG = 1
LIGHT = ("info", "runs", "report", "cache")  # commands that need no torch


def main() -> None:
    """The entry point: runs the command in ``sys.argv`` and exits with its code."""
    limit_spinning()
    _open_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text, nor a terminal know every letter
        utf8 = sys.stdout.encoding.lower() == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    sys.exit(run(sys.argv[1:]))


def _open_closed() -> None:
    """Open the null device in place of each standard stream that is closed.

    Otherwise the next file that is opened gets the number of that stream, and messages are written into it.
    """
    for handle, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        try:
            os.fstat(handle)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(handle, mode, errors="ignore", closefd=False))  # noqa: SIM115 - until the process ends


def run(words: Sequence[str]) -> int:
    """Runs one command; returns its exit code (see `ganvas.errors`)."""
    rest = [word for word in words if word not in ("--json", "--debug")]
    debug = "--debug" in words
    try:
        with signals.raised():
            return _run(rest, json="--json" in words)
    except GanvasError as error:
        if debug:
            traceback.print_exc()
        note(f"ganvas: {error}")
        return error.exit_code
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, signals.Ended) else signal.SIGINT
        note("ganvas: interrupted" if number == signal.SIGINT else f"ganvas: {error}")
        return 128 + number
    except BrokenPipeError:  # whoever read our output has gone
        silence(sys.stdout)
        return 128 + signal.SIGPIPE
    except Exception as error:
        if debug:
            traceback.print_exc()
        note(f"ganvas: a bug of ours: {type(error).__name__}: {error}" + ("" if debug else " (--debug shows where)"))
        return BUG


def _run(words: list[str], json: bool) -> int:
    try:
        os.getcwd()
    except FileNotFoundError:  # torch cannot be loaded from there
        raise UsageError("The folder that you are in has been removed: change to another.") from None
    if not words:
        note(_help())
        return UsageError.exit_code
    if words[0] in ("-h", "--help", "help"):
        _print(_help())
        return 0
    if "--version" in words:
        _print({"command": "version", "version": ganvas.__version__} if json else f"ganvas {ganvas.__version__}")
        return 0
    name, prog, commands = words[0], f"ganvas {words[0]}", _commands()
    if name not in commands:
        raise UsageError(f"There is no command {name!r}: {nearest(name, commands)}.")
    from ganvas.cli.flags import call

    function = commands[name]
    ready = _nothing if name in LIGHT else _load
    try:
        if name == "train":  # its flags are those of the system that it names
            from ganvas.cli.runs import trainer

            function, prog, words = trainer(words[1:])
        elif name == "import":
            from ganvas.cli.exchange import importer
            from ganvas.cli.runs import last
            from ganvas.games import known

            if (named := last(words, "--as")) is not None:
                known(named)
                ready()
            function, prog, words = importer(words[1:])
        with hearing() as read:
            answer = call(function, words[1:], prog=prog, ready=ready)
    except SystemExit:  # --help, printed
        return 0
    if os.environ.get("RANK", "0") == "0":  # under torchrun every rank comes here, and one speaks
        told = {"reading": read} if read else {}
        fields = {"command": name, "version": ganvas.__version__, **told, **answer.fields}
        _print(fields if json else answer.shown)
    return answer.code


def _load() -> None:
    """Imports what takes long. Meanwhile Ctrl-C and its kin end the process at once: a handler of Python's would raise
    in the middle of an import, and compiled modules lose that or make something else of it."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with signals.handled(signal.SIG_DFL, signals.ASKED if ours else ()):
        import torch  # noqa: F401


def _nothing() -> None:
    pass


def _commands() -> dict[str, Callable[..., Any]]:
    """The commands by name, in the order in which people meet them."""
    from ganvas.cli.benchmarks import benchmark
    from ganvas.cli.cache import cache
    from ganvas.cli.data import data, fetch, systems
    from ganvas.cli.exchange import export, import_
    from ganvas.cli.measures import compare, evaluate
    from ganvas.cli.runs import calibrate, info, report, runs, train
    from ganvas.cli.translation import edit, translate
    from ganvas.cli.verbs import encode, interpolate, reconstruct, sample, traverse

    functions = (systems, data, fetch, cache, train, info, runs, sample, encode, reconstruct, interpolate, traverse,
                 translate, edit, evaluate, compare, benchmark, calibrate, report, import_, export)  # fmt: skip
    return {function.__name__.rstrip("_"): function for function in functions}


GROUPS = {
    "Data and training": ("systems", "data", "fetch", "train", "info", "runs", "calibrate", "report"),
    "Use a trained run": ("sample", "encode", "reconstruct", "interpolate", "traverse", "translate", "edit"),
    "Measure": ("evaluate", "compare", "benchmark"),
    "Published checkpoints": ("import", "export"),
}


def _help() -> str:
    commands = _commands()
    width = max(map(len, commands))
    rest = tuple(name for name in commands if not any(name in names for names in GROUPS.values()))
    lines = []
    for title, names in (GROUPS | ({"More": rest} if rest else {})).items():
        told = [f"  {n:{width}}  {(inspect.getdoc(commands[n]) or '').splitlines()[0]}" for n in names if n in commands]
        lines += [f"{title}:", *told, ""]
    return "\n".join(
        [
            f"ganvas {ganvas.__version__}: train, use and measure GANs, VAEs and image translators.",
            "",
            "usage: ganvas COMMAND ...",
            "",
            *lines,
            "ganvas COMMAND --help tells more. Everywhere: --json, --debug, --version.",
        ]
    )


def _print(shown: Any) -> None:
    """Text as it is, a mapping as one JSON object, all else as rich draws it."""
    if isinstance(shown, dict):
        import msgspec

        shown = msgspec.json.encode(_readable(shown), enc_hook=str).decode()
    elif not isinstance(shown, str):
        from rich.console import Console

        terminal = sys.stdout.isatty()
        drawn = io.StringIO()  # printed by ourselves: rich has a way of its own with closed pipes
        # names of files are text: neither [markup] nor :emoji:
        console = Console(
            file=drawn, force_terminal=terminal, width=None if terminal else 160,
            highlight=False, markup=False, emoji=False,
        )  # fmt: skip
        console.print(shown)
        shown = "\n".join(line.rstrip() for line in drawn.getvalue().rstrip("\n").split("\n"))
    try:
        print(shown, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(sys.stdout)
        raise UsageError(f"stdout cannot be written: {error.strerror or error}; free some space.") from error


def _readable(value: Any) -> Any:
    """The value, with a replacement mark for every byte of a file name that is no text."""
    if isinstance(value, str):
        return os.fsencode(value).decode(errors="replace")
    if isinstance(value, dict):
        return {_readable(name): _readable(item) for name, item in value.items()}
    return [_readable(item) for item in value] if isinstance(value, list | tuple) else value

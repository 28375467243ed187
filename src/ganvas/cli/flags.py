"""A typed function as a command: tyro makes the flags, and whatever is wrong with them is one sentence."""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import io
import itertools
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import tyro
from tyro.conf import Positional, arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from ganvas.errors import UsageError

T = TypeVar("T")

# Flags that several commands share, each with its letter or its reserved word.
RunFolder = Annotated[Positional[Path], arg(metavar="RUN")]
Count = Annotated[T, arg(name="count", aliases=["-n"], metavar="N")]
Class = Annotated[str | None, arg(name="class", metavar="K")]
Out = Annotated[Path, arg(metavar="PATH")]
Device = Annotated[str, arg(metavar="auto|cpu|cuda|mps")]

EVERYWHERE = "Everywhere: --json (one object on stdout), --debug (tracebacks), --help."
_METAVARS = {int: ("N", "a whole number"), float: ("X", "a number"), str: ("TEXT", "text"), Path: ("PATH", "a path")}


@dataclass(frozen=True)
class Answer:
    """What a command found: ``fields`` for ``--json``, and ``shown`` for people, text or anything that rich prints."""

    fields: Mapping[str, Any]
    shown: Any


_MORE: dict[Callable[..., Any], Callable[[], str]] = {}


def describes(more: Callable[[], str]) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Adds to a command's help what is too costly to say before somebody asks."""

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        _MORE[function] = more
        return function

    return decorate


def _scalar(kind: type, optional: bool) -> PrimitiveConstructorSpec[Any]:
    """A number, text or path, by its plain name in the help and in errors; ``none`` where it may be left open."""
    metavar, meaning = _METAVARS[kind]

    def read(words: list[str]) -> Any:
        if optional and words[0].lower() == "none":
            return None
        try:
            return kind(words[0])
        except ValueError:
            raise ValueError(f"{words[0]!r} is not {meaning}") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, kind) or (optional and value is None),
        str_from_instance=lambda value: ["none" if value is None else str(value)],
    )


def _registry() -> ConstructorRegistry:
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def scalars(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        kind, optional = info.type, False
        if get_origin(kind) in (Union, types.UnionType):
            kinds = [member for member in get_args(kind) if member is not type(None)]
            kind, optional = (kinds[0], True) if len(kinds) == 1 < len(get_args(kind)) else (kind, False)
        if get_origin(kind) is Annotated:  # with the range that its game checks
            kind = get_args(kind)[0]
        return _scalar(kind, optional) if kind in _METAVARS else None

    return registry


def call(function: Callable[..., T], words: Sequence[str], *, prog: str) -> T:
    """Calls ``function`` with the flags in ``words``. Raises UsageError, one sentence, where they do not fit it.

    ``--help`` prints the help and raises SystemExit(0).
    """

    @functools.wraps(function)
    def parsed(*args: Any, **kwargs: Any) -> Callable[[], T]:
        return functools.partial(function, *args, **kwargs)

    summary = (inspect.getdoc(function) or "").split("\nArgs:")[0].strip()
    if function in _MORE and {"-h", "--help"} & set(words):
        summary += f"\n\n{_MORE[function]()}"
    options: dict[str, Any] = {
        "prog": prog,
        "description": f"{summary}\n\n{EVERYWHERE}",
        "config": (tyro.conf.OmitArgPrefixes,),
        "registry": _registry(),
    }
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            bound: Callable[[], T] = tyro.cli(parsed, args=list(words), **options)
    except SystemExit as end:
        if not end.code:
            raise
        known = list(tyro.extras.get_parser(parsed, **options)._option_string_actions)
        raise UsageError(f"{_unknown(words, known) or _sentence(said.getvalue())} (see {prog} --help).") from None
    return bound()


def _unknown(words: Sequence[str], known: Sequence[str]) -> str | None:
    """A sentence on the first flag that there is not."""
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            return f"There is no flag {name}" + (f": did you mean {near[0]}?" if near else "")
    return None


def _sentence(box: str) -> str:
    """What a box of tyro says, on one line and without the box."""
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    above = itertools.takewhile(lambda line: not line.startswith("──"), lines)
    text = " ".join(line for line in above if line)
    return re.sub(r"^Missing from .*?: ", "Missing: ", text.removeprefix("Error parsing ")).rstrip(".")

"""A typed function as a command: tyro makes the flags, and whatever is wrong with them is one sentence."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import tyro
from tyro.conf import Positional, arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from ganvas.cli import early
from ganvas.errors import UsageError, nearest

T = TypeVar("T")

EVERYWHERE = "Everywhere: --json (one object on stdout), --debug (tracebacks), --version, --help."
LARGEST_SEED = 2**63 - 1  # what JSON and every generator can hold


@dataclass(frozen=True)
class Answer:
    """What a command found: ``fields`` for ``--json``, and ``shown`` for people, text or anything that rich prints."""

    fields: Mapping[str, Any]
    shown: Any
    code: int = 0  # the exit code


def facts(rows: Mapping[str, str]) -> str:
    """Names and what there is to say of each, a line a fact (nothing is folded, so that commands can be copied)."""
    width = max(map(len, rows)) + 2
    return "\n".join(f"{name:{width}}" + text.replace("\n", "\n" + " " * width) for name, text in rows.items() if text)


_MORE: dict[Callable[..., Any], Callable[[], str]] = {}


def describes(more: Callable[[], str]) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Adds to a command's help what is too costly to say before somebody asks."""

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        _MORE[function] = more
        return function

    return decorate


# ---- values ----------------------------------------------------------------------------------------------------------
def _whole(word: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", word):
        raise ValueError("a whole number")
    return int(word)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError("a number") from None


def _truth(word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return word.lower() == "true"


def _seed(word: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", word) or int(word) > LARGEST_SEED:
        raise ValueError(f"a whole number from 0 to {LARGEST_SEED}")
    return int(word)


def _value(metavar: str, read: Callable[[str], Any], *, optional: bool = False) -> PrimitiveConstructorSpec[Any]:
    """A value of one word, by a plain name in the help and in errors; ``none`` where it may be left open.

    read: raises ValueError saying what it takes.
    """

    def from_words(words: list[str]) -> Any:
        if optional and words[0].lower() == "none":
            return None
        try:
            return read(words[0])
        except ValueError as error:
            raise ValueError(f"{words[0]!r} is not {error}{' (or none)' * optional}") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=from_words,
        is_instance=lambda value: True,  # its type is known, and mypy has seen the defaults
        str_from_instance=lambda value: ["none" if value is None else str(value)],
    )


_READERS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    int: ("N", _whole),
    float: ("X", _number),
    str: ("TEXT", str),
    Path: ("PATH", Path),
}


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
        if kind is bool and optional:
            return _value("true|false", _truth, optional=True)
        if kind not in _READERS:
            return None
        return _value(*_READERS[kind], optional=optional and kind in (int, float))  # text and paths may be "none"

    return registry


# Flags that several commands share, each with its letter or its reserved word.
RunFolder = Annotated[Positional[Path], arg(metavar="RUN")]
Count = Annotated[T, arg(name="count", aliases=["-n"], metavar="N")]
Seed = Annotated[int, _value("N", _seed)]
Class = Annotated[str | None, arg(name="class", metavar="K")]
Out = Annotated[Path, arg(metavar="PATH")]
Device = Annotated[str, arg(metavar="auto|cpu|cuda|mps")]


def default(said: str) -> Any:
    """For a flag that may be left open: what the help says then happens."""
    return arg(help_behavior_hint=f"(default: {said})")


# ---- the call --------------------------------------------------------------------------------------------------------
def call(
    function: Callable[..., T], words: Sequence[str], *, prog: str, ready: Callable[[], object] = lambda: None
) -> T:
    """Calls ``function`` with the flags in ``words``, after ``ready``, which is called once they are read.

    Raises UsageError, one sentence, where they do not fit it, and what `early.check` finds.
    ``--help`` prints the help and raises SystemExit(0).
    """

    @functools.wraps(function)
    def parsed(*args: Any, **kwargs: Any) -> functools.partial[T]:
        return functools.partial(function, *args, **kwargs)

    summary = (inspect.getdoc(function) or "").split("\nArgs:")[0].strip()
    if function in _MORE and {"-h", "--help"} & set(words):
        summary += f"\n\n{_MORE[function]()}"

    def parse(words: Sequence[str]) -> functools.partial[T]:
        return tyro.cli(
            parsed,
            args=list(words),
            prog=prog,
            description=f"{summary}\n\n{EVERYWHERE}",
            config=(tyro.conf.OmitArgPrefixes,),
            registry=_registry(),
        )

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            bound = parse(words)
    except SystemExit as end:
        if not end.code:
            raise
        help = io.StringIO()
        with contextlib.redirect_stdout(help), contextlib.suppress(SystemExit):
            parse(["--help"])
        sentence = _unknown(words, help.getvalue(), prog) or _sentence(said.getvalue(), prog)
        raise UsageError(f"{sentence} (see {prog} --help).") from None
    early.check(function, inspect.signature(function).bind_partial(*bound.args, **bound.keywords).arguments)
    ready()
    return bound()


def _unknown(words: Sequence[str], help: str, prog: str) -> str | None:
    """A sentence on the first flag that a command's help does not know."""
    from ganvas.cli.hints import unknown_flag

    known = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", help))
    for word, following in pairwise([*words, "-"]):
        if word == "--":
            break
        flag, _, value = word.partition("=")
        name = flag.replace("_", "-")
        if re.match(r"--?[A-Za-z]", name) and name not in known:
            return unknown_flag(name, value or (following if not following.startswith("-") else ""), known, prog)
    return None


def _sentence(box: str, prog: str) -> str:
    """What a box of tyro says, as a sentence."""
    lines = _first_block(box)
    if lines[0].startswith("Missing from"):
        missing = [line.strip() for line in lines[1:] if re.match(r" {4}\S", line)]  # below each, deeper, its help
        return f"{prog} needs {' and '.join(missing)}"
    text = " ".join(line.strip() for line in lines)
    if match := re.match(r"Missing value for argument '(.+?)'", text):
        return f"{match[1]} needs a value"
    if match := re.match(r"invalid choice '(.*)' for argument '(.+?)'\. Expected one of \((.*)\)", text):
        choices = re.findall("'(.*?)'", match[3])
        return f"{match[2]} cannot be {match[1]!r}: {nearest(match[1], choices)}"
    if match := re.match(r"Unrecognized options: (.*)", text):
        return f"{prog} does not expect {match[1]}"
    return text.removeprefix("Error parsing ").rstrip(".")


def _first_block(box: str) -> list[str]:
    """The lines between a box's title and the rule below them, without the frame.

    Frame and rules are of line-drawing characters where stdout is UTF-8, else of spaces and dashes.
    """
    block: list[str] = []
    for line in box.splitlines()[1:]:
        text = line[2:].rstrip(" │")
        if text and not re.fullmatch(r"[─-]+", text):
            block.append(text)
        elif block:
            break
    return block or ["these flags do not read"]

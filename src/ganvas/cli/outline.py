"""A system's options and presets, read from its file: the flags of ``train`` are known without waiting for torch.

The file's syntax tree says all that flags need: the fields of ``Config`` with their types, defaults and docstrings, and
the table ``PRESETS``. A file that is written in another way is imported.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from ganvas import games

LIGHT = ("typing", "dataclasses", "collections.abc", "msgspec", "ganvas.games")  # that types are imported from


class _NotPlain(Exception):  # noqa: N818 - what a file is that has to be imported
    """The file is not written so that its options can be read without importing it."""


@dataclass(frozen=True)
class Outline:
    """What `games.System` says of a system, but for its game."""

    name: str
    summary: str
    config: type[Any]
    presets: games.Presets

    def preset(self, name: str | None) -> tuple[Any, dict[str, int]]:
        """See `games.System.preset`."""
        return games.preset_of(self.name, self.config, self.presets, name)


def outline(name: str) -> Outline | games.System:
    """The options of a system. Raises UsageError, with the nearest name, when there is none."""
    module = f"{games.__name__}.{games.known(name).replace('-', '_')}"
    try:
        return _read(name, module)
    except Exception:  # whatever is odd about the file: importing it tells better
        return games.system(name)


def _read(name: str, module: str) -> Outline:
    source = _Source(module)
    config, summary = None, None
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef):
            if node.name == "Config":
                config = node
            if any(isinstance(one, ast.Call) and ast.unparse(one.func) == "register" for one in node.decorator_list):
                summary = (ast.get_docstring(node) or "").splitlines()[0]
    if config is None or summary is None:
        raise _NotPlain(module)
    return Outline(name, summary, _config(config, source), source["PRESETS"])


def _config(node: ast.ClassDef, source: _Source) -> type[Any]:
    """The dataclass of those fields, whose flags say what the fields' docstrings say."""
    made: list[tuple[str, Any, Any]] = []
    for leaf, help in _fields(node):
        assert isinstance(leaf.target, ast.Name)
        if leaf.value is None or not help:
            raise _NotPlain(leaf.target.id)
        kind = source.evaluated(leaf.annotation)
        made.append((leaf.target.id, Annotated[kind, arg(help=help)], field(default=source.evaluated(leaf.value))))
    return make_dataclass("Config", made, frozen=True)


def _fields(node: ast.ClassDef) -> Iterator[tuple[ast.AnnAssign, str]]:
    """Each field of a class and the docstring below it."""
    for leaf, below in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(leaf, ast.AnnAssign):
            told = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            yield leaf, " ".join(str(below.value.value).split()) if told else ""  # type: ignore[union-attr]


class _Source(dict[str, Any]):
    """A file's module-level names, each evaluated when somebody asks for it."""

    def __init__(self, module: str) -> None:
        super().__init__()
        found = importlib.util.find_spec(module)
        if found is None or found.origin is None:
            raise _NotPlain(module)
        self.tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
        self["__builtins__"] = {"int": int, "float": float, "str": str, "bool": bool}

    def evaluated(self, node: ast.expr) -> Any:
        return eval(compile(ast.Expression(node), "<options>", "eval"), self)

    def __missing__(self, name: str) -> Any:
        if name in self["__builtins__"]:
            raise KeyError(name)  # Python looks there next
        for node in self.tree.body:
            match node:
                case ast.Import(names=names) if (one := _imported(names, name)) and one in LIGHT:
                    self[name] = importlib.import_module(one)
                case ast.ImportFrom(module=str(module), names=names) if one := _imported(names, name):
                    light = importlib.import_module(module) if module in LIGHT else None
                    self[name] = getattr(light, one) if light else _Source(module)[one]
                case ast.Assign(targets=[ast.Name(id=there)], value=value) if there == name:
                    self[name] = self.evaluated(value)
                case ast.AnnAssign(target=ast.Name(id=there), value=ast.expr() as value) if there == name:
                    self[name] = self.evaluated(value)
                case _:
                    continue
            return self[name]
        raise KeyError(name)


def _imported(names: list[ast.alias], name: str) -> str | None:
    """What is known under ``name`` of the names that an import brings in."""
    return next((one.name for one in names if (one.asname or one.name) == name), None)

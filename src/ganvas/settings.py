"""The settings of a run, as its ``config.json`` holds them: all that ``load`` needs besides the weights."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import msgspec

import ganvas

FORMAT = 1
Count = Annotated[int, msgspec.Meta(ge=1)]
PACKAGES = ("torch", "numpy", "pillow", "safetensors", "scikit-learn", "scikit-image")


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One call of training that got as far as a checkpoint: where it began, and what it ran on."""

    from_step: int
    ganvas: str
    git: str | None
    dirty: bool
    versions: dict[str, str]
    device: str
    hardware: str | None = None


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of a run."""

    format: int = FORMAT
    ganvas: str = ganvas.__version__
    system: str
    verbs: list[str]
    preset: str
    leaves: dict[str, Any]  # the system's config, resolved
    changed: list[str] = []  # the leaves in which it differs from the preset
    data: str  # the spec
    data_root: str | None = None  # the folder that a relative path in it starts from; None: it names no path
    streamed: bool = False  # read from its files each time, so that they may change under the run
    fingerprint: str  # of the data's content
    schema: dict[str, list[int]]
    classes: list[str]
    seed: int
    batch_size: Count  # the whole batch, over ranks and shares
    shares: Count
    world: Count
    steps: Annotated[int, msgspec.Meta(ge=0)]  # 0: of an imported run, which was never trained
    steps_per_epoch: Count
    precision: str
    compile: bool
    device: str
    checkpoint_every: Count
    keep: Count
    keep_best: str | None
    tick_every: Count
    init: str | None  # the run whose weights it started from
    imported: dict[str, str] | None = None  # by part, the SHA-256 of the published file it came from; "": of none
    not_exportable: str | None = None  # why it has no place in its system's published format, where there is one
    versions: dict[str, str]
    git: str | None
    dirty: bool = False  # whether the checkout differed from that commit
    provenance: list[Session] = []  # the calls that trained it, first to last; those above are of the last one


def missing_parts(config: RunConfig) -> list[str]:
    """The nets of an imported run that no file was given for (``G_B``, ``D_A``, ...): their weights are fresh, and what
    needs them is to be refused. Of a trained run: none."""
    return [part for part, digest in (config.imported or {}).items() if not digest]


def placed(data: str, root: str | None) -> str:
    """A data spec whose path starts from the folder ``root``, as it reads in this process's folder.

    It stays as it is where it names no path (root is None), its path is absolute, or ``root`` is this folder.
    """
    if root is None or os.path.realpath(root) == os.path.realpath(os.curdir):
        return data
    source, mark, keys = data.partition("?")
    match = re.match(r"[a-z][a-z-]+:", source)
    kind = match[0] if match else ""
    start = escaped(root)
    source = source.removeprefix(kind)
    parts = source.split(",")
    for i in range(1, len(parts)):  # A,B may name two folders; a name may have a comma of its own
        two = ",".join(parts[:i]), ",".join(parts[i:])
        if kind and all(os.path.isdir(unescaped(_joined(start, one))) for one in two):
            return f"{kind}{','.join(_joined(start, one) for one in two)}{mark}{keys}"
    return f"{kind}{_joined(start, source)}{mark}{keys}"


def _joined(root: str, path: str) -> str:
    return os.path.normpath(os.path.join(root, path)) if not path.startswith("~") else path


def escaped(path: str) -> str:
    """A path as the source of a data spec."""
    return path.replace("%", "%25").replace("?", "%3F")


def unescaped(source: str) -> str:
    """The path that the source of a data spec names."""
    return re.sub("%3F|%25", lambda one: "?" if one[0].upper() == "%3F" else "%", source, flags=re.I)


def origins() -> dict[str, Any]:
    """What a run was made with: ``versions`` of packages, and the ``git`` commit when ganvas runs from a checkout, with
    ``dirty``, whether a file of it was changed since."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    commit = _git("rev-parse", "HEAD")
    dirty = commit is not None and bool(_git("status", "--porcelain", "--untracked-files=no"))
    return {"versions": found, "git": commit, "dirty": dirty}


def _git(*words: str) -> str | None:
    """What git says of the checkout that ganvas runs from; None where it does not, or git says nothing."""
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", *words]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=5, cwd=home)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None


def carried_on(old: RunConfig, new: RunConfig, step: int) -> RunConfig:
    """The settings ``new``, with which ``old`` is to go on from ``step``, before that has trained anything: what a run
    was made with is still that of ``old``, whose calls of after ``step`` were lost."""
    calls = [one for one in old.provenance if one.from_step < step]
    if step and not old.provenance:  # a run of a version that kept no list
        calls = [_session(old, 0, None)]
    made_with = {name: getattr(old, name) for name in ("ganvas", "git", "dirty", "versions")}
    return msgspec.structs.replace(new, provenance=calls, **made_with)


def trained_on(before: RunConfig, new: RunConfig, step: int, hardware: str) -> RunConfig:
    """The settings ``new`` of a call that trains from ``step`` on, noted after the calls that ``before`` knows."""
    return msgspec.structs.replace(new, provenance=[*before.provenance, _session(new, step, hardware)])


def _session(config: RunConfig, step: int, hardware: str | None) -> Session:
    return Session(
        from_step=step,
        ganvas=config.ganvas,
        git=config.git,
        dirty=config.dirty,
        versions=config.versions,
        device=config.device,
        hardware=hardware,
    )


def differences(old: RunConfig, new: RunConfig) -> tuple[list[str], list[str]]:
    """What forbids resuming ``old`` as ``new``, and what may change but ends exactness: a clause each."""
    refused, allowed = [], []
    for name, label in (("system", "the system"), ("data", "the data"), ("seed", "the seed"),
                        ("batch_size", "the batch size"), ("precision", "the precision")):  # fmt: skip
        was, now = getattr(old, name), getattr(new, name)
        if was != now:
            refused.append(f"{label} was {was}, now {now}")
    if old.data == new.data and old.fingerprint != new.fingerprint:
        clause = f"the content of {old.data} has changed since"
        if new.streamed and (old.schema, old.classes) == (new.schema, new.classes):
            allowed.append(f"{clause}: the run goes on, but not to the same bits")
        else:
            refused.append(clause)
    if old.system == new.system:
        olds, news = (msgspec.json.decode(msgspec.json.encode(c.leaves)) for c in (old, new))  # tuples become lists
        for name in dict.fromkeys([*olds, *news]):
            was, now = olds.get(name), news.get(name)
            if was != now:
                refused.append(f"{name} was {was}, now {now}")
    for name, label in (("device", "device"), ("shares", "shares"), ("world", "ranks"), ("compile", "compilation")):
        was, now = getattr(old, name), getattr(new, name)
        if was != now:
            allowed.append(f"{label} was {was}, now {now}: the run goes on, but not to the same bits")
    torch_was, torch_now = old.versions.get("torch"), new.versions.get("torch")
    if torch_was != torch_now:
        allowed.append(f"torch was {torch_was}, now {torch_now}: the run goes on, but not to the same bits")
    return refused, allowed

"""A run folder: reads and writes it; needs no engine. Only what touches weights imports torch.

    config.json             every setting, the system and its verbs, data spec and fingerprint, versions, git commit
    stats.jsonl             one line a tick: step, images, seconds, named terms, health
    metrics.jsonl           one line an evaluation: step and figures with their recipes
    best.json               which checkpoint is the best, by what, if asked
    checkpoint-00050000/    weights.safetensors, ema.safetensors, state.pt, state-RANK.pt, manifest.json with digests
    samples/  report.html

A checkpoint is there whole or not at all; a damaged one is named and the one before it is used. ``*.pt`` are read with
``weights_only=True``: nothing is ever unpickled with code execution.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import ganvas
from ganvas.errors import Damaged, RunError
from ganvas.files import atomic, atomic_folder, sha256

if TYPE_CHECKING:
    from torch import Tensor

    from ganvas.game import Game

FORMAT = 1
PACKAGES = ("torch", "numpy", "pillow", "safetensors", "scikit-learn", "scikit-image")


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of a run: all that ``load`` needs besides the weights."""

    format: int = FORMAT
    ganvas: str = ganvas.__version__
    system: str
    verbs: list[str]
    preset: str
    leaves: dict[str, Any]  # the system's config, resolved
    data: str  # the spec
    fingerprint: str  # of the data's content
    schema: dict[str, list[int]]
    classes: list[str]
    seed: int
    batch_size: int  # the whole batch, over ranks and shares
    shares: int
    world: int
    steps: int
    steps_per_epoch: int
    precision: str
    compile: bool
    device: str
    checkpoint_every: int
    keep: int
    keep_best: str | None
    tick_every: int
    init: str | None  # the run whose weights it started from
    versions: dict[str, str]
    git: str | None


def origins() -> dict[str, Any]:
    """What a run was made with: ``versions`` of packages, and the ``git`` commit when ganvas runs from a checkout."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    home = Path(__file__).resolve().parents[2]
    commit = None
    if (home / ".git").exists():
        try:
            asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, cwd=home)
            commit = asked.stdout.strip() or None
        except (OSError, subprocess.TimeoutExpired):
            commit = None
    return {"versions": found, "git": commit}


def differences(old: RunConfig, new: RunConfig) -> tuple[list[str], list[str]]:
    """What forbids resuming ``old`` as ``new``, and what may change but ends exactness: a clause each."""
    refused, allowed = [], []
    for name, label in (("system", "the system"), ("data", "the data"), ("seed", "the seed"),
                        ("batch_size", "the batch size"), ("precision", "the precision")):  # fmt: skip
        was, now = getattr(old, name), getattr(new, name)
        if was != now:
            refused.append(f"{label} was {was}, now {now}")
    if old.data == new.data and old.fingerprint != new.fingerprint:
        refused.append(f"the content of {old.data} has changed since")
    if old.system == new.system:
        for name in dict.fromkeys([*old.leaves, *new.leaves]):
            was, now = old.leaves.get(name), new.leaves.get(name)
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


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint that is whole."""

    folder: Path
    step: int
    calibrated: bool

    def weights(self) -> dict[str, Tensor]:
        """The raw game's tensors by name."""
        return self._tensors("weights.safetensors")

    def average(self) -> dict[str, Tensor]:
        """The averaged game's tensors by name, batch-norm statistics calibrated if ``calibrated``."""
        return self._tensors("ema.safetensors")

    def state(self) -> dict[str, Any]:
        """Optimisers, step and running log sums."""
        return self._load("state.pt")

    def memory(self, rank: int) -> dict[str, Tensor]:
        """What that rank remembers between rounds (its image pools), if anything."""
        return self._load(f"state-{rank}.pt") if (self.folder / f"state-{rank}.pt").exists() else {}

    def _tensors(self, name: str) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        return load_file(self.folder / name)

    def _load(self, name: str) -> dict[str, Any]:
        import torch

        loaded: dict[str, Any] = torch.load(self.folder / name, map_location="cpu", weights_only=True)
        return loaded


def _flaw(folder: Path) -> str | None:
    """What is wrong with a checkpoint's files, if anything."""
    try:
        files = json.loads((folder / "manifest.json").read_bytes())["files"]
        for name, known in files.items():
            file = folder / name
            if not file.exists():
                return f"{name} is missing"
            if file.stat().st_size != known["bytes"]:
                return f"{name} has {file.stat().st_size:,} bytes instead of {known['bytes']:,}"
            if sha256(file) != known["sha256"]:
                return f"{name} is not what was written (its SHA-256 differs)"
        missing = {"weights.safetensors", "ema.safetensors", "state.pt"} - set(files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"manifest.json cannot be read ({type(error).__name__})"
    return f"{min(missing)} is missing" if missing else None


class Run:
    """A run folder. Make one with `create`, or `open` one that is there."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder, self.config = folder, config

    # ---- the folder --------------------------------------------------------------------------------------------------
    @staticmethod
    def exists(folder: str | Path) -> bool:
        """Whether there is a run in ``folder``."""
        return (Path(folder) / "config.json").exists()

    @classmethod
    def create(cls, folder: str | Path, config: RunConfig) -> Run:
        """A new run. Raises RunError when the folder cannot be made or holds something else."""
        folder = Path(folder)
        if folder.is_dir() and any(not file.name.startswith(".") for file in folder.iterdir()):
            raise RunError(f"{folder} is not empty and holds no run; choose another --out.")
        run = cls(folder, config)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            run.amend(config)
        except OSError as error:
            raise RunError(f"{folder} cannot be written: {error.strerror}; choose another --out.") from None
        return run

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """A run that is there. Raises RunError when it is none, is broken, or is of another format."""
        folder = Path(folder)
        file = folder / "config.json"
        try:
            raw = msgspec.json.decode(file.read_bytes())
            if isinstance(raw, dict) and raw.get("format", FORMAT) != FORMAT:
                raise RunError(
                    f"{folder} was written in format {raw['format']} by ganvas {raw.get('ganvas')}, but this is ganvas "
                    f"{ganvas.__version__} with format {FORMAT}; use that version to read it."
                )
            return cls(folder, msgspec.convert(raw, RunConfig))
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"{folder} is not a run folder: it has no config.json.") from None
        except (OSError, msgspec.MsgspecError) as error:
            raise RunError(f"{file} cannot be read: {error}; restore it from a copy.") from None

    def amend(self, config: RunConfig) -> Run:
        """Writes the config anew: what may change when a run is resumed."""
        with atomic(self.folder / "config.json") as part:
            part.write_bytes(msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
        self.config = config
        return self

    @staticmethod
    @contextmanager
    def locked(folder: str | Path) -> Iterator[None]:
        """Holds the folder for this process; the lock dies with it. Raises RunError when another process holds it."""
        from filelock import FileLock, Timeout

        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / ".lock", timeout=0).acquire()
        except Timeout:
            raise RunError(
                f"Another process is training in {folder}; wait for it, stop it, or use --new for another folder."
            ) from None
        except OSError as error:
            raise RunError(f"{folder} cannot be written: {error.strerror}; choose another --out.") from None
        with lock:
            yield

    # ---- checkpoints -------------------------------------------------------------------------------------------------
    def _folders(self) -> list[tuple[int, Path]]:
        """Step and folder of everything named like a checkpoint, oldest first."""
        named = ((f.name.removeprefix("checkpoint-"), f) for f in self.folder.glob("checkpoint-*") if f.is_dir())
        return sorted((int(digits), folder) for digits, folder in named if digits.isdigit())

    def checkpoints(self) -> list[int]:
        """The steps that have a checkpoint, oldest first; none has been verified."""
        return [step for step, _ in self._folders()]

    def latest(self, warn: Callable[[str], None] = lambda sentence: None) -> Checkpoint | None:
        """The newest checkpoint whose digests are right; ``warn`` hears of damaged ones, which are passed over.

        Raises Damaged when there are checkpoints and none is whole.
        """
        flaws: list[str] = []
        for step, folder in reversed(self._folders()):
            flaw = _flaw(folder)
            if flaw is None:
                for sentence in flaws:
                    warn(f"{sentence}; using {folder.name}")
                calibrated = bool(json.loads((folder / "manifest.json").read_bytes()).get("calibrated"))
                return Checkpoint(folder, step, calibrated)
            flaws.append(f"{folder} is damaged: {flaw}")
        if flaws:
            raise Damaged(f"{flaws[0]}; no checkpoint of it is whole; restore one from a copy or start with --new.")
        return None

    def save(
        self,
        step: int,
        *,
        weights: Mapping[str, Tensor],
        average: Mapping[str, Tensor],
        state: Mapping[str, Any],
        memory: Mapping[int, Mapping[str, Tensor]] | None = None,
        calibrated: bool = False,
        keep: int | None = None,
    ) -> Path:
        """Writes a checkpoint beside and renames it, then removes old ones but for the last ``keep`` and the best.

        Raises RunError when it cannot be written, a full disk for one; the checkpoints before it are then as they were.
        """
        import torch
        from safetensors.torch import save_file

        folder = self.folder / f"checkpoint-{step:08d}"
        try:
            with atomic_folder(folder) as part:
                for name, tensors in (("weights", weights), ("ema", average)):
                    save_file(_plain(tensors), part / f"{name}.safetensors")
                torch.save(state, part / "state.pt")
                for rank, buffers in (memory or {}).items():
                    torch.save(dict(buffers), part / f"state-{rank}.pt")
                written = sorted(part.iterdir())
                files = {file.name: {"sha256": sha256(file), "bytes": file.stat().st_size} for file in written}
                manifest = {"step": step, "calibrated": calibrated, "files": files}
                (part / "manifest.json").write_text(json.dumps(manifest, indent=2))
        except (OSError, RuntimeError) as error:  # torch and safetensors report a full disk as errors of their own
            if isinstance(error, RuntimeError) and not _is_writing(error):
                raise
            before = self.checkpoints()
            kept = f"the checkpoint of step {before[-1]} is intact" if before else "there is no earlier checkpoint"
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise RunError(
                f"{folder} could not be written: {reason}; {kept}; free some space and run again."
            ) from error
        if keep is not None:
            self._keep(keep)
        return folder

    def recover(self) -> None:
        """Clears away what a kill left half-written. A checkpoint that was about to be replaced takes its place again.

        Only for the process that holds the lock: to another, a checkpoint being written looks the same.
        """
        for part in self.folder.glob(".checkpoint-*.part"):
            name = part.name.removeprefix(".").partition(".")[0]
            if not (self.folder / name).exists() and _flaw(part) is None:
                os.replace(part, self.folder / name)
            else:
                shutil.rmtree(part, ignore_errors=True)

    def _keep(self, last: int) -> None:
        best = self.best()
        for step, folder in self._folders()[:-last]:
            if best is None or best["step"] != step:
                shutil.rmtree(folder, ignore_errors=True)

    def best(self) -> dict[str, Any] | None:
        """``step``, ``metric`` and ``value`` of the best checkpoint, if one was marked."""
        try:
            best: dict[str, Any] = json.loads((self.folder / "best.json").read_bytes())
        except (OSError, ValueError):
            return None
        return best

    def mark_best(self, step: int, metric: str, value: float, *, larger_is_better: bool) -> None:
        """Marks ``step`` as the best if it beats the best so far by ``metric``; only a finite value can."""
        best = self.best()
        if not math.isfinite(value):
            return
        if best is not None and best["metric"] == metric and (value <= best["value"]) == larger_is_better:
            return
        with atomic(self.folder / "best.json") as part:
            part.write_text(json.dumps({"step": step, "metric": metric, "value": value}))

    # ---- figures -----------------------------------------------------------------------------------------------------
    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a tick to ``stats.jsonl``."""
        self._append("stats.jsonl", row)

    def stats(self) -> list[dict[str, Any]]:
        """The ticks so far; a line that a kill tore is left out."""
        return self._rows("stats.jsonl")

    def cut(self, step: int) -> None:
        """Drops the ticks after ``step``: a resumed run writes them again."""
        rows = self.stats()
        kept = [row for row in rows if row["step"] <= step]
        if (self.folder / "stats.jsonl").exists():
            with atomic(self.folder / "stats.jsonl") as part:
                part.write_text("".join(_line(row) for row in kept))

    def record(self, step: int, figures: Mapping[str, Mapping[str, Any]]) -> None:
        """Adds an evaluation of the checkpoint of ``step`` to ``metrics.jsonl``."""
        self._append("metrics.jsonl", {"step": step, "metrics": figures})

    def metrics(self) -> list[dict[str, Any]]:
        """The evaluations so far: ``step`` and ``metrics``, each with value, std, n and recipe."""
        return self._rows("metrics.jsonl")

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        try:
            with (self.folder / name).open("ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # a line that a kill tore must not swallow this one
                        file.write(b"\n")
                file.write(_line(row).encode())
        except OSError as error:
            raise RunError(f"{self.folder / name} cannot be written: {error.strerror}; free some space.") from error

    def _rows(self, name: str) -> list[dict[str, Any]]:
        rows = []
        path = self.folder / name
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and "step" in row:
                rows.append(row)
        return rows

    # ---- what it is for ----------------------------------------------------------------------------------------------
    def build_game(self) -> Game:
        """The game as its config says, with fresh weights."""
        from ganvas import games
        from ganvas.schema import Schema

        system = games.system(self.config.system)
        schema = Schema({name: tuple(shape) for name, shape in self.config.schema.items()}, tuple(self.config.classes))
        return system.build(self.config.leaves, schema)

    def load_game(self, *, raw: bool = False, device: str = "cpu", warn: Callable[[str], None] | None = None) -> Game:
        """The trained game in eval mode: of the averaged weights, or the raw ones.

        Raises RunError when there is no checkpoint or it is of another architecture, Damaged when none is whole.
        """
        import torch

        checkpoint = self.latest(warn or (lambda sentence: None))
        if checkpoint is None:
            raise RunError(f"{self.folder} has no checkpoint yet; train it first.")
        game = self.build_game()
        try:
            game.load_state_dict(checkpoint.weights() if raw else checkpoint.average())
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise RunError(f"{checkpoint.folder} does not fit {self.config.system}: {reason}") from error
        game.requires_grad_(False)
        # channels-last weights, as in training: the verbs' convolutions are faster so
        return game.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def info(self) -> dict[str, Any]:
        """What there is to know without torch: steps, data, metrics, size on disk, verbs, the next command."""
        c, steps = self.config, self.checkpoints()
        stats, metrics = self.stats(), self.metrics()
        step = steps[-1] if steps else 0
        figures = {name: figure for row in metrics for name, figure in row["metrics"].items()}
        return {
            "run": str(self.folder),
            "system": c.system,
            "preset": c.preset,
            "data": c.data,
            "step": step,
            "steps": c.steps,
            "seconds": stats[-1]["seconds"] if stats else 0.0,
            "verbs": c.verbs,
            "metrics": figures,
            "best": self.best(),
            "health": stats[-1].get("health", []) if stats else [],
            "checkpoints": steps,
            "bytes": sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file()),
            "next": self._next(step),
        }

    def _next(self, step: int) -> str:
        c = self.config
        if step < c.steps:
            return (
                f"ganvas train {c.system} --data {c.data!r} --preset {c.preset} --steps {c.steps} --out {self.folder}"
            )
        verb = "sample" if "sample" in c.verbs else "evaluate"
        return f"ganvas {verb} {self.folder}" + (" --out samples.png" if verb == "sample" else "")


def _line(row: Mapping[str, Any]) -> str:
    """A row as one line of strict JSON: what is not finite becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    return json.dumps(plain(row), allow_nan=False) + "\n"


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors takes them: contiguous, on the CPU, sharing no memory."""
    seen: set[int] = set()
    plain = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        plain[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return plain


def _is_writing(error: RuntimeError) -> bool:
    """Whether torch or safetensors failed to write a file, which they report as errors of their own."""
    text = str(error).lower()
    return any(hint in text for hint in ("no space left", "i/o error", "write", "file too large"))


def runs(folder: str | Path) -> list[Run]:
    """The runs in and under ``folder``, by path; those that cannot be read are left out."""
    found = []
    for config in sorted(Path(folder).rglob("config.json")):
        try:
            found.append(Run.open(config.parent))
        except RunError:
            continue
    return found

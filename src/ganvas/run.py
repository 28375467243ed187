"""A run folder: reads and writes it; needs no engine. Only what touches weights imports torch.

    config.json             every setting, the system and its verbs, data spec and fingerprint, versions, git commit
    stats.jsonl             one line a tick: step, images, seconds, named terms, health
    metrics.jsonl           one line an evaluation: step and figures with their recipes
    data.json, data.png     what was read to train on and what was left out, and a sheet of it
    best.json               which checkpoint is the best, by what, if asked
    checkpoint-00050000/    see `ganvas.checkpoint`: there whole or not at all
    samples/  report.html

A damaged checkpoint is named and the one before it is used.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import ganvas
from ganvas.bounds import read_json
from ganvas.checkpoint import AVERAGE, WEIGHTS, Checkpoint, paused, verified, write
from ganvas.console import note
from ganvas.errors import Damaged, RunError, UsageError, to_path
from ganvas.files import atomic, discard, holding, leftovers, make_folder, remove, writing
from ganvas.records import Evaluation, Tick, flaw_of, read_rows
from ganvas.settings import FORMAT, RunConfig, differences, missing_parts, origins, placed

if TYPE_CHECKING:
    from torch import Tensor

    from ganvas.game import Game

RUNS_NAMED = 4  # where one is asked for that is not there
READS = 5  # tries to read a checkpoint that another process may be replacing

__all__ = ["Checkpoint", "Run", "RunConfig", "differences", "load", "origins", "runs", "writing"]


class Run:
    """A run folder. Make one with `create`, or `open` one that is there."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder, self.config = folder, config

    def __repr__(self) -> str:
        c = self.config
        steps = f"step {max(self.checkpoints(), default=0):,} of {c.steps:,}" if c.imported is None else "imported"
        return f"<Run {self.folder}: {c.system} on {c.data}, {steps}>"

    # ---- the folder --------------------------------------------------------------------------------------------------
    @staticmethod
    def exists(folder: str | Path) -> bool:
        """Whether there is a run in ``folder``."""
        return os.path.exists(Path(folder) / "config.json")  # false, too, for what is no possible name

    @classmethod
    def create(cls, folder: str | Path, config: RunConfig) -> Run:
        """A new run. Raises RunError when the folder cannot be made, or holds a run or something else."""
        folder = Path(folder)
        if cls.exists(folder):
            raise RunError(f"{folder} holds a run already; resume it, or choose another --out.")
        _claim(folder)
        return cls(folder, config).amend(config)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """A run that is there. Raises RunError when it is none, is broken, or is of another format."""
        folder = to_path(folder, "A run")
        file = folder / "config.json"
        try:
            raw = read_json(file)
            if isinstance(raw, dict) and raw.get("format", FORMAT) != FORMAT:
                raise RunError(
                    f"{folder} was written in format {raw['format']} by ganvas {raw.get('ganvas')}, but this is ganvas "
                    f"{ganvas.__version__} with format {FORMAT}; use that version to read it."
                )
            config = msgspec.convert(raw, RunConfig)
            if flaw := flaw_of(config.schema):
                raise ValueError(flaw)
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(_no_run(folder)) from None
        except (OSError, ValueError) as error:  # msgspec's errors, which name the field, are ValueErrors
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"{file} cannot be read: {reason}; restore it from a copy.") from None
        return cls(folder, config)

    def amend(self, config: RunConfig) -> Run:
        """Writes the config anew: what may change when a run is resumed."""
        file, text = self.folder / "config.json", msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"
        with writing(file):
            if not file.exists() or file.read_bytes() != text:
                with atomic(file) as part:
                    part.write_bytes(text)
        self.config = config
        return self

    @staticmethod
    @contextmanager
    def locked(folder: str | Path) -> Iterator[Callable[[], None]]:
        """Holds the folder for this process; the lock dies with it. Yields a check that it is still held.

        Raises RunError when another process holds it, or when it cannot be a run folder."""
        folder = Path(folder)
        _claim(folder)
        busy = f"Another process is training in {folder}; wait for it, stop it, or use --new for another folder."
        with holding(folder, busy) as check:
            yield check

    # ---- checkpoints -------------------------------------------------------------------------------------------------
    def checkpoint_folder(self, step: int) -> Path:
        """Where the checkpoint of a step lies, if it is there."""
        return self.folder / f"checkpoint-{step:08d}"

    def _folders(self) -> list[tuple[int, Path]]:
        """Step and folder of everything named like a checkpoint, oldest first."""
        return sorted((_step(path), path) for path in self.folder.glob("checkpoint-*") if _step(path) >= 0)

    def _aside(self) -> list[tuple[int, Path]]:
        """Whole checkpoints that a kill left without their name, in the instant in which one replaced another: the new
        one, if it is whole, else the old."""
        found = {}
        for path, meant in leftovers(self.folder):
            if meant is not None and _step(meant) >= 0 and not meant.exists():
                try:
                    verified(path, _step(meant))
                except Damaged:  # not yet complete
                    continue
                found[_step(meant)] = path
        return list(found.items())

    def checkpoints(self) -> list[int]:
        """The steps that have a checkpoint, oldest first; none has been verified."""
        return [step for step, _ in self._folders()]

    def latest(self, warn: Callable[[str], None] = note, read: Collection[str] | None = None) -> Checkpoint | None:
        """The newest checkpoint whose digests are right; ``warn`` hears of damaged ones, which are passed over.

        read: the files that are wanted of it, as `verified` takes them. Raises Damaged when there are checkpoints and
        none is whole.
        """
        flaws: list[str] = []
        for step, folder in sorted([*self._folders(), *self._aside()], reverse=True):
            try:
                checkpoint = verified(folder, step) if read is None else verified(folder, step, read)
            except Damaged as flaw:
                if not os.path.lexists(folder):  # replaced or removed meanwhile, by the process that trains
                    return self.latest(warn, read)
                flaws.append(f"{folder} is damaged ({flaw})")
                continue
            for sentence in flaws:
                warn(f"{sentence}: using {folder.name}")
            return checkpoint
        if flaws:
            raise Damaged(f"{flaws[0]}, and no other checkpoint is whole; restore one from a copy or start with --new.")
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
        paused: bool = False,
        keep: int | None = None,
    ) -> Path:
        """Writes the checkpoint of ``step``; with ``keep``, then removes others as `prune` does.

        memory: of each rank. paused: training stops here though no checkpoint is due. Raises RunError when it cannot be
        written, a full disk for one; the checkpoints before it are then as they were.
        """
        folder = self.checkpoint_folder(step)
        tensors = {"weights": weights, "average": average}
        try:
            write(folder, step, **tensors, state=state, memory=memory or {}, calibrated=calibrated, paused=paused)
        except OSError as error:
            before = self.checkpoints()
            kept = f"the checkpoint of step {before[-1]} is intact" if before else "there is no earlier checkpoint"
            raise RunError(
                f"{folder} could not be written: {error.strerror or error}; {kept}; free some space and run again."
            ) from error
        if keep is not None:
            self.prune(step, keep)
        return folder

    def prune(self, step: int, last: int) -> None:
        """Removes checkpoints up to ``step`` but for the last ones and the best. Later ones, which a run that resumed
        before them found damaged, do not count; those of before ``step`` at which training paused are not kept."""
        best = self.best()
        before = [(s, folder) for s, folder in self._folders() if s <= step]
        stops = [(s, folder) for s, folder in before if s < step and paused(folder)]
        due = [one for one in before if one not in stops]
        for old, folder in [*stops, *due[:-last]]:
            if best is None or best["step"] != old:
                remove(folder)

    def recover(self) -> None:
        """Clears away what a kill left half-written. A checkpoint that was about to be replaced takes its place again.

        Only for the process that holds the lock: to another, a checkpoint being written looks the same.
        """
        for step, path in self._aside():
            os.replace(path, self.checkpoint_folder(step))
        for folder in (self.folder, self.folder / "samples"):
            for path, _ in leftovers(folder):
                discard(path)  # but for what another process is writing: a report, say

    def best(self) -> dict[str, Any] | None:
        """``step``, ``metric`` and ``value`` of the best checkpoint, if one was marked and is there."""
        try:
            best: Best = read_json(self.folder / "best.json", Best)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as error:  # there is one perhaps, and then its checkpoint must not go
            file = self.folder / "best.json"
            raise RunError(f"{file} cannot be read: {error.strerror or error}; mend that and run again.") from error
        return msgspec.structs.asdict(best) if best.step in self.checkpoints() else None

    def mark_best(self, step: int, metric: str, value: float, *, larger_is_better: bool) -> None:
        """Marks ``step`` as the best if it beats the best so far by ``metric``; only a finite value can."""
        best = self.best()
        if not math.isfinite(value):
            return
        if best is not None and best["metric"] == metric:
            old = best["value"]
            if not (value > old if larger_is_better else value < old):
                return
        with writing(self.folder / "best.json"), atomic(self.folder / "best.json") as part:
            part.write_bytes(msgspec.json.encode(Best(step, metric, value)))

    # ---- data --------------------------------------------------------------------------------------------------------
    def keep_reading(self, reading: Mapping[str, Any]) -> None:
        """Writes ``data.json``: what was read to train on, and what was left out."""
        if self.reading() != reading:
            with writing(self.folder / "data.json"), atomic(self.folder / "data.json") as part:
                part.write_bytes(msgspec.json.format(msgspec.json.encode(reading), indent=2) + b"\n")

    def reading(self) -> dict[str, Any] | None:
        """What `keep_reading` wrote; None where there is nothing that reads."""
        try:
            found = msgspec.json.decode((self.folder / "data.json").read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    # ---- figures -----------------------------------------------------------------------------------------------------
    def append(self, row: Mapping[str, Any], *, flush: bool = False) -> None:
        """Adds a tick to ``stats.jsonl``. flush: to the disk, for what follows relies on it."""
        self._append("stats.jsonl", row, flush)

    def stats(self) -> list[dict[str, Any]]:
        """The ticks so far; a line that a kill tore is left out. Raises RunError for a file that cannot be read."""
        return self._rows("stats.jsonl", Tick)

    def cut(self, step: int) -> None:
        """Drops the ticks after ``step``, and that of a pause: a resumed run writes them again. Of an evaluation what a
        kill tore is dropped, too."""
        kept = [row for row in self.stats() if row["step"] <= step and not row.get("paused")]
        self._rewrite("stats.jsonl", lambda text: b"".join(_line(row) for row in kept))
        self._rewrite("metrics.jsonl", lambda text: text[: text.rfind(b"\n") + 1])

    def _rewrite(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Changes a file's text, if it is there and would differ."""
        file = self.folder / name
        with writing(file):
            if file.exists() and (text := change(was := file.read_bytes())) != was:
                with atomic(file) as part:
                    part.write_bytes(text)

    def record(
        self,
        step: int,
        figures: Mapping[str, Mapping[str, Any]],
        *,
        reading: Mapping[str, Any] | None = None,
        keep_best: bool = False,
    ) -> None:
        """Adds an evaluation of the checkpoint of ``step`` to ``metrics.jsonl``. reading: what was read for it.
        keep_best: whether it decides which checkpoint is the best."""
        more = ({} if reading is None else {"reading": reading}) | ({"keep_best": True} if keep_best else {})
        self._append("metrics.jsonl", {"step": step, "metrics": figures, **more}, flush=True)

    def metrics(self) -> list[dict[str, Any]]:
        """The evaluations so far: ``step`` and ``metrics``, each with value, std, n and recipe. Raises RunError for a
        file that cannot be read."""
        return self._rows("metrics.jsonl", Evaluation)

    def _append(self, name: str, row: Mapping[str, Any], flush: bool) -> None:
        with writing(self.folder / name), (self.folder / name).open("ab+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            torn = file.read(1) not in (b"", b"\n")  # a line that a kill tore must not swallow this one
            left = b"\n" * torn + _line(row)
            try:
                while left:
                    left = left[file.write(left) :]
                if flush:
                    os.fsync(file.fileno())
            except BaseException:
                file.truncate(size)
                raise

    def _rows(self, name: str, kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
        """The lines of a file that are whole rows of that kind."""
        path = self.folder / name
        try:
            return read_rows(path, kind)
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror or error}; restore it from a copy.") from error

    # ---- what it is for ----------------------------------------------------------------------------------------------
    def build_game(self, most: int | None = None) -> Game:
        """The game as its config says, with fresh weights.

        most: bytes that these may about have; None: as many as there are. Raises RunError when this ganvas has no such
        system, and for a config that is none of it, or of a larger net.
        """
        from ganvas import games
        from ganvas.memory import building_within
        from ganvas.schema import Schema

        c, file = self.config, self.folder / "config.json"
        schema = Schema({name: tuple(shape) for name, shape in c.schema.items()}, tuple(c.classes))
        try:
            with building_within(most):
                game = games.system(c.system).build(c.leaves, schema)
        except UsageError as error:
            raise RunError(
                f"{file}, written by ganvas {c.ganvas}, does not fit ganvas {ganvas.__version__}: {error}"
            ) from error
        except Exception as error:  # what settings that nobody checked lead to in the building of nets
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise RunError(f"{file} describes no net of {c.system} ({reason}): restore it from a copy.") from error
        game.data = c.data
        return game

    def load_game(self, *, raw: bool = False, device: str = "cpu", warn: Callable[[str], None] = note) -> Game:
        """The trained game in eval mode: of the averaged weights, or the raw ones.

        Raises RunError when there is no checkpoint or it is of another architecture, Damaged when none is whole.
        """
        return self.loaded(raw=raw, device=device, warn=warn)[0]

    def loaded(
        self, *, raw: bool = False, device: str = "cpu", warn: Callable[[str], None] = note, whole: bool = False
    ) -> tuple[Game, Checkpoint]:
        """`load_game`, and the checkpoint that it is of. whole: every file of that is verified, as it will be read."""
        import torch

        from ganvas.streams import Purpose, stream

        checkpoint, tensors = self._newest(raw, warn, whole)
        lacking = missing_parts(self.config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(0, 0, Purpose.WEIGHTS))
            game = self.build_game(None if lacking else sum(tensor.nbytes for tensor in tensors.values()))
        fresh = {name: value for name, value in game.state_dict().items() if name.partition(".")[0] in lacking}
        try:
            game.load_state_dict(fresh | tensors)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise RunError(f"{checkpoint.folder} does not fit {self.config.system}: {reason}") from error
        game.requires_grad_(False)
        # channels-last weights, as in training: the verbs' convolutions are faster so
        return game.eval().to(device, memory_format=torch.channels_last), checkpoint  # type: ignore[call-overload]

    def _newest(self, raw: bool, warn: Callable[[str], None], whole: bool) -> tuple[Checkpoint, dict[str, Tensor]]:
        """The newest whole checkpoint and its tensors. The process that trains may take a checkpoint away while it is
        being read: then there is a newer one."""
        for _ in range(READS):
            checkpoint = self.latest(warn, None if whole else [WEIGHTS if raw else AVERAGE])
            if checkpoint is None:
                raise RunError(f"{self.folder} has no checkpoint yet; train it first.")
            try:
                raw = raw and self.config.imported is None  # of an imported run the two are one
                return checkpoint, checkpoint.weights() if raw else checkpoint.average()
            except FileNotFoundError:
                continue
        raise RunError(f"{self.folder} writes checkpoints faster than they can be read; try again.")

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
            "data": placed(c.data, c.data_root),
            "reading": [reading] if (reading := self.reading()) is not None else [],
            "step": step,
            "steps": c.steps,
            "imported": c.imported,
            "not_exportable": c.not_exportable,
            "seconds": stats[-1]["seconds"] if stats else 0.0,
            "verbs": c.verbs,
            "metrics": figures,
            "best": self.best(),
            "health": stats[-1].get("health", []) if stats else [],
            "checkpoints": steps,
            "bytes": sum(_size(file) for file in self.folder.rglob("*")),
            "next": self.commands()[0],
        }

    def commands(self) -> list[str]:
        """What to type next, the likeliest first: go on training if it is not done, then what the verbs allow."""
        c, run = self.config, shlex.quote(str(self.folder))
        data, imported = shlex.quote(placed(c.data, c.data_root)), c.imported is not None
        train = self.train_command(out=self.folder)
        if imported:  # it has no data, and is trained on from in another folder
            data = "SPEC"
            like = f"'SPEC?classes={len(c.classes)}'" if "labels" in c.schema else data  # so that the nets are alike
            train = " ".join(
                [f"ganvas train {c.system} --data {like} --preset {c.preset}", *self._leaves(), f"--init {run}"]
            )
        verbs = {
            "sample": f"ganvas sample {run} -n 64 --out samples.png",
            "reconstruct": f"ganvas reconstruct {run} {data} --out reconstructions.png",
            "prior": f"ganvas interpolate {run} --seeds 0,1,2 --out walk.gif",
            "translate": f"ganvas translate {run} {data} --out translations.png",
        }
        done = self.checkpoints()[-1:] >= [c.steps] and not imported
        pictures = "image" in c.schema  # points are not walked through
        able = [command for verb, command in verbs.items() if verb in c.verbs and (verb != "prior" or pictures)]
        evaluate = f"ganvas evaluate {run}" + f" --data {data}" * imported
        return [*([] if done else [train]), *able, evaluate, f"ganvas report {run}"]

    def train_command(self, *, out: Path, init: Path | None = None) -> str:
        """The command that trains with this run's settings into ``out``, from the weights of ``init`` if given."""
        c = self.config
        return " ".join(
            [
                f"ganvas train {c.system} --data {shlex.quote(c.data)} --preset {c.preset} --steps {c.steps}",
                f"--batch-size {c.batch_size} --seed {c.seed} --precision {c.precision}",
                *([f"--accumulate {c.shares}"] if c.shares > 1 else []),
                *(["--compile"] if c.compile else []),
                *([f"--keep-best {shlex.quote(c.keep_best)}"] if c.keep_best else []),
                *self._leaves(),
                *([f"--init {shlex.quote(str(init))}"] if init is not None else []),
                f"--out {shlex.quote(str(out))}",
            ]
        )

    def _leaves(self) -> list[str]:
        """The system's own settings that differ from the preset's, as they are typed."""
        return [_flag(name, self.config.leaves[name]) for name in self.config.changed if name in self.config.leaves]


class Best(msgspec.Struct, frozen=True):
    """Which checkpoint is the best, by what."""

    step: int
    metric: str
    value: float


def _claim(folder: Path) -> None:
    """Makes ``folder`` if it is not there. Raises RunError when it cannot be made or holds what is no run."""
    with writing(folder, "choose another --out"):
        make_folder(folder)
        strange = not Run.exists(folder) and any(not file.name.startswith(".") for file in folder.iterdir())
    if strange:
        raise RunError(f"{folder} is not empty and holds no run; choose another --out.")


def _no_run(folder: Path) -> str:
    """The sentence on a folder that is no run: whether it is there at all, and which runs lie near it."""
    if folder.exists():
        return f"{folder} is not a run folder: it has no config.json."
    places = dict.fromkeys([folder.parent, Path("runs")])
    there = [str(run.parent) for place in places for run in sorted(place.glob("*/config.json"))]
    alike = difflib.get_close_matches(str(folder), there, n=RUNS_NAMED, cutoff=0)
    more = f" and {len(there) - len(alike)} more" if len(there) > len(alike) else ""
    return f"There is no run {folder}: " + (
        f"there are {', '.join(alike)}{more}." if alike else "ganvas train makes one."
    )


def _step(folder: Path) -> int:
    """The step that a checkpoint's name says; -1 for other names."""
    named = re.fullmatch(r"checkpoint-([0-9]{8,})", folder.name)
    return int(named[1]) if named else -1


def _size(path: Path) -> int:
    """Bytes of a file; nothing for a folder, or for what was removed meanwhile."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _flag(name: str, value: Any) -> str:
    """A leaf as it is typed."""
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {shlex.join(map(str, value)) if isinstance(value, list) else shlex.quote(str(value))}"


def _line(row: Mapping[str, Any]) -> bytes:
    """A row as one line of JSON; msgspec writes what is not finite as null. NumPy's numbers are taken as floats."""
    return msgspec.json.encode(row, enc_hook=float) + b"\n"


class Runs(list[Run]):
    """Runs, printed one per line."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "no runs"


def runs(folder: str | Path = "runs", warn: Callable[[str], None] = note) -> list[Run]:
    """The runs in and under ``folder``, by path; ``warn`` hears of those that cannot be read."""
    found = Runs()
    folder = to_path(folder, "The folder of runs")
    for place, folders, files in os.walk(folder):
        if "config.json" in files:
            try:
                found.append(Run.open(place))
            except RunError as error:
                if "stats.jsonl" in files or any(_step(Path(name)) >= 0 for name in folders):  # else another's config
                    warn(str(error))
        folders[:] = sorted(name for name in folders if name[0] != "." and _step(Path(name)) < 0)
    return found


def load(run: Run | str | Path, *, raw: bool = False, device: str = "cpu") -> Game:
    """The trained game of a run or its folder, ready for its verbs: the averaged weights, or the ``raw`` ones.

    Raises RunError where there is no run or no checkpoint, Damaged where none is whole.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    return run.load_game(raw=raw, device=device)

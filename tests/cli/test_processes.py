"""The command line as a process of its own: what it imports, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import folders
from ganvas.run import Run

GANVAS = [sys.executable, "-m", "ganvas"]
HEAVY = ("torch", "matplotlib", "sklearn", "skimage", "jinja2", "numpy")


def modules(here: Path, *words: str, code: int = 0) -> list[str]:
    """The heavy packages that a command imports."""
    program = f"""
import sys
from ganvas.cli import run
code = run({list(words)})
print("heavy:", *[name for name in {HEAVY} if name in sys.modules], "code:", code, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=here)
    assert bool(done.stdout) == (code == 0)
    last = done.stderr.splitlines()[-1].split()
    assert last[0] == "heavy:"
    assert last[-2:] == ["code:", str(code)]
    return last[1:-2]


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["sample", "--help"], ["fetch", "--help"], ["info", "run"], ["info", "run", "--json"],
     ["runs", "."], ["runs", ".", "--json"]],
    ids=" ".join,
)  # fmt: skip
def test_what_needs_no_torch_does_not_wait_for_it(here: Path, words: list[str]) -> None:
    folders.build(here / "run", 10).record(10, {"mse": folders.figure(0.5)})
    assert modules(here, *words) == []


@pytest.mark.parametrize(
    "words",
    ["smaple", "train", "train vea", "train vae", "train vae --data", "train vae --data digits --widht 3",
     "train vae --data digits --preset smal", "train vae --data digits --steps x", "train vae --data nowhere",
     "train vae --data digits?siez=3", "train vae --data digits --device gpu",
     "train vae --data digits --init nowhere", "train vae --data digits --likelihood guassian",
     "train vae --data digits --size 64", "sample run", "sample nowhere --out a.png",
     "encode run nowhere --out a.npz", "encode run digits --out a.npz -n x", "evaluate nowhere",
     "evaluate run --data nowhere", "compare nowhere digits", "translate nowhere a --out b", "report nowhere",
     "import --as vea G=a --out b", "edit run --to 3 --out a", "data nowhere",
     "interpolate run --to nowhere.png --out a.png"],
)  # fmt: skip
def test_typing_errors_are_answered_before_torch_is_imported(here: Path, words: str) -> None:
    folders.build(here / "run", 10)
    assert "torch" not in modules(here, *words.split(), code=2)


def test_help_of_train_needs_no_torch(here: Path) -> None:
    assert "torch" not in modules(here, "train", "pix2pixhd", "--help")


@pytest.mark.parametrize("words", [["--help"], ["runs", "."], ["info", "run", "--json"]], ids=" ".join)
def test_a_reader_that_has_gone_ends_a_command_quietly(here: Path, words: list[str]) -> None:
    """As in ``ganvas runs | head -0``."""
    folders.build(here / "run", 10)
    process = subprocess.Popen([*GANVAS, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 128 + signal.SIGPIPE


SLOW = """
import pathlib, sys, time
import ganvas.data
def wait(*arguments, **more):
    pathlib.Path("reading").touch()
    time.sleep(600)
ganvas.data.open_data = wait
from ganvas.cli import main
main()
"""


def test_an_interrupt_ends_a_command_with_130_and_no_traceback(here: Path) -> None:
    """While it reads its data."""
    words = [sys.executable, "-c", SLOW, "data", "digits"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here)
    while not (here / "reading").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert (out, err) == ("", "ganvas: interrupted\n")


def test_debug_shows_where_a_mistake_was_noticed_and_nothing_else_does(here: Path) -> None:
    quiet, loud = (
        subprocess.run([*GANVAS, "info", "nowhere", *more], capture_output=True, text=True, check=False, cwd=here)
        for more in ([], ["--debug"])
    )
    assert (quiet.returncode, loud.returncode) == (2, 2)
    assert quiet.stderr == "ganvas: There is no run nowhere: ganvas train makes one.\n"
    assert "Traceback" in loud.stderr
    assert loud.stderr.endswith(quiet.stderr)


def test_any_terminal_can_be_written_to(here: Path) -> None:
    """One that knows ASCII alone, and none at all."""
    folders.build(here / "grün\udcff", 10)
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*GANVAS, "runs", "."], capture_output=True, check=True, cwd=here, env=ascii_only)
    assert rb"gr\xfcn\udcff" in done.stdout
    done = subprocess.run([*GANVAS, "runs", "."], capture_output=True, check=True, cwd=here)
    assert "grün".encode() + b"\xff" in done.stdout
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *GANVAS, "runs", "."], check=False, cwd=here)
    assert closed.returncode == 0


@pytest.mark.parametrize("words", [["systems"], ["train", "vae", "--data", "digits"]], ids=" ".join)
def test_ctrl_c_is_never_lost_while_modules_load(here: Path, words: list[str]) -> None:
    """Compiled modules lose an exception that comes while they are imported; this one stands for them."""
    (here / "torch.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    pass\n"
    )
    done = subprocess.run(
        [*GANVAS, *words], capture_output=True, text=True, check=False, cwd=here, env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.returncode == -signal.SIGINT, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_streams_that_are_closed_do_no_harm(here: Path, closed: str) -> None:
    """As some daemons start what they start; what is said must not go into the files that are written."""
    words = "train vae --preset tiny --steps 2 --data digits?limit=64 --device cpu --out run"
    done = subprocess.run(f"{sys.executable} -m ganvas {words} {closed}", shell=True, capture_output=True, cwd=here)
    assert done.returncode == 0
    assert Run.open(here / "run").checkpoints()[-1] == 2
    assert "run" in done.stdout.decode() or "1>" in closed
    assert json.loads((here / "run/config.json").read_text())["steps"] == 2


def test_a_log_that_fails_does_not_end_training(here: Path) -> None:
    words = [*GANVAS, "train", "vae", "--preset", "tiny", "--steps", "40", "--data", "digits?limit=64", "--out"]
    with open("/dev/full", "w") as full:
        assert subprocess.run([*words, "a"], stdout=subprocess.PIPE, stderr=full, cwd=here).returncode == 0
    with subprocess.Popen([*words, "b"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=here) as process:
        assert process.stderr is not None
        process.stderr.close()
        process.communicate()
    assert process.returncode == 0
    assert Run.open(here / "b").checkpoints()[-1] == 40


@pytest.mark.parametrize("words", [["--help"], ["runs", "."], ["info", "run", "--json"]], ids=" ".join)
def test_an_output_that_is_full_is_one_sentence(here: Path, words: list[str]) -> None:
    folders.build(here / "run", 10)
    with open("/dev/full", "w") as full:
        done = subprocess.run([*GANVAS, *words], stdout=full, stderr=subprocess.PIPE, text=True, cwd=here)
    assert done.returncode == 2
    assert done.stderr == "ganvas: stdout cannot be written: No space left on device; free some space.\n"


def test_in_a_folder_that_was_removed_there_is_one_sentence(here: Path) -> None:
    (here / "gone").mkdir()
    program = "import os; os.rmdir(os.getcwd()); from ganvas.cli import run; raise SystemExit(run(['data', 'digits']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=here / "gone")
    assert (done.returncode, done.stderr) == (
        2, "ganvas: The folder that you are in has been removed: change to another.\n",
    )  # fmt: skip

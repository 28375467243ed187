"""What the jobs of these tests do, each as a process: ``python -m chores ACTION ...``. Needs nothing of ours."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main(action: str, *arguments: str) -> None:
    ACTIONS[action](*arguments)


def tell(file: str) -> None:
    """Writes what this process was given, into a file of its own name under ``file``."""
    set_by_tests = "TEST_THREADS"
    threads = {name: value for name, value in os.environ.items() if name.endswith("_THREADS") and name != set_by_tests}
    facts = {"pid": os.getpid(), "session": os.getsid(0), "parent": os.getppid(), "threads": threads,
             "argv": sys.argv[1:], "input": sys.stdin.read()}  # fmt: skip
    Path(file).write_text(json.dumps(facts))


def say(code: str, *texts: str) -> None:
    """Says texts on stdout and stderr in turn; ends with a code, or by a signal if it is negative."""
    for i, text in enumerate(texts):
        print(text.encode().decode("unicode_escape"), file=(sys.stdout, sys.stderr)[i % 2], end="")
    if int(code) < 0:
        os.kill(os.getpid(), -int(code))
    sys.exit(int(code))


def work(file: str, seconds: str = "60", saving: str = "0", parent: str = "") -> None:
    """Stands for training: works for some seconds, takes some to save when it is told to end, and holds a lock, on
    which another process of the same file fails. What happens is noted in ``file``.

    parent: "kill" kills the process that started it, once, at its first try; "always", at every one.
    """
    noted, parent_id = Path(file), os.getppid()

    def note(what: str) -> None:
        with noted.open("a") as out:
            out.write(f"{what} {os.getpid()} {time.time()} {parent_id}\n")

    def save(number: int, frame: Any) -> None:
        time.sleep(float(saving))
        note("saved")
        sys.exit(128 + number)

    lock = noted.with_suffix(".held").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("Another process is training here.")
    signal.signal(signal.SIGTERM, save)
    kills = parent == "always" or (parent == "kill" and not noted.exists())
    note("began")
    if kills:
        os.kill(parent_id, signal.SIGKILL)
    time.sleep(60 if kills else float(seconds))
    note("ended")


def stubborn(file: str) -> None:
    """Does not end when it is told to, nor does a process that it started."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(file).write_text(f"{os.getpid()} {helper.pid}")
    time.sleep(60)


ACTIONS = {action.__name__: action for action in (tell, say, work, stubborn)}

if __name__ == "__main__":
    main(*sys.argv[1:])

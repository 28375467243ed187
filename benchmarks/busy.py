"""What a training loses when other processes use the cores, by how long OpenMP's waiting threads spin.

    python benchmarks/busy.py [--rounds 5] [--seconds 5] [--spins default,0,1000,10000] [--system avae] [--data digits]

At the end of every parallel loop, OpenMP's threads wait for each other. By default GNU's spin for milliseconds before
they sleep: that is fastest on an idle machine, and on a busy one it burns the very core that the slowest thread waits
for. ``GOMP_SPINCOUNT`` limits it; it is read once, when torch is loaded, so each setting gets a process of its own. The
processes take turns: one trains for a few seconds while the others sleep, alone, beside one busy loop and beside two.

``share``: the speed over the fair share of this process, which is its speed alone under the default setting, divided
by the number of processes. Goals: at least 0.95 alone; at least 0.8 beside one and beside two.
``others``: the most that processes outside of this test used of the machine during a measurement; above 0.05 a
measurement is repeated, a few times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOADS = (0, 1, 2)
TRIES = 6
QUIET = 0.05  # of the machine, that others may use during a measurement


def train_on_demand(system: str, data: str) -> None:
    """The child: makes a training, then for every number of seconds on stdin trains so long and prints steps/s."""
    from ganvas.data import Batches
    from ganvas.engine import Engine
    from ganvas.memory import hold_memory
    from ganvas.planning import opened, plan

    with tempfile.TemporaryDirectory() as folder:
        asked = plan(system, data=data, preset="small", steps=1_000_000, out=Path(folder) / "run", device="cpu")
        run, _ = opened(asked)
        c = asked.config
        hold_memory()
        engine = Engine(run.build_game(), seed=0, steps_per_epoch=c.steps_per_epoch, total_steps=c.steps)
        batches = Batches(asked.dataset, c.batch_size, seed=0, device="cpu")
        step = lambda: engine.step(batches(engine.clock.step))
        for _ in range(3):
            step()
        print("ready", flush=True)
        for line in sys.stdin:
            step()
            start, steps = time.monotonic(), 0
            while time.monotonic() - start < float(line):
                step()
                steps += 1
            print(steps / (time.monotonic() - start), flush=True)


def ticks() -> tuple[int, int]:
    """Of all cores since boot: clock ticks that were used, and all."""
    values = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(values) - values[3] - values[4], sum(values)


def used(process: subprocess.Popen[str]) -> int:
    """Clock ticks that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@contextmanager
def loops(n: int) -> Iterator[list[subprocess.Popen[str]]]:
    """As many processes that do nothing but use a core each."""
    made = [subprocess.Popen([sys.executable, "-c", "while True: pass"], text=True) for _ in range(n)]
    try:
        time.sleep(0.5)
        yield made
    finally:
        for process in made:
            process.kill()
            process.wait()


def measure(child: subprocess.Popen[str], load: int, seconds: float) -> tuple[float, float]:
    """Steps/s of a child beside ``load`` busy loops, and what others used of the machine meanwhile."""
    assert child.stdin is not None
    assert child.stdout is not None
    with loops(load) as busy:
        for _ in range(TRIES):
            ours, (all_used, passed) = sum(map(used, [child, *busy])), ticks()
            child.stdin.write(f"{seconds}\n")
            child.stdin.flush()
            speed = float(child.stdout.readline())
            more, until = ticks()
            others = max(0.0, (more - all_used - sum(map(used, [child, *busy])) + ours) / (until - passed))
            if others <= QUIET:
                break
            time.sleep(seconds)
    return speed, others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--spins", default="default,0,1000,10000")
    parser.add_argument("--system", default="avae")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        return train_on_demand(asked.system, asked.data)
    plain = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    words = [sys.executable, __file__, "--child", "--system", asked.system, "--data", asked.data]
    children: dict[str, subprocess.Popen[str]] = {}
    speeds: dict[tuple[str, int], list[float]] = defaultdict(list)
    most = 0.0
    try:
        for spin in asked.spins.split(","):
            env = plain if spin == "default" else {**plain, "GOMP_SPINCOUNT": spin}
            children[spin] = subprocess.Popen(words, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert children[spin].stdout.readline() == "ready\n"  # type: ignore[union-attr]
        for _ in range(asked.rounds):
            for load in LOADS:
                for spin, child in children.items():
                    speed, others = measure(child, load, asked.seconds)
                    speeds[spin, load].append(speed)
                    most = max(most, others)
    finally:
        for child in children.values():
            child.kill()
            child.wait()
    idle = statistics.median(speeds[next(iter(children)), 0])
    print(f"{asked.system} small on {asked.data}; others used at most {most:.2f} of the machine")
    print("GOMP_SPINCOUNT      " + "".join(f"beside {load}: steps/s (range), share     " for load in LOADS))
    for spin in children:
        cells = []
        for load in LOADS:
            found = speeds[spin, load]
            middle = statistics.median(found)
            cells.append(
                f"{middle:6.2f} ({min(found):.2f} to {max(found):.2f}), {middle / (idle / (1 + load)):.2f}".ljust(38)
            )
        print(f"{spin:16}", *cells)


if __name__ == "__main__":
    main()

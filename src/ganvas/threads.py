"""How the process's threads wait for each other, as training wants it."""

from __future__ import annotations

import os

SPIN_COUNT = 1_000  # turns of libgomp's waiting loop: some 20 to 70 microseconds, about the gap between two operators
USERS_OWN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def limit_spinning() -> None:
    """Let waiting OpenMP threads spin for microseconds before they sleep, not for milliseconds.

    GNU's default is fastest on an idle machine by a few percent. As soon as another process uses a core, the spinning
    thread takes the time of the one that it waits for, and training is up to ten times slower. Where the user has set
    one of the two variables, nothing changes. libgomp reads them once, so call this before torch is imported;
    afterwards it has no effect. ``benchmarks/busy.py`` measures it.
    """
    if not any(name in os.environ for name in USERS_OWN):
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)

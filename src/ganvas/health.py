"""Verdicts from ticks: what a practised eye would say of the curves, a sentence each. Pure: rows in, sentences out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

WINDOW = 8  # ticks a verdict looks back over; fewer say nothing
SETTLED_TICKS, SETTLED_STEPS = 2 * WINDOW, 500  # before both, a KL that was never higher may still grow from near 0
CRITIC_WINS = 0.98  # mean accuracy of a critic that leaves the generator nothing to learn from
NO_INFORMATION = 0.05  # nats of KL: the code says nothing of the image
EXPLODING = 30.0  # times its own median that a gradient norm may reach
VANISHING = 1e-7


def verdicts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the run, judged on its last ticks, oldest first; empty when nothing is.

    A row's ``terms`` are named ``player/term`` and ``player/gradient_norm``; notes by their plain name.
    """
    recent, earlier = rows[-WINDOW:], rows[:-WINDOW]
    if len(recent) < WINDOW:
        return []
    settled = len(rows) >= SETTLED_TICKS and recent[-1]["step"] >= SETTLED_STEPS
    found = []
    for name in recent[-1]["terms"]:
        values = [row["terms"].get(name) for row in recent]
        if name.startswith("valid/") or any(value is None for value in values):
            continue
        term = name.rpartition("/")[2]
        if term == "accuracy" and fmean(values) > CRITIC_WINS:
            found.append(
                f"The critic tells real from fake {fmean(values):.1%} of the time: the generator learns little; "
                "a smaller critic rate, R1 or label smoothing helps."
            )
        elif term == "kl" and 0 <= max(values) < NO_INFORMATION and (settled or _fell(name, earlier)):
            found.append(
                f"{name} is {values[-1]:.2g} nats: the posterior has collapsed to the prior; lower beta helps."
            )
        elif term == "gradient_norm":
            usual = median(row["terms"][name] for row in rows if row["terms"].get(name) is not None)
            if values[-1] > EXPLODING * usual > 0:
                found.append(f"{name} is {values[-1] / usual:.0f} times its median: a lower rate or a clip helps.")
            elif max(values) < VANISHING:
                found.append(f"{name} has vanished ({values[-1]:.1g}): this player no longer learns.")
    return found


def _fell(name: str, earlier: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a KL once said something of the image, before it no longer did: at the start it is near 0 anyway."""
    values = (row["terms"].get(name) for row in earlier)
    return any(value is not None and value >= NO_INFORMATION for value in values)

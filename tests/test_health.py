"""Verdicts on made-up ticks: each sickness is seen, and a healthy run is left in peace."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganvas.health import SETTLED_STEPS, SETTLED_TICKS, WINDOW, verdicts

Terms = dict[str, float | None]


def ticks(terms: Callable[[int], Terms], n: int = 40) -> list[dict[str, Any]]:
    return [{"step": 10 * i, "terms": terms(i)} for i in range(n)]


def healthy(i: int) -> Terms:
    wave = 1 + 0.2 * math.sin(i)
    usual = {"accuracy": 0.8, "autoencoder/kl": 12.0, "autoencoder/gradient_norm": 3.0, "critic/gradient_norm": 0.5}
    held_out = {"valid/autoencoder/kl": 0.0, "valid/accuracy": 1.0}
    return {name: value * wave for name, value in usual.items()} | held_out


def test_a_healthy_run_has_no_verdict() -> None:
    assert verdicts(ticks(healthy)) == []


SICK: dict[str, tuple[Terms, str]] = {
    "critic wins": ({"accuracy": 0.995}, r"^The critic tells real from fake 99\.5% of the time"),
    "posterior collapses": ({"autoencoder/kl": 0.01}, r"^autoencoder/kl is 0\.01 nats: the posterior has collapsed"),
    "gradient vanishes": ({"critic/gradient_norm": 1e-9}, r"^critic/gradient_norm has vanished \(1e-09\)"),
}


@pytest.mark.parametrize(("terms", "sentence"), SICK.values(), ids=SICK)
def test_a_sickness_that_lasts_is_said_in_one_sentence(terms: Terms, sentence: str) -> None:
    rows = ticks(lambda i: healthy(i) | (terms if i >= 40 - WINDOW else {}))
    (verdict,) = verdicts(rows)
    assert re.search(sentence, verdict)
    assert verdict.endswith(".")
    assert verdicts(rows[:-1]) == []  # one tick less of it is no verdict yet


def test_one_gradient_far_over_its_usual_norm_is_said_at_once() -> None:
    rows = ticks(lambda i: healthy(i) | ({"critic/gradient_norm": 50.0} if i == 39 else {}))
    (verdict,) = verdicts(rows)
    assert verdict.startswith("critic/gradient_norm is 99 times")  # of a median of a little over 0.5
    assert verdicts(rows[:-1]) == []


def test_every_sickness_is_told() -> None:
    terms = {name: value for sick, _ in SICK.values() for name, value in sick.items()}
    assert len(verdicts(ticks(lambda i: healthy(i) | (terms if i >= 40 - WINDOW else {})))) == len(SICK)


@given(
    n=st.integers(0, SETTLED_TICKS - 1),
    values=st.lists(st.floats(0, 0.049), min_size=SETTLED_TICKS, max_size=SETTLED_TICKS),
)
def test_a_kl_that_has_never_been_higher_is_no_collapse_at_the_start(n: int, values: list[float]) -> None:
    assert verdicts(ticks(lambda i: {"autoencoder/kl": values[i]}, n)) == []


@given(n=st.integers(WINDOW, 120), every=st.integers(1, 100))
def test_a_kl_that_never_rises_has_time_for_some_steps_and_some_ticks(n: int, every: int) -> None:
    """A tick a step says early what little happens in few steps."""
    rows = [{"step": every * (i + 1), "terms": {"autoencoder/kl": 0.01}} for i in range(n)]
    assert bool(verdicts(rows)) == (n >= SETTLED_TICKS and every * n >= SETTLED_STEPS)


@given(high=st.floats(0.05, 1e4), at=st.integers(0, 9), n=st.integers(10 + WINDOW, 60))
def test_a_kl_that_falls_has_collapsed(high: float, at: int, n: int) -> None:
    (verdict,) = verdicts(ticks(lambda i: {"autoencoder/kl": high if i == at else 0.01}, n))
    assert "collapsed" in verdict


@pytest.mark.parametrize("n", range(WINDOW))
def test_too_few_ticks_say_nothing(n: int) -> None:
    assert verdicts(ticks(lambda i: {"accuracy": 1.0, "a/kl": 0.0, "a/gradient_norm": 0.0}, n)) == []


def test_missing_and_unmeasured_values_are_no_verdict() -> None:
    """A term that is not in every row (a lazy penalty), or was not finite and is null."""
    rows = ticks(
        lambda i: {"accuracy": None if i == 38 else 1.0, "a/gradient_norm": None, "b/kl": 0.0} if i != 37 else {}
    )
    assert verdicts(rows) == []


def test_a_player_whose_gradient_was_always_nothing_has_vanished() -> None:
    (verdict,) = verdicts(ticks(lambda i: {"a/gradient_norm": 0.0}))
    assert "vanished" in verdict

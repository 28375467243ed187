"""`ganvas cache`: what people and programs see of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from said import Command, Refusal

from ganvas.cli import cache as command


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_is_listed_and_pruned(root: Path, here: Path, ganvas_cli: Command) -> None:
    assert ganvas_cli("cache", "--json").json["entries"] == []
    (here / "faces").mkdir()
    for i in range(3):
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(here / "faces" / f"{i}.png")
    ganvas_cli("data", "faces?size=4")
    said = ganvas_cli("cache").out
    assert all(text in said for text in ("faces?size=4", "just now", "store", "total", str(root)))
    found = ganvas_cli("cache", "list", "--json").json
    (entry,) = found["entries"]
    assert entry["of"] == "faces?size=4"
    assert entry["source"] == str(here / "faces")
    assert entry["bytes"] == found["bytes"] > 0
    assert Path(entry["path"]).parent == root / "stores"

    assert "to remove more, say --older-than DAYS or --larger-than GB" in ganvas_cli("cache", "prune").out
    assert "would be removed" in ganvas_cli("cache", "prune", "--larger-than", "0", "--dry-run").out
    assert ganvas_cli("cache", "prune", "--older-than", "30", "--json").json["removed"] == []
    assert Path(entry["path"]).is_dir()
    pruned = ganvas_cli("cache", "prune", "--larger-than", "0", "--json").json
    assert [one["of"] for one in pruned["removed"]] == ["faces?size=4"]
    assert pruned["bytes_left"] == 0
    assert list((root / "stores").iterdir()) == []
    assert ganvas_cli("cache").out.splitlines()[-1].split()[:3] == ["0", "kB", "total"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["drop"], "one of: list, prune"),
        (["--older-than", "3"], "are for ganvas cache prune"),
        (["list", "--dry-run"], "are for ganvas cache prune"),
        (["prune", "--older-than", "-1"], "--older-than must be a number from 0, not -1"),
        (["prune", "--larger-than", "nan"], "--larger-than must be a number from 0, not nan"),
        (["prune", "--larger-than", "much"], "'much' is not a number"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], says: str, root: Path, refused: Refusal) -> None:
    assert says in refused("cache", *words)


@pytest.mark.parametrize(
    ("n", "shown"), [(0, "0 kB"), (420, "0.42 kB"), (1_880_000, "1.88 MB"), (2.5e9, "2.5 GB"), (1.2345e12, "1,234 GB")]
)
def test_sizes_are_for_people(n: float, shown: str) -> None:
    assert command.size(int(n)) == shown

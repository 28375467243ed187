"""The table's rows, its published numbers, and its four claims."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ganvas import games
from ganvas.benchmark.table import BETA, DATA, PROFILES, PUBLISHED, ROWS, SEVEN, leaves, published, verdicts

LPIPS = {"lpips": "lpips-alex"}
FACTS = {"VAE": "vae", "GAN": "gan", "VAE/GAN": "vaegan", "BiGAN": "bigan", "AVAE with xi, L_Z^a": "avae-xi-nll",
         "AVAE without xi, L_Z^a": "avae-nll", "AVAE without xi, L_Z^b": "avae-precision"}  # fmt: skip


def means(data: str) -> dict[str, dict[str, float]]:
    """The published means on a set, as if they were ours."""
    found: dict[str, dict[str, float]] = {}
    for row, metric in PUBLISHED:
        found.setdefault(row, {})[LPIPS.get(metric, metric)] = published(row, metric, data)[0]  # type: ignore[index]
    return found


@pytest.mark.parametrize("data", DATA)
def test_the_published_table_meets_its_own_claims(data: str) -> None:
    found = verdicts(means(data), data)
    assert [v.holds for v in found] == [True, True, None if data == "svhn" else True, True]


@pytest.mark.parametrize(
    ("row", "metric", "factor", "claim"),
    [("vae", "mse", 10, 0), ("bigan", "mse", 0.01, 0), ("avae-nll", "mse", 3, 0), ("gan", "fid", 10, 1),
     ("vae", "fid", 0.3, 1), ("avae-precision", "fid", 0.3, 1), ("vae", "lpips-alex", 0.3, 2),
     ("avae-xi-nll", "lpips-alex", 1.3, 3)],
)  # fmt: skip
def test_a_number_that_breaks_a_claim_is_seen(row: str, metric: str, factor: float, claim: int) -> None:
    found = means("cifar10")
    found[row][metric] *= factor
    assert verdicts(found, "cifar10")[claim].holds is False


def test_what_was_not_measured_is_not_judged() -> None:
    found = means("cifar10")
    del found["gan"]
    assert verdicts(found, "cifar10")[1].holds is None
    assert "GAN" in verdicts(found, "cifar10")[1].why
    assert [v.holds for v in verdicts({}, "cifar10")] == [None] * 4
    only = {row: {"fd-alex": figures["fid"]} for row, figures in means("celeba").items()}
    assert verdicts(only, "celeba")[1].holds is True
    assert "fd-alex" in verdicts(only, "celeba")[1].claim


def test_the_published_numbers_are_those_of_the_facts(shared: Path) -> None:
    text = (shared / "facts" / "avae-table.md").read_text()
    lines = re.findall(r"^\| ([^|]+) \| (MSE|LPIPS|FID) \| (.*) \|$", text, re.M)
    assert len(lines) == len(PUBLISHED) == 19
    for title, metric, cells in lines:
        pairs = tuple(tuple(float(n) for n in cell.split(" +- ")) for cell in cells.split(" | "))
        assert PUBLISHED[FACTS[title], metric.lower()] == pairs


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_a_system_with_the_settings_that_the_table_names(row: str) -> None:
    system, _ = ROWS[row]
    config, defaults = games.system(system).preset("avae-table")
    own = {leaf: getattr(config, leaf) for leaf in config.__dataclass_fields__}
    made = games.system(system).configure({**own, **leaves(row, "svhn", 16)})
    assert made.width == 16
    assert defaults == {"steps": 50_000, "batch_size": 64}
    if system == "avae":
        assert made.xi == ("-xi" in row)
        assert made.latent_loss == row.rpartition("-")[2]
    if system == "vaegan":
        assert made.beta == BETA["svhn"] == 20


def test_the_paper_profile_is_the_papers() -> None:
    paper, cpu = PROFILES["paper"], PROFILES["cpu"]
    assert (paper.width, paper.steps, paper.seeds, paper.data) == (128, 50_000, 5, DATA)
    assert (cpu.width, cpu.steps, cpu.seeds, cpu.data) == (16, 2_000, 1, ("cifar10",))
    assert set(SEVEN) == {row for row, _ in PUBLISHED}

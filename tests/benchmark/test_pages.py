"""Pages of a table whose numbers are made by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest

from ganvas.benchmark import pages
from ganvas.benchmark.cell import Cell, Result
from ganvas.benchmark.jobs import Job, Outcome
from ganvas.benchmark.result import Table
from ganvas.data import named
from ganvas.errors import RunError


def result(row: str, seed: int, step: int = 50, **values: float | None) -> Result:
    cell = Cell(row=row, data="svhn", spec="svhn", test="test", fingerprints=("f", "g"), seed=seed, width=2, steps=50,
                folder="/none", metrics=tuple(values))  # fmt: skip
    metrics = {
        name.replace("_", "-"): {
            "value": value,
            "std": None,
            "n": 128,
            "recipe": {"range": "[0, 1]" if seed == 2 else "[-1, 1]", "seed": seed},
        }
        for name, value in values.items()
    }
    return Result(
        cell=cell,
        step=step,
        seconds={"mse": 2.0 + 3 * seed} if "mse" in values else {},
        metrics=metrics,
        hardware="A thinking machine",
    )


def table(folder: Path, *results: Result, failed: str | None = None) -> Table:
    failures = {} if failed is None else {
        f"{failed} on svhn, seed 0": Outcome(Job("j", "m", (), folder / "log"), 3, "It <diverged>.", 1.0)
    }  # fmt: skip
    rows = tuple(dict.fromkeys([r.cell.row for r in results] + ([failed] if failed else [])))
    return Table(folder, "ganvas benchmark avae-table --out 'a b'", 2, 50, 3, rows, ("svhn",), ("mse", "fd-alex"),
                 results, failures, 61.0, {})  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Path:
    made = table(
        tmp_path,
        result("vae", 0, mse=0.2, fd_alex=30.0), result("vae", 1, mse=0.3, fd_alex=31.0),
        result("vae", 2, 40, mse=0.7, fd_alex=32.0), result("gan", 0, fd_alex=None),
        result("gan", 1, fd_alex=20.0), failed="bigan",
    )  # fmt: skip
    pages.write(made)
    return tmp_path


def test_means_and_deviations_over_seeds(written: Path) -> None:
    """0.2, 0.3 and 0.7: mean 0.4, deviation (n - 1) the root of (0.04 + 0.01 + 0.09) / 2."""
    rows = {
        (row["model"], row["metric"]): row for row in csv.DictReader(io.StringIO((written / "table.csv").read_text()))
    }
    line = rows["vae", "mse"]
    assert float(line["mean"]) == pytest.approx(0.4)
    assert float(line["std"]) == pytest.approx(math.sqrt(0.07))
    assert (line["seeds"], line["steps"], line["published mean"], line["published std"]) == (
        "3",
        "50 50 40",
        "0.02",
        "0.0",
    )
    assert "| VAE | 0.400 ± 0.265 | 31.0 ± 1.0 | 40, 50 | 0.02 ± 0.00 |" in (written / "table.md").read_text()
    assert "0.400 ± 0.265" in (written / "table.html").read_text()


def test_json_knows_no_nan(written: Path) -> None:
    found = json.loads((written / "table.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert found["means"]["svhn"]["gan"]["fd-alex"]["mean"] is None
    assert [o["holds"] for o in found["orderings"]["svhn"]] == [None, None, None, None]
    assert found["seconds"] == 61.0
    assert pages.before(written) == found


def test_failed_cells_and_the_command_are_on_the_page(written: Path) -> None:
    markdown, html = (written / "table.md").read_text(), (written / "table.html").read_text()
    assert "| BiGAN |  |  | failed |" in markdown
    assert "- bigan on svhn, seed 0: It <diverged>." in markdown
    assert "It &lt;diverged&gt;." in html
    assert "ganvas benchmark avae-table --out &#39;a b&#39;" in html
    assert "1:01" in markdown
    assert "(published)" in html
    assert "A thinking machine" in markdown
    assert "| GAN |  | nan ± nan | 50, 2 of 3 seeds |" in markdown
    assert "L_Z^a is read as" in html
    assert "http" not in html  # one page, no outside links


def test_recipes_are_told_once_with_every_way_that_cells_differ_in(written: Path) -> None:
    (line,) = [line for line in (written / "table.md").read_text().splitlines() if line.startswith("- **mse**")]
    assert line == "- **mse**: N: 128; range: [-1, 1] or [0, 1]; time: 5 s a cell"


def test_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text('{"rows": []}')
    with pytest.raises(RunError, match="is no table of ours"):
        pages.before(tmp_path)
    assert pages.before(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("name", "rows", "channels", "classes", "says"),
    [
        ("cifar10", 50_000, 3, 10, ""),
        ("cifar10", 50_000, 3, 0, ""),  # a folder of its images, without classes
        (
            "cifar10",
            1_437,
            1,
            10,
            "has 1 channel, not 3; 1,437 training images, not 50,000: do not compare its figures",
        ),
        ("cifar100", 50_000, 3, 10, "CIFAR-100, but has 10 classes, not 100"),
        ("svhn", 531_131, 3, 10, ""),
        ("celeba", 160_000, 3, 40, ""),
        ("lsun-bedroom", 100, 1, 0, "has 1 channel, not 3"),
    ],
)
def test_another_set_under_a_published_name_is_doubted(
    name: str, rows: int, channels: int, classes: int, says: str
) -> None:
    found = named.doubt(name, "photos", rows, channels, classes)
    assert says in found
    assert bool(says) == bool(found)

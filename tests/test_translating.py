"""Whole pictures of any size through games that translate."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

import precision
from ganvas import games, ways
from ganvas.errors import DataError, UsageError
from ganvas.game import Game
from ganvas.ops.maps import coloured
from ganvas.ops.sheet import to_uint8
from ganvas.schema import Schema
from ganvas.translating import Translation, Wish, checked, fit, save_translations, translations

PICTURES = Schema({"A": (3, 32, 32), "B": (3, 32, 32)})
MAPS = Schema({"labels": (32, 32), "image": (3, 32, 32)}, tuple("01234"))
Size = tuple[int, int]  # height, width


def game(system: str, schema: Schema = PICTURES, **leaves: Any) -> Any:
    """A game with fresh weights, as a run of it is loaded."""
    torch.manual_seed(3)
    config, _ = games.system(system).preset("tiny")
    made = games.system(system).build(dataclasses.asdict(config) | leaves, schema)
    return made.eval().requires_grad_(False)


class Rows:
    """Random pictures, or label maps, of given sizes; it counts how many were read."""

    def __init__(self, *sizes: Size, maps: bool = False) -> None:
        self.sizes, self.maps, self.read = sizes, maps, 0

    def __len__(self) -> int:
        return len(self.sizes)

    def names(self, rows: Any) -> list[str]:
        return [f"{int(row)}.jpg" for row in rows]

    def whole(self, row: int) -> dict[str, Tensor]:
        self.read = max(self.read, row + 1)
        random = torch.Generator().manual_seed(row)
        if self.maps:
            return {"labels": torch.randint(5, (1, *self.sizes[row]), generator=random, dtype=torch.uint8)}
        return {"image": torch.rand(1, 3, *self.sizes[row], generator=random) * 2 - 1}


def single_tolerance(one: Any, whole: Tensor) -> float:
    """How far two float32 translations of one row may lie apart."""
    return precision.tolerance(one, fit(one, whole), call=lambda made, x: made.translate(x))


# ---- sizes -----------------------------------------------------------------------------------------------------------
class Sized(Game):
    """A game that takes multiples of a number, and twice that at least or not."""

    def __init__(self, multiple: int, twice: bool) -> None:
        super().__init__()
        self.multiple, self.least = multiple, multiple * 2 if twice else multiple


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 4, 16]), st.booleans())
def test_pictures_are_continued_by_their_mirror_image_as_far_as_a_net_needs(
    height: int, width: int, multiple: int, twice: bool
) -> None:
    x = torch.arange(2 * height * width).view(2, height, width)
    y = fit(Sized(multiple, twice), x)
    least = multiple * 2 if twice else multiple
    sides = [max(least, side + -side % multiple) for side in (height, width)]
    after = [(0, 0), *((0, wanted - side) for wanted, side in zip(sides, (height, width), strict=True))]
    assert np.array_equal(y, np.pad(x.numpy(), after, "reflect"))
    assert torch.equal(fit(Sized(multiple, twice), x[:, None]), y[:, None])


SIZES = [(32, 32), (32, 32), (30, 33), (1, 1), (5, 70), (32, 32)]


@pytest.mark.parametrize(
    ("made", "maps"),
    [(("cyclegan", PICTURES), False), (("cyclegan", PICTURES, "unet"), False), (("pix2pix", PICTURES), False),
     (("pix2pix", MAPS), True)],
)  # fmt: skip
def test_rows_of_any_size_come_back_at_it_in_their_order_as_if_each_were_alone(made: Any, maps: bool) -> None:
    system, schema, *net = made
    one = game(system, schema, **({"net": net[0], "downs": 3} if net else {}))
    rows = Rows(*SIZES, maps=maps)
    found = list(translations(one, rows))
    assert [row.name for row in found] == [f"{i}.jpg" for i in range(6)]
    for i, row in enumerate(found):
        whole = rows.whole(i)["labels" if maps else "image"]
        assert torch.equal(row.source, whole[0])
        assert row.results.shape == (1, 3, *SIZES[i])
        assert row.back is None
        alone = one.translate(fit(one, whole))[..., : SIZES[i][0], : SIZES[i][1]]
        torch.testing.assert_close(row.results, alone, rtol=0, atol=single_tolerance(one, whole))
    assert not torch.allclose(found[0].results, found[1].results, atol=1e-3)


def test_the_first_rows_are_read_as_they_are_needed_and_no_more() -> None:
    side = 256
    most = ways.together(side, side)
    rows = Rows(*[(side, side)] * 100)
    found = translations(game("cyclegan", width=1, blocks=1), rows, count=9)
    assert rows.read == 0
    next(found)
    assert rows.read == most + 1
    assert len([*found]) == 8
    assert rows.read == 9


# ---- draws and directions --------------------------------------------------------------------------------------------
def test_result_k_of_a_row_is_that_of_the_seed_and_k_whatever_else_is_translated() -> None:
    one = game("pix2pix", net="resnet", dropout=True)
    wish = Wish(seed=5, as_published=True)
    many = [row.results for row in translations(one, Rows(*SIZES), dataclasses.replace(wish, n=3))]
    for k in range(3):
        alike = [row.results for row in translations(one, Rows(*SIZES), dataclasses.replace(wish, seed=5 + k), count=4)]
        for i, (some, result) in enumerate(zip(many[:4], alike, strict=True)):
            within = single_tolerance(one, Rows(*SIZES).whole(i)["image"])
            torch.testing.assert_close(some[k : k + 1], result, rtol=0, atol=within)
    assert not torch.allclose(many[0][0], many[0][1], atol=1e-3)
    assert not torch.allclose(many[0][0], next(translations(one, Rows(*SIZES))).results[0], atol=1e-3)


def test_a_cycle_goes_back_through_the_other_net() -> None:
    one = game("cyclegan")
    for there, back in (("AtoB", "BtoA"), ("BtoA", "AtoB")):
        (row,) = translations(one, Rows((32, 32)), Wish(direction=there, cycle=True))
        y = one.translate(row.source[None], direction=there)
        torch.testing.assert_close(row.results, y)
        assert row.back is not None
        torch.testing.assert_close(row.back, one.translate(y, direction=back))
        assert not torch.allclose(row.back, one.translate(y, direction=there), atol=1e-3)


@pytest.mark.parametrize(
    ("made", "wish", "lacks", "says"),
    [
        (("pix2pix", PICTURES, "AtoB"), Wish("BtoA"), (), "translates AtoB, not BtoA: leave --direction out"),
        (("pix2pix", PICTURES, "BtoA"), Wish("AtoB"), (), "translates BtoA, not AtoB"),
        (("pix2pix", MAPS, "AtoB"), Wish("BtoA"), (), "translates AtoB, not BtoA"),
        (("pix2pix", PICTURES, "AtoB"), Wish(cycle=True), (), "AtoB alone, and there is no way back for --cycle"),
        (("pix2pix", PICTURES, "AtoB"), Wish(), ["G"], "without the net that translates AtoB: import it with G=FILE"),
        (("cyclegan", PICTURES), Wish("BtoA"), ["G_B", "D_A"], "that translates BtoA: import it with G_B=FILE"),
        (("cyclegan", PICTURES), Wish("AtoB", cycle=True), ["G_B"], "that translates BtoA: import it with G_B=FILE"),
        (("cyclegan", PICTURES), Wish(), ["G_A", "G_B"], "that translates AtoB: import it with G_A=FILE"),
        (("cyclegan", PICTURES), Wish(as_published=True), (), "has no dropout: leave --as-published away"),
        (("pix2pix", MAPS, "AtoB"), Wish(chosen={0: 1}), (), "has no encoder of styles"),
        (("pix2pix", MAPS, "AtoB"), Wish(style=torch.zeros(1, 3, 32, 32)), (), "has no encoder of styles"),
        (("pix2pix", PICTURES, "AtoB"), Wish(n=2), (), "one picture of each input, whatever the seed: leave -n away"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused_before_anything_is_read(
    made: Any, wish: Wish, lacks: Any, says: str
) -> None:
    system, schema, *direction = made
    rows = Rows((32, 32))
    with pytest.raises(UsageError, match=says):
        translations(
            game(system, schema, **({"direction": direction[0]} if direction else {})), rows, wish, lacks=lacks
        )
    assert rows.read == 0


def test_a_run_goes_the_way_that_it_can() -> None:
    assert checked(game("cyclegan"), Wish()) == "AtoB"
    assert checked(game("cyclegan"), Wish(), ["G_A", "D_A", "D_B"]) == "BtoA"
    assert checked(game("cyclegan"), Wish("BtoA"), ["G_A"]) == "BtoA"
    assert checked(game("pix2pix", direction="BtoA"), Wish()) == "BtoA"


def test_a_map_without_a_class_in_it_is_named() -> None:
    class Void(Rows):
        def whole(self, row: int) -> dict[str, Tensor]:
            return {"labels": torch.full((1, 32, 32), 255 if row == 2 else 3, dtype=torch.uint8)}

    found = translations(game("pix2pix", MAPS), Void(*[(32, 32)] * 4))
    with pytest.raises(DataError, match=r"2\.jpg is void \(255\) all over: there is nothing to translate"):
        list(found)


# ---- what is left behind ---------------------------------------------------------------------------------------------
def made(name: str, size: Size = (10, 12), n: int = 1, *, back: bool = False, maps: bool = False) -> Translation:
    random = torch.Generator().manual_seed(len(name))
    source = torch.randint(5, size, generator=random, dtype=torch.uint8) if maps else torch.rand(3, *size) * 2 - 1
    results, ways = (torch.rand(n, 3, *size, generator=random) * 2 - 1 for _ in range(2))
    return Translation(name, source, results, ways if back else None)


def files(folder: Path) -> dict[str, Any]:
    return {str(path.relative_to(folder)): np.asarray(Image.open(path)) for path in folder.rglob("*.png")}


def test_a_folder_has_a_file_for_each_result_under_a_name_of_its_own(tmp_path: Path) -> None:
    found = [made("a.jpg"), made("b/a.png", (7, 5)), made("a_back.png"), made("b/a.webp")]
    names = [one.name for one in found]
    save_translations(tmp_path / "plain", found, names, Wish())
    assert set(files(tmp_path / "plain")) == {"a.png", "b/a.png.png", "a_back.png", "b/a.webp.png"}
    assert np.array_equal(files(tmp_path / "plain")["b/a.png.png"], to_uint8(found[1].results)[0])
    several = [made(name, n=2, back=True) for name in names[:3]]
    save_translations(tmp_path / "many", several, names[:3], Wish(n=2, cycle=True))
    written = files(tmp_path / "many")
    assert len(written) == 12
    assert np.array_equal(written["a_1.png"], to_uint8(several[0].results)[1])
    assert np.array_equal(written["a_0_back.png"], to_uint8(several[0].back)[0])  # type: ignore[arg-type]
    assert np.array_equal(written["b/a_1_back.png"], to_uint8(several[1].back)[1])  # type: ignore[arg-type]


def test_arrays_hold_pictures_of_one_size(tmp_path: Path) -> None:
    found = [made(name, n=2, back=True) for name in ("a.jpg", "bb/c.png")]
    save_translations(tmp_path / "a.npz", found, ["a.jpg", "bb/c.png"], Wish(n=2, cycle=True))
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["names"].tolist() == ["a_0.jpg", "a_1.jpg", "bb/c_0.png", "bb/c_1.png"]
        assert np.array_equal(arrays["images"][2:], to_uint8(found[1].results))
        assert np.array_equal(arrays["back"][2:], to_uint8(found[1].back))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"b\.jpg is of another size than those before it"):
        save_translations(tmp_path / "b.npz", [made("a.jpg"), made("b.jpg", (3, 3))], ["a.jpg", "b.jpg"], Wish())
    assert not (tmp_path / "b.npz").exists()


@pytest.mark.parametrize("maps", [False, True])
def test_a_sheet_has_a_row_an_input(tmp_path: Path, maps: bool) -> None:
    found = [made("a", (64, 70), 2, maps=maps), made("bb", (66, 65), 2, maps=maps)]
    save_translations(tmp_path / "a.png", found, ["a", "bb"], Wish(n=2))
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    assert sheet.shape[1:] == (2 + 3 * 72, 3)
    assert (sheet.shape[0] > 2 + 64 + 2 + 66 + 2) == maps  # a legend
    source = found[1].source
    first = coloured(source.numpy()) if maps else to_uint8(source[None])[0]
    for column, tile in enumerate((first, *to_uint8(found[1].results))):
        assert np.array_equal(sheet[68 : 68 + 66, 2 + column * 72 :][:, :65], tile)

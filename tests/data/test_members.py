"""Windows, flips and orders of rows of several pictures: what belongs together stays together, by (seed, step, row)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import Array, encoded, noise, write
from hypothesis import given, settings
from hypothesis import strategies as st

from ganvas.data import Batches, Dataset, contact_sheet, open_data
from ganvas.errors import UsageError

ROWS = 5
SIZES = [(9, 12), (14, 10), (11, 11), (9, 10), (20, 13)]  # height, width


def placed(i: int, height: int, width: int, channels: int = 3) -> Array:
    """A picture whose every pixel says which row it is of and where it lies: (row, y, x)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([np.full_like(y, i), y, x], 2).astype(np.uint8)[..., :channels]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs A/ B/, two sets trainA/ trainB/ (B has two more), and label maps of which the instances say the place."""
    files: dict[str, Array | bytes] = {}
    for i in range(ROWS + 2):
        height, width = SIZES[i % ROWS]
        picture = placed(i, height, width)
        if i < ROWS:
            files |= {f"pairs/A/{i}.png": picture, f"pairs/B/{i}.png": 255 - picture, f"sets/trainA/{i}.png": picture}
            files |= {f"labels/train_img/{i}.png": picture, f"labels/train_label/{i}.png": picture[..., 1]}
            unique = (np.arange(height * width).reshape(height, width) * 7 + 900).astype(np.uint16)
            files[f"labels/train_inst/{i}.png"] = encoded(unique)
        files[f"sets/trainB/{i}.png"] = picture
    return write(tmp_path_factory.mktemp("members"), files)


def whole_numbers(images: torch.Tensor) -> Array:
    """Pictures [B, C, H, W] in [-1, 1] as bytes [B, H, W, C]."""
    return ((images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def places(windows: Array) -> list[tuple[int, int, int, bool]]:
    """Of windows of `placed`: row, top, left and whether it is mirrored; each is a real window."""
    found = []
    for window in windows:
        i, (top, left) = int(window[0, 0, 0]), window[..., 1:].min((0, 1)).tolist()
        mirrored = bool(window[0, 0, 2] > window[0, -1, 2])
        height, width = SIZES[i % ROWS]
        straight = placed(i, height, width)[top : top + window.shape[0], left : left + window.shape[1]]
        assert np.array_equal(window, straight[:, ::-1] if mirrored else straight)
        found.append((i, top, left, mirrored))
    return found


@given(seed=st.integers(0, 2**40), step=st.integers(0, 10**6), batch=st.sampled_from([1, 3, 6]), flip=st.booleans(),
       crop=st.tuples(st.integers(2, 10), st.integers(2, 9)))  # fmt: skip
@settings(max_examples=25)
def test_members_of_a_pair_share_order_window_and_flip(
    folder: Path, seed: int, step: int, batch: int, flip: bool, crop: tuple[int, int]
) -> None:
    data = open_data(f"{folder}/pairs?crop={crop[0]}x{crop[1]}&flip={str(flip).lower()}")
    row = Batches(data, batch, seed=seed)(step)
    assert row["A"].shape == (batch, 3, crop[1], crop[0])
    a, b = whole_numbers(row["A"]), whole_numbers(row["B"])
    assert np.array_equal(a, 255 - b)
    assert flip or not any(mirrored for *_, mirrored in places(a))


@given(seed=st.integers(0, 2**40), step=st.integers(0, 10**6))
@settings(max_examples=15)
def test_a_label_map_its_instances_and_its_photograph_are_cut_as_one(folder: Path, seed: int, step: int) -> None:
    data = open_data(f"{folder}/labels?crop=7x6&flip=true")
    row = Batches(data, 4, seed=seed)(step)
    assert (row["labels"].dtype, row["instances"].dtype) == (torch.uint8, torch.int32)
    photo = whole_numbers(row["image"])
    assert np.array_equal(row["labels"].numpy(), photo[..., 1])
    widths = np.array([SIZES[i][1] for i, *_ in places(photo)])[:, None, None]
    assert np.array_equal(row["instances"].numpy(), photo[..., 1].astype(int) * widths + photo[..., 2])


def test_two_sets_have_orders_windows_and_flips_of_their_own(folder: Path) -> None:
    data = open_data(f"{folder}/sets?crop=6&flip=true")
    assert len(data) == 7
    batches, steps = Batches(data, 7, seed=3), 20
    assert batches.steps_per_epoch == 1
    pairs = [(places(whole_numbers(row["A"])), places(whole_numbers(row["B"]))) for row in map(batches, range(steps))]
    for _, b in pairs:
        assert sorted(i for i, *_ in b) == list(range(7))  # an epoch of the longer side
    joined = [i for a, _ in pairs for i, *_ in a]
    for epoch in range(7 * steps // ROWS):
        assert sorted(joined[ROWS * epoch : ROWS * (epoch + 1)]) == list(range(ROWS))
    both = [(x, y) for a, b in pairs for x, y in zip(a, b, strict=True)]
    for what in range(4):  # row, top, left, flip: as often alike as two that know nothing of each other
        assert 0 < np.mean([x[what] == y[what] for x, y in both]) < 0.75


@pytest.mark.parametrize("kind", ["pairs", "sets", "labels"])
def test_windows_and_flips_do_not_depend_on_the_number_of_ranks(kind: str, folder: Path) -> None:
    data = open_data(f"{folder}/{kind}?crop=6&flip=true")
    one = Batches(data, 6, seed=5)
    for world in (2, 3, 6):
        ranks = [Batches(data, 6, seed=5, rank=rank, world=world) for rank in range(world)]
        for step in (9, 0, 2):
            shares = [batches(step) for batches in ranks]
            for name, values in one(step).items():
                assert torch.equal(torch.cat([share[name] for share in shares]), values)


def test_every_window_and_both_ways_are_drawn_equally_often(folder: Path) -> None:
    data = open_data(f"{folder}/pairs?crop=8x9&flip=true&limit=5")  # rows of 9 and 10 have 1..13 places
    drawn = [place for step in range(400) for place in places(whole_numbers(Batches(data, 5, seed=1)(step)["A"]))]
    for i, (height, width) in enumerate(SIZES):
        mine = [place[1:] for place in drawn if place[0] == i]
        room = (height - 9 + 1) * (width - 8 + 1)
        assert len({place[:2] for place in mine}) == room
        for axis, n in ((0, height - 8), (1, width - 7), (2, 2)):
            counts = np.bincount([int(place[axis]) for place in mine], minlength=n)
            assert np.abs(counts - 400 / n).max() < 5 * np.sqrt(400 / n)


def test_the_windows_are_the_same_for_ever(folder: Path) -> None:
    """Runs resume under other versions: these were drawn once, and must not change."""
    data = open_data(f"{folder}/sets?crop=6&flip=true")
    row = Batches(data, 3, seed=0)(4)
    assert places(whole_numbers(row["A"])) == A_FOR_EVER
    assert places(whole_numbers(row["B"])) == B_FOR_EVER


A_FOR_EVER = [(4, 12, 6, False), (1, 3, 3, False), (2, 3, 2, True)]
B_FOR_EVER = [(1, 0, 0, False), (5, 1, 4, True), (6, 7, 1, True)]


# ---- what is not trained on ------------------------------------------------------------------------------------------
def test_what_is_measured_is_centred_and_straight(folder: Path) -> None:
    data = open_data(f"{folder}/pairs?crop=8x9&flip=true")
    assert data.schema.fields == {"A": (3, 9, 8), "B": (3, 9, 8)}
    found = places(whole_numbers(data.tensors(np.arange(ROWS))["A"]))
    assert found == [(i, (h - 9) // 2, (w - 8) // 2, False) for i, (h, w) in enumerate(SIZES)]
    chunks = list(data.chunks(2))
    assert [len(chunk["A"]) for chunk in chunks] == [2, 2, 1]
    assert torch.equal(torch.cat([chunk["B"] for chunk in chunks]), data.tensors(np.arange(ROWS))["B"])


def test_a_whole_row_is_uncropped(folder: Path) -> None:
    data = open_data(f"{folder}/labels?crop=7x6")
    row = data.whole(4)
    assert {name: tuple(values.shape) for name, values in row.items()} == {
        "labels": (1, 20, 13), "instances": (1, 20, 13), "image": (1, 3, 20, 13),
    }  # fmt: skip
    assert np.array_equal(whole_numbers(row["image"])[0], placed(4, 20, 13))
    assert row["instances"].max() == 20 * 13 - 1
    plain = open_data(f"images:{folder}/sets/trainA?size=8")
    assert torch.equal(plain.whole(3)["image"], plain.tensors(np.array([3]))["image"])


@pytest.mark.parametrize(("kind", "member", "n"), [("sets", "A", 5), ("sets", "B", 7), ("pairs", "B", 5),
                                                  ("labels", "image", 5)])  # fmt: skip
def test_a_member_by_itself_is_a_set_of_images(kind: str, member: str, n: int, folder: Path) -> None:
    data = open_data(f"{folder}/{kind}?crop=8x9")
    one = data.domain(member)
    assert isinstance(one, Dataset)
    assert (len(one), one.kind, one.schema.fields) == (n, "images", {"image": (3, 9, 8)})
    assert torch.equal(one.tensors(np.arange(5))["image"], data.tensors(np.arange(5))[member])
    assert one.pixels(one.spread(3)).shape == (3, 9, 8, 3)
    assert one.names(np.array([1])) == ["1.png"]
    assert one.part("train").fingerprint == one.fingerprint != data.fingerprint
    assert set(Batches(one, 2, seed=0)(0)) == {"image"}
    assert {one.whole(i)["image"].shape[2:] for i in range(n)} == set(SIZES)
    assert one.found["rows"] == n


def test_the_two_members_of_a_pair_are_different_sets(folder: Path) -> None:
    data = open_data(f"{folder}/pairs?crop=8")
    assert data.domain("A").fingerprint != data.domain("B").fingerprint
    with pytest.raises(UsageError, match="no pictures 'labels'"):
        open_data(f"{folder}/labels?crop=8").domain("labels")


def test_fingerprints_are_of_the_rows_and_of_the_window(folder: Path, tmp_path: Path) -> None:
    asked = "paired:{}?crop={}"
    known = open_data(asked.format(f"{folder}/pairs", 8)).fingerprint
    copy = write(tmp_path, {f"{m}/{i}.png": (folder / "pairs" / m / f"{i}.png").read_bytes()
                            for m in "AB" for i in range(ROWS)})  # fmt: skip
    assert open_data(asked.format(copy, 8)).fingerprint == known
    assert open_data(asked.format(copy, 9)).fingerprint != known
    assert open_data(f"unpaired:{copy}?crop=8").fingerprint != known


def test_grey_stays_grey_and_colour_becomes_so(folder: Path) -> None:
    data = open_data(f"{folder}/pairs?channels=grey&crop=8")
    assert data.schema["A"] == (1, 8, 8)


def test_photographs_of_sixteen_bits_and_of_grey_become_rgb(tmp_path: Path) -> None:
    deep = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1300
    data = open_data(str(write(tmp_path, {"A/a.png": encoded(deep), "B/a.png": noise(1, 6, 8)})))
    taken = data.arrays(np.arange(1))
    assert np.array_equal(taken["A"][0], np.rint(deep / 257)[..., None].repeat(3, 2))
    assert np.array_equal(taken["B"][0], noise(1, 6, 8)[..., None].repeat(3, 2))


@pytest.mark.parametrize("kind", ["pairs", "sets", "labels"])
def test_a_sheet_shows_members_side_by_side(kind: str, folder: Path) -> None:
    sheet = np.asarray(contact_sheet(open_data(f"{folder}/{kind}?load_size=64x48"), 1))
    assert sheet.shape[1:] == (2 * 64 + 1 + 2 * 6, 3)
    assert (sheet.shape[0] > 48 + 2 * 6) == (kind == "labels")  # a legend
    assert sheet.shape[0] >= 48 + 2 * 6
    left, right = sheet[6:54, 6:70], sheet[6:54, 71:135]
    first = open_data(f"{folder}/{kind}?load_size=64x48").arrays(np.arange(1))
    second = first.get("B", first.get("image"))
    assert np.array_equal(right, second[0])
    if kind == "labels":
        assert (left == 255).all(2).any()  # borders
        assert len(np.unique(left.reshape(-1, 3), axis=0)) > 3
    else:
        assert np.array_equal(left, first["A"][0])

"""What sample, encode, reconstruct, interpolate and traverse leave behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from said import Command

import ganvas
from ganvas.data import open_data
from ganvas.ops.sheet import to_uint8
from trained import DIGITS, Trained

PICTURES = ["avae", "vae", "dcgan"]
SAMPLES = [*PICTURES, "gan"]


def npz(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


def pixels(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """The pictures of a folder by their path within it."""
    found = {}
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as picture:
            found[str(path.relative_to(folder))] = np.asarray(picture)
    return found


def close(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether pixels are alike to one grey level: rounding may fall either side at another batch size."""
    return a.shape == b.shape and int(np.abs(a.astype(int) - b.astype(int)).max()) <= 1


# ---- sample ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("system", SAMPLES)
def test_every_system_that_samples_writes_a_sheet(ganvas_cli: Command, trained: Trained, system: str) -> None:
    said = ganvas_cli("sample", trained(system), "--out", "new/a.png")
    assert said.out == "new/a.png\n"
    assert said.err == ""
    found = ganvas_cli("sample", trained(system), "--out", "b.jpg", "-n", "9", "--seed", "2", "--json").json
    assert found.pop("version")
    assert found == {"command": "sample", "run": str(trained(system)), "out": "b.jpg", "n": 9, "seed": 2}
    for name in ("new/a.png", "b.jpg"):
        with Image.open(name) as picture:
            assert min(picture.size) > 100


@pytest.mark.parametrize("system", PICTURES)
def test_a_folder_arrays_and_python_hold_the_same_samples(ganvas_cli: Command, trained: Trained, system: str) -> None:
    ganvas_cli("sample", trained(system), "-n", "5", "--seed", "3", "--out", "folder")
    ganvas_cli("sample", trained(system), "-n", "5", "--seed", "3", "--out", "a.npz")
    files = pixels(Path("folder"))
    images = npz(Path("a.npz"))["images"]
    assert list(files) == [f"{i:06d}.png" for i in range(5)]
    assert np.array_equal(np.stack(list(files.values())), images[..., 0])
    game: Any = ganvas.load(trained(system))
    assert np.array_equal(to_uint8(game.sample(5, seed=3)), images)
    for spec in ("a.npz", "folder?channels=grey"):
        assert np.array_equal(open_data(spec).pixels(np.arange(5)), images)


def test_one_image_is_written_alone_at_its_own_size(ganvas_cli: Command, trained: Trained, here: Path) -> None:
    """As a sample and as a reconstruction; beside its original only with --grid."""
    Image.fromarray(np.full((50, 70), 128, np.uint8)).save(here / "photo.png")
    ganvas_cli("sample", trained("avae"), "-n", "1", "--out", "a.png")
    ganvas_cli("sample", trained("avae"), "-n", "1", "--out", "a")
    assert np.array_equal(np.asarray(Image.open("a.png")), pixels(Path("a"))["000000.png"])
    words = ["reconstruct", trained("avae"), "photo.png", "--out"]
    for name in ("b.png", "b.jpg", "b"):
        ganvas_cli(*words, name)
    assert np.array_equal(np.asarray(Image.open("b.png")), pixels(Path("b"))["photo.png"])
    with Image.open("b.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (32, 32))
    ganvas_cli(*words, "c.png", "--grid")
    with Image.open("c.png") as picture:
        assert picture.width > 2 * 64


@pytest.mark.parametrize("system", SAMPLES)
def test_a_sample_is_the_same_among_few_and_many(ganvas_cli: Command, trained: Trained, system: str) -> None:
    for n in ("3", "70"):
        ganvas_cli("sample", trained(system), "-n", n, "--out", f"{n}.npz")
    few, many = (next(iter(npz(Path(f"{n}.npz")).values())) for n in ("3", "70"))
    assert len(many) == 70
    if system == "gan":
        np.testing.assert_allclose(few, many[:3], rtol=1e-5, atol=1e-6)
    else:
        assert close(few, many[:3])
        assert not close(few, many[3:6])
        ganvas_cli("sample", trained(system), "-n", "3", "--seed", "1", "--out", "other.npz")
        assert not close(few, npz(Path("other.npz"))["images"])


def test_points_are_arrays_or_drawn_over_their_density(ganvas_cli: Command, trained: Trained) -> None:
    ganvas_cli("sample", trained("gan"), "-n", "40", "--out", "a.npz")
    vectors = npz(Path("a.npz"))["vectors"]
    game: Any = ganvas.load(trained("gan"))
    assert np.array_equal(vectors, game.sample(40).numpy())
    assert ganvas_cli("sample", trained("gan"), "--out", "a.png", "--json").json["n"] == 2500
    with Image.open("a.png") as picture:
        assert picture.size == (640, 640)


def test_samples_are_of_the_class_that_is_asked_for(ganvas_cli: Command, trained: Trained) -> None:
    ganvas_cli("sample", trained("vae"), "-n", "23", "--out", "all.npz")
    ganvas_cli("sample", trained("vae"), "-n", "23", "--class", "2", "--out", "two.npz")
    every, two = (npz(Path(name))["images"] for name in ("all.npz", "two.npz"))
    alike = [i for i in range(23) if close(every[i], two[i])]
    assert set(alike) >= {2, 12, 22}  # by default sample i is of class i modulo 10
    game: Any = ganvas.load(trained("vae"))
    assert close(two, to_uint8(game.sample(23, label=2)))
    assert not close(two, to_uint8(game.sample(23, label=3)))


def test_truncation_reaches_the_codes(ganvas_cli: Command, trained: Trained) -> None:
    ganvas_cli("sample", trained("gan"), "-n", "20", "--truncation", "0.3", "--out", "a.npz")
    game: Any = ganvas.load(trained("gan"))
    assert np.array_equal(npz(Path("a.npz"))["vectors"], game.sample(20, truncation=0.3).numpy())


# ---- encode, reconstruct ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("system", ["avae", "vae", "autoencoder"])
def test_codes_come_with_names_and_labels(ganvas_cli: Command, trained: Trained, system: str) -> None:
    spec = f"{DIGITS}&split=test"
    found = ganvas_cli("encode", trained(system), spec, "--out", "codes.npz", "--json").json
    assert (found["n"], found["split"], found["out"]) == (96, "test", "codes.npz")
    ganvas_cli("encode", trained(system), spec, "--out", "few.npz", "-n", "7")
    data, arrays = open_data(spec), npz(Path("codes.npz"))
    batch = data.tensors(np.arange(96))
    game: Any = ganvas.load(trained(system))
    expected = game.encode(batch["image"], label=batch["label"])
    assert arrays["codes"].dtype == np.float32
    np.testing.assert_allclose(arrays["codes"], expected, rtol=1e-4, atol=1e-5)
    assert arrays["names"].tolist() == data.names(np.arange(96))
    assert arrays["labels"].tolist() == batch["label"].tolist()
    np.testing.assert_allclose(npz(Path("few.npz"))["codes"], arrays["codes"][:7], rtol=1e-4, atol=1e-5)


def test_reconstructions_are_named_as_their_originals(ganvas_cli: Command, trained: Trained, here: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("a.jpg", "a.png", "cats/a.png", "cats/b.webp", "dogs/small/c.bmp"):
        file = here / "holiday" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(file)
    said = ganvas_cli("reconstruct", trained("avae"), "holiday", "--seed", "4", "--out", "copies")
    assert said.out == "copies\n"
    files = pixels(here / "copies")
    assert list(files) == ["a.jpg.png", "a.png.png", "cats/a.png", "cats/b.png", "dogs/small/c.png"]
    x = open_data("holiday?size=32&channels=grey").tensors(np.arange(5))["image"]
    game: Any = ganvas.load(trained("avae"))
    expected = to_uint8(game.reconstruct(x, seed=4))
    assert close(np.stack(list(files.values())), expected[..., 0])
    ganvas_cli("reconstruct", trained("avae"), "holiday", "--seed", "4", "--out", "copies.npz")
    arrays = npz(here / "copies.npz")
    assert close(arrays["images"], expected)
    assert arrays["names"].tolist() == ["a.jpg", "a.png", "cats/a.png", "cats/b.webp", "dogs/small/c.bmp"]
    assert open_data("copies.npz").schema["image"] == (1, 32, 32)


@pytest.mark.parametrize("system", ["avae", "vae", "autoencoder"])
def test_a_sheet_shows_originals_and_reconstructions_side_by_side(
    ganvas_cli: Command, trained: Trained, system: str
) -> None:
    found = ganvas_cli("reconstruct", trained(system), DIGITS, "--out", "pairs.png", "--json").json
    assert found["n"] == 64  # of 96: a sheet is for looking at
    assert ganvas_cli("reconstruct", trained(system), DIGITS, "-n", "2", "--out", "two.png", "--json").json["n"] == 2
    with Image.open("two.png") as picture:
        sheet = np.asarray(picture)
    batch = open_data(DIGITS).tensors(np.arange(2))
    game: Any = ganvas.load(trained(system))
    copy = to_uint8(game.reconstruct(batch["image"], label=batch["label"]))[..., 0].repeat(2, 1).repeat(2, 2)
    original = to_uint8(batch["image"])[..., 0].repeat(2, 1).repeat(2, 2)
    assert np.array_equal(sheet[6:70, 6:70], original[0])
    assert close(sheet[6:70, 71:135], copy[0])


def test_a_reconstruction_is_the_same_among_few_and_many(ganvas_cli: Command, trained: Trained) -> None:
    """AVAE draws xi by the place of the row."""
    for n in ("3", "70"):
        ganvas_cli("reconstruct", trained("avae"), DIGITS, "-n", n, "--out", f"{n}.npz")
    assert close(npz(Path("3.npz"))["images"], npz(Path("70.npz"))["images"][:3])


# ---- interpolate, traverse -------------------------------------------------------------------------------------------
def tiles(path: str, columns: int, rows: int) -> NDArray[np.uint8]:
    """The pictures of a sheet of 32x32 pictures, [rows, columns, 32, 32]."""
    with Image.open(path) as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == (rows * 66 + 2, columns * 66 + 2)
    return np.stack(
        [
            [sheet[r * 66 + 2 : r * 66 + 66 : 2, c * 66 + 2 : c * 66 + 66 : 2] for c in range(columns)]
            for r in range(rows)
        ]
    )


@pytest.mark.parametrize("system", PICTURES)
def test_a_walk_through_seeds_shows_their_codes_at_its_ends(ganvas_cli: Command, trained: Trained, system: str) -> None:
    words = ["interpolate", trained(system), "--seeds", "4,5,9", "--frames", "5"]
    found = ganvas_cli(*words, "--out", "walk.png", "--json").json
    assert (found["path"], found["stretches"], found["frames"]) == ("slerp", 2, 5)
    shown = tiles("walk.png", 5, 2)
    game: Any = ganvas.load(trained(system))
    ends = [to_uint8(game.decode(game.prior(1, seed=seed)))[0, ..., 0] for seed in (4, 5, 9)]
    for tile, end in zip((shown[0, 0], shown[0, -1], shown[1, 0], shown[1, -1]), (*ends[:2], *ends[1:]), strict=True):
        assert close(tile, end)
    assert not close(shown[0, 1], shown[0, 0])
    assert ganvas_cli(*words, "--out", "walk.gif").out == "walk.gif\n"
    with Image.open("walk.gif") as film:
        assert film.n_frames == 16  # two stretches of five, the picture between them once, and back
        assert film.size == (192, 192)


@pytest.mark.parametrize(("system", "path"), [("avae", "slerp"), ("vae", "slerp"), ("autoencoder", "lerp")])
def test_a_walk_from_image_to_image_shows_their_codes(
    ganvas_cli: Command, trained: Trained, here: Path, system: str, path: str
) -> None:
    images = open_data(f"{DIGITS}&split=test").pixels(np.arange(2))
    for name, image in zip("ab", images, strict=True):
        Image.fromarray(image[..., 0]).save(here / f"{name}.png")
    words = ["interpolate", trained(system), "--from", "a.png", "--to", "b.png", "--frames", "4"]
    more = ["--class", "3"] if system == "vae" else []
    assert ganvas_cli(*words, *more, "--out", "walk.png", "--json").json["path"] == path
    shown = tiles("walk.png", 4, 1)[0]
    game: Any = ganvas.load(trained(system))
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    label = {"label": torch.tensor([3, 3])} if more else {}
    codes = game.encode(x, **label)
    for tile, code in zip((shown[0], shown[-1]), codes, strict=True):
        assert close(tile, to_uint8(game.decode(code[None], label=3 if more else None))[0, ..., 0])
    ganvas_cli(*words, *more, "--path", "lerp", "--out", "chord.png")
    middle = to_uint8(game.decode((2 * codes[:1] + codes[1:]) / 3, label=3 if more else None))[0, ..., 0]
    assert close(tiles("chord.png", 4, 1)[0, 1], middle)


@pytest.mark.parametrize("system", PICTURES)
def test_a_traversal_has_a_row_a_dimension(ganvas_cli: Command, trained: Trained, system: str) -> None:
    found = ganvas_cli("traverse", trained(system), "--seed", "2", "--dims", "3", "--out", "rows.png", "--json").json
    assert len(set(found["dims"])) == 3
    shown = tiles("rows.png", 11, 3)
    game: Any = ganvas.load(trained(system))
    code = game.prior(1, seed=2)
    code[0, found["dims"][1]] = -3
    assert close(shown[1, 0], to_uint8(game.decode(code))[0, ..., 0])
    said = ganvas_cli("traverse", trained(system), "--seed", "2", "--dims", "3", "--out", "rows.png")
    assert said.out == f"dimensions, from the top: {', '.join(map(str, found['dims']))}\nrows.png\n"


@pytest.mark.parametrize("system", ["avae", "vae", "autoencoder"])
def test_a_traversal_may_start_from_an_image(ganvas_cli: Command, trained: Trained, here: Path, system: str) -> None:
    image = open_data(DIGITS).pixels(np.arange(1))
    Image.fromarray(image[0, ..., 0]).save(here / "a.png")
    found = ganvas_cli("traverse", trained(system), "--image", "a.png", "--out", "rows.png", "--json").json
    assert sorted(found["dims"]) == [0, 1, 2, 3]  # all there are
    game: Any = ganvas.load(trained(system))
    label = {"label": torch.tensor([0])} if system == "vae" else {}
    code = game.encode(torch.from_numpy(image).permute(0, 3, 1, 2) / 127.5 - 1, **label)
    code[0, found["dims"][3]] = 3
    assert close(tiles("rows.png", 11, 4)[3, -1], to_uint8(game.decode(code))[0, ..., 0])

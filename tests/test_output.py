from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from ganvas.data import open_data
from ganvas.errors import UsageError
from ganvas.output import file_names, kind_of, save_arrays, save_film, save_images
from ganvas.schema import Schema


def pictures(n: int, channels: int = 3, side: int = 6) -> Tensor:
    """Random images on grey levels, so that files hold them exactly."""
    levels = torch.randint(256, (n, channels, side, side + 2), generator=torch.Generator().manual_seed(n))
    return levels / 127.5 - 1


def levels(images: Tensor) -> np.ndarray[Any, Any]:
    """The same images as [N, H, W, C] of grey levels."""
    return ((images + 1) * 127.5).round().numpy().astype(np.uint8).transpose(0, 2, 3, 1)


# ---- what a path asks for --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.png", "sheet"), ("a.JPG", "sheet"), ("b/a.webp", "sheet"), ("a.gif", "film"), ("a.npz", "arrays"),
     ("a", "folder"), ("a.b/c", "folder"), ("empty", "folder"), ("empty.d", "folder"), ("file.png", "sheet")],
)  # fmt: skip
def test_a_path_says_what_it_asks_for(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.d").mkdir()
    (tmp_path / "file.png").touch()
    assert kind_of(tmp_path / name, among=("sheet", "film", "arrays", "folder")) == kind


@pytest.mark.parametrize(
    ("name", "says"),
    [("a.bmp", r"--out takes an image \(.png, .jpg, .webp\), or arrays .*, not .*a.bmp"), ("a.gif", "--out takes"),
     ("full", "is a folder with something in it: choose a new one"), ("file", "is a file: choose a new folder"),
     ("full.png", "is a folder: choose another name"), ("x" * 300, "cannot be written: File name too long")],
)  # fmt: skip
def test_what_cannot_be_written_or_is_in_the_way_is_refused(tmp_path: Path, name: str, says: str) -> None:
    for folder in ("full", "full.png"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "kept").touch()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=says):
        kind_of(tmp_path / name)
    with pytest.raises(UsageError, match=says):
        save_images(tmp_path / name, iter([pictures(2)]), 2)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "full.png", "kept", "kept"]


# ---- names -----------------------------------------------------------------------------------------------------------
def test_files_are_named_as_their_originals() -> None:
    assert file_names(["b.jpg", "cats/a.JPEG", "000001"]) == ["b.png", "cats/a.png", "000001.png"]
    assert file_names(["a.jpg", "a.png", "b/a.jpg"]) == ["a.jpg.png", "a.png.png", "b/a.png"]
    assert file_names(["a.jpg", "A.png"]) == ["a.jpg.png", "A.png.png"]  # one file where case does not count


PIECE = st.sampled_from(["a", "A", "a.png", "a.jpg", "a.png.png", "b.gif", "a.PNG", "straße.jpg", "STRASSE.png"])


@given(st.lists(st.lists(PIECE, min_size=1, max_size=3).map("/".join), unique=True, max_size=12))
@settings(deadline=None)
def test_no_two_pictures_share_a_file_and_none_is_the_folder_of_another(names: list[str]) -> None:
    files = [file.casefold() for file in file_names(names)]
    parents = {str(folder) for file in files for folder in PurePosixPath(file).parents}
    assert len(set(files)) == len(files)
    assert not parents & set(files)
    assert [PurePosixPath(file).parent for file in file_names(names)] == [PurePosixPath(name).parent for name in names]
    assert all(file.endswith(".png") for file in files)


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (
            ["../../up.parquet/00000", "/etc/passwd", "a/../../b.jpg"],
            ["up.parquet/00000.png", "etc/passwd.png", "a/b.png"],
        ),
        (["..", ".", "", "/"], ["_.png", "_.png.png", "_.png.png.png", "_.png.png.png.png"]),
        (["a\0b.jpg", "a\nb.jpg", "c\x1b[2J.jpg"], ["a_b.jpg.png", "a_b.jpg.png.png", "c_[2J.png"]),
        (["../a.jpg", "a.jpg"], ["a.jpg.png", "a.jpg.png.png"]),
    ],
)
def test_no_name_leaves_the_folder(names: list[str], files: list[str]) -> None:
    assert file_names(names) == files


@given(
    st.lists(st.text(min_size=1, max_size=400) | st.sampled_from(["x" * 300 + ".jpg", "x" * 300 + ".png"]), max_size=9)
)
@settings(deadline=None)
def test_any_names_can_be_written(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("names")
    names = [name.encode(errors="ignore").decode() or "x" for name in names]
    save_images(folder / "out", [pictures(max(1, len(names)))[: len(names)]], len(names), names=names)
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) == len(names)
    assert all(path.is_relative_to(folder / "out") for path in written)


def test_a_name_with_a_nul_is_refused_and_so_is_the_folder_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no name that a file can have"):
        save_images(tmp_path / "a\0b.png", [pictures(1)], 1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="works in; choose another --out"):
        save_images(Path(), [pictures(1)], 1)
    assert list(tmp_path.iterdir()) == []


# ---- images ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_and_arrays_hold_the_very_pixels_and_read_back(tmp_path: Path, channels: int) -> None:
    images = pictures(5, channels, side=16)
    for name in ("folder", "a.npz"):
        save_images(tmp_path / name, iter(images.split(2)), 5)
        dataset = open_data(f"{tmp_path / name}?channels={'grey' if channels == 1 else 'rgb'}")
        assert dataset.schema == Schema({"image": (channels, 16, 18)})
        assert np.array_equal(dataset.pixels(np.arange(5)), levels(images))
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [f"{i:06d}.png" for i in range(5)]
    with Image.open(tmp_path / "folder" / "000000.png") as picture:
        assert picture.mode == ("L" if channels == 1 else "RGB")


def test_a_sheet_shows_every_image_and_its_original_to_the_left(tmp_path: Path) -> None:
    left, right = pictures(3, side=64), pictures(3, side=64).flip(0)
    save_images(tmp_path / "a.png", iter([right]), 3, beside=left, columns=1)
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    for i, (one, two) in enumerate(zip(levels(left), levels(right), strict=True)):
        top = 6 + i * 70
        assert np.array_equal(sheet[top : top + 64, 6:72], one)
        assert np.array_equal(sheet[top : top + 64, 73:139], two)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_single_image_is_written_as_it_is(tmp_path: Path, channels: int) -> None:
    image = pictures(1, channels)
    save_images(tmp_path / "a.png", iter([image]), 1, beside=image)
    with Image.open(tmp_path / "a.png") as saved:
        assert np.array_equal(np.asarray(saved).reshape(6, 8, channels), levels(image)[0])
    save_images(tmp_path / "a.jpg", iter([image]), 1)
    with Image.open(tmp_path / "a.jpg") as saved:
        assert (saved.format, saved.size) == ("JPEG", (8, 6))
        assert max(saved.quantization[0]) < 20  # quality 95
    for more in ({"lone": False, "beside": image}, {"columns": 1}):
        save_images(tmp_path / "b.png", iter([image]), 1, **more)  # type: ignore[arg-type]
        with Image.open(tmp_path / "b.png") as saved:
            assert saved.width > 64


@pytest.mark.parametrize("name", ["a.png", "a.npz", "folder", "empty"])
def test_what_fails_half_way_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()

    def failing() -> Iterator[Tensor]:
        yield pictures(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_images(tmp_path / name, failing(), 4)
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_a_folder_that_comes_into_the_way_meanwhile_is_not_touched(tmp_path: Path) -> None:
    def slow() -> Iterator[Tensor]:
        yield pictures(2)
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "thesis.txt").write_text("dear")
        yield pictures(2)

    with pytest.raises(UsageError, match="something in it"):
        save_images(tmp_path / "folder", slow(), 4)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "thesis.txt"]


def test_a_file_of_that_name_is_replaced(tmp_path: Path) -> None:
    for seed in (2, 3):
        save_images(tmp_path / "a.npz", iter([pictures(seed)]), seed)
    assert len(np.load(tmp_path / "a.npz")["images"]) == 3


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif"])
def test_only_images_that_ganvas_made_are_replaced(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.new("RGB", (8, 8)).save(path)
    among: Any = ("sheet", "film")
    with pytest.raises(UsageError, match=rf"{name} already exists and was not made by ganvas; choose another --out"):
        kind_of(path, among=among)
    path.write_bytes(b"")  # as mktemp makes it
    kind_of(path, among=among)
    for _ in range(2):
        path.unlink()
        save_film(path, pictures(2)) if name == "a.gif" else save_images(path, [pictures(2)], 2)
        kind_of(path, among=among)


@pytest.mark.parametrize("name", ["a.png", "a.npz", "a", "a.gif"])
def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("kept")
    path = tmp_path / "file" / name
    save: Any = (
        (lambda: save_film(path, pictures(2))) if name == "a.gif" else lambda: save_images(path, [pictures(2)], 2)
    )
    with pytest.raises(UsageError, match=f"{name} cannot be written: .*; choose another --out"):
        save()
    assert (tmp_path / "file").read_text() == "kept"


def test_arrays_keep_their_names_and_types(tmp_path: Path) -> None:
    save_arrays(tmp_path / "new" / "a.npz", codes=np.ones((2, 3), np.float32), names=np.array(["a/b.jpg", "c"]))
    found = np.load(tmp_path / "new" / "a.npz", allow_pickle=False)
    assert found["codes"].dtype == np.float32
    assert found["names"].tolist() == ["a/b.jpg", "c"]


@pytest.mark.parametrize(("channels", "side", "factor"), [(3, 16, 10), (1, 100, 1)])
def test_a_film_has_every_frame_enlarged_and_never_ends(tmp_path: Path, channels: int, side: int, factor: int) -> None:
    frames = torch.linspace(-1, 1, 7).view(7, 1, 1, 1).expand(7, channels, side, side + 2)
    save_film(tmp_path / "a.gif", frames)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 7
        assert film.info["loop"] == 0
        assert film.size == (factor * (side + 2), factor * side)
        for i, level in enumerate(((frames[:, 0, 0, 0] + 1) * 127.5).round().tolist()):
            film.seek(i)
            assert film.info["duration"] == 80
            assert np.abs(np.asarray(film.convert("L")).astype(int) - level).max() <= 1


def test_a_name_that_none_can_have_is_refused() -> None:
    with pytest.raises(UsageError, match="is no name that a file can have: choose another --out"):
        kind_of(Path("a\0b.png"))

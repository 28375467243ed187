"""What a data set is read as, in lines for people and in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drawing import noise, write

from ganvas.console import hearing
from ganvas.data import open_data, open_direct, parse, reading_of, same_place
from ganvas.data.reading import Reading, left_out


def lines(spec: str) -> list[str]:
    return [line.replace(spec, "SPEC") for line in reading_of(open_data(spec)).lines()]


def test_sizes_classes_splits_and_the_preparation_take_one_line_and_what_is_left_out_another(tmp_path: Path) -> None:
    places = [f"{split}/{name}" for split in ("train", "test") for name in ("cat", "dog")]
    images = {f"{place}/{i}.png": noise(i, 10 + i, 20, 3) for place in places for i in range(3)}
    at = write(tmp_path, {**images, "train/cat/1.png": b"<html>", "train/cat/notes.txt": b"hello"})
    read, left, *more = lines(str(at))
    assert read == (
        "read SPEC: train 5, test 6 images; 2 classes; 3 sizes from 20x10 to 20x12; center crop to 64x64, RGB"
    )
    assert left.startswith("left out of SPEC: cannot be read (1: train/cat/1.png: not a picture that can be read)")
    assert ".txt" in left
    assert more == []


@pytest.mark.parametrize(
    ("keys", "done"),
    [
        ("", "kept at their own size, RGB"),
        ("?size=8", "resized to 8x8, RGB"),
        ("?size=8x6", "center crop to 8x6, RGB"),
        ("?size=8x4&crop=none&channels=grey", "stretched to 8x4, gray"),
        ("?size=8&crop=6&resize=bilinear&flip=true", "center crop of 6x6 resized to 8x8, bilinear, RGB, mirrored at "
         "random in training"),
    ],
)  # fmt: skip
def test_the_preparation_is_said(keys: str, done: str, tmp_path: Path) -> None:
    at = write(tmp_path, {f"{i}.png": noise(i, 12, 12, 3) for i in range(2)})
    assert lines(f"{at}{keys}") == [f"read SPEC: 2 images; 12x12; {done}"]


def test_rows_of_several_pictures_say_their_sides_their_windows_and_who_has_no_partner(tmp_path: Path) -> None:
    files = {f"{side}/{i}.png": noise(i, 12, 12, 3) for side in "AB" for i in range(3)}
    at = write(tmp_path, {**files, "A/alone.png": noise(9, 12, 12, 3), "A/alone2.png": noise(9, 12, 12, 3)})
    data = open_data(f"paired:{at}?load_size=10&crop=8&max-bad=90%")
    read, left = reading_of(data).lines()
    assert read.endswith("3 pairs; 12x12; stretched to 10x10, windows of 8x8, RGB")
    assert left.endswith("has no partner (2: A/alone.png, A/alone2.png)")
    sides = reading_of(open_data(f"unpaired:{at}"))
    assert sides.lines()[0].endswith("train A 5, B 3; 12x12; kept at their own size, RGB")


def test_points_and_named_sets_are_said(tmp_path: Path) -> None:
    assert lines("mixture:ring8?limit=9")[0].startswith("read SPEC: ")
    assert lines("digits?limit=20") == ["read SPEC: train 20, test 20 images; 10 classes; 8x8; resized to 32x32, gray"]


def test_what_readers_left_out_and_noted_is_told(tmp_path: Path) -> None:
    found = {
        "bad": {"count": 0, "of": 3, "files": {}},
        "left_out": [{"reason": "hidden folder", "count": 7, "names": ["@eaDir"]}],
    }
    assert [str(one) for one in left_out(found)] == ["hidden folder (7: @eaDir, ...)"]


def test_a_reading_is_json_and_reads_back_also_with_names_that_are_no_text(tmp_path: Path) -> None:
    at = write(tmp_path, {"a.png": noise(1, 4, 4, 3), "b.png": noise(2, 4, 4, 3)})
    (tmp_path / "bad\udcff.png").write_bytes(b"no picture")
    reading = reading_of(open_data(str(at)))
    value = json.loads(json.dumps(reading.to_json(), ensure_ascii=False).encode().decode())
    assert value["left_out"][0]["names"][0].startswith("bad\\udcff.png: ")
    assert Reading.from_json(value).to_json() == value
    assert value["said"][0].startswith("read ")


def test_the_same_is_told_once_within_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reading = reading_of(open_data("digits?limit=20"))
    with hearing() as heard:
        reading.tell()
        reading.tell()
    assert capsys.readouterr().err.count("read digits") == 1
    assert heard == [reading.to_json()]
    reading.tell()
    reading.tell()
    assert capsys.readouterr().err.count("read digits") == 2


def test_images_that_are_read_one_by_one_have_their_own_sizes(tmp_path: Path) -> None:
    sizes = [(4, 6), (8, 3), (5, 5)]
    at = write(tmp_path, {f"{i}.png": noise(i, *size, 3) for i, size in enumerate(sizes)})
    direct = open_direct(f"{at}?channels=grey")
    assert direct is not None
    found = list(direct.images(direct._rows))
    assert [image.shape for image in found if image is not None] == [(*size, 1) for size in sizes]
    assert direct.names(direct._rows) == ["0.png", "1.png", "2.png"]
    for asked in (f"{at}?size=4", f"{at}?crop=3", "digits", "mixture:ring8"):
        assert open_direct(asked) is None


@pytest.mark.parametrize(
    ("asked", "own", "same"),
    [
        ("faces", "faces", True),
        ("./faces", "faces", True),
        ("faces/", "faces?size=8", True),
        ("images:faces", "faces", True),
        ("faces?split=test", "faces", True),
        ("link", "faces", True),
        ("faces/../faces", "faces", True),
        ("{here}/faces", "faces", True),
        ("other", "faces", False),
        ("paired:faces", "faces", False),
        ("faces", "paired:faces", True),
        ("images:faces", "paired:faces", False),
        ("paired:a,./b", "paired:{here}/a,b", True),
        ("paired:b,a", "paired:a,b", False),
        ("digits", "digits", True),
        ("digits/", "digits", False),
        ("hub:mnist", "hub:mnist", True),
        ("mixture:ring8", "mixture:grid25", False),
    ],
)
def test_one_place_may_be_spelled_in_many_ways(
    asked: str, own: str, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("faces", "other", "a", "b", "digits"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "faces")
    monkeypatch.chdir(tmp_path)
    specs = [parse(text.format(here=tmp_path)) for text in (asked, own)]
    assert same_place(*specs) is same


def test_a_place_is_the_same_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faces").mkdir()
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert same_place(parse("../faces"), parse("faces"), str(tmp_path))
    assert not same_place(parse("faces"), parse("faces"), str(tmp_path))

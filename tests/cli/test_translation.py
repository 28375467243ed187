"""What translate and edit leave behind, and what they refuse."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from said import Command, Refusal

import ganvas
from ganvas.cli import run
from ganvas.ops.maps import coloured
from ganvas.ops.sheet import to_uint8
from translators import Translators, noise, save, scene


def pixels(path: str | Path) -> NDArray[Any]:
    with Image.open(path) as picture:
        return np.array(picture)


def tensor(picture: NDArray[np.uint8]) -> torch.Tensor:
    """A picture as it goes into a net."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1


def close(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether pixels are alike to one grey level: rounding may fall either side at another batch size."""
    return a.shape == b.shape and int(np.abs(a.astype(int) - b.astype(int)).max()) <= 1


# ---- pictures --------------------------------------------------------------------------------------------------------
def test_a_folder_of_pictures_becomes_a_folder_of_translations(
    ganvas_cli: Command, translators: Translators, here: Path
) -> None:
    """Of several sizes, none of which the net takes, one in grey."""
    pictures = {"a.jpg": noise(1, 40, 51), "b/a.png": noise(2, 32, 32), "b/c.png": noise(3, 9, 30)[..., 0]}
    for name, picture in pictures.items():
        save(here / "zoo" / name, picture)
    said = ganvas_cli("translate", translators("cyclegan"), "zoo", "--out", "out", "--direction", "BtoA")
    assert (said.out, said.err.splitlines()) == (
        "out\n",
        ["read zoo: 3 images; 3 sizes from 30x9 to 51x40; kept at their own size"],
    )
    found = {str(path.relative_to("out")): pixels(path) for path in Path("out").rglob("*.png")}
    assert {name: picture.shape for name, picture in found.items()} == {
        "a.png": (40, 51, 3), "b/a.png": (32, 32, 3), "b/c.png": (9, 30, 3),
    }  # fmt: skip
    game: Any = ganvas.load(translators("cyclegan"))
    assert close(found["b/a.png"], to_uint8(game.translate(tensor(pictures["b/a.png"]), direction="BtoA"))[0])
    grey = np.pad(pictures["b/c.png"], ((0, 3), (0, 2)), "reflect")[..., None].repeat(3, 2)
    assert close(found["b/c.png"], to_uint8(game.translate(tensor(grey), direction="BtoA"))[0, :9, :30])


def test_the_runs_own_data_is_translated_from_the_side_that_the_direction_starts_from(
    ganvas_cli: Command, translators: Translators
) -> None:
    data = translators.sets()
    game: Any = ganvas.load(translators("cyclegan"))
    for direction in ("AtoB", "BtoA"):
        words = ["translate", translators("cyclegan"), f"unpaired:{data}", "--direction", direction, "--out", "a.npz"]
        told = ganvas_cli(*words, "--json").json
        assert (told["n"], told["direction"], told["results"]) == (3, direction, 1)
        with np.load("a.npz") as arrays:
            assert arrays["names"].tolist() == ["0.png", "1.png", "2.png"]
            for i, image in enumerate(arrays["images"]):
                x = tensor(pixels(data / f"train{direction[0]}" / f"{i}.png"))
                assert close(image, to_uint8(game.translate(x, direction=direction))[0])
    told = ganvas_cli("translate", translators("pix2pix"), f"paired:{data}", "--out", "b.npz", "--json").json
    assert told["direction"] == "BtoA"
    with np.load("b.npz") as arrays:
        other: Any = ganvas.load(translators("pix2pix"))
        assert close(arrays["images"][2], to_uint8(other.translate(tensor(pixels(data / "trainB" / "2.png"))))[0])


def test_a_sheet_shows_input_translation_and_the_way_back(ganvas_cli: Command, translators: Translators) -> None:
    data = translators.sets() / "trainA"
    ganvas_cli("translate", translators("cyclegan"), data, "--cycle", "--out", "a.png")
    ganvas_cli("translate", translators("cyclegan"), data, "--cycle", "--out", "folder")
    sheet = pixels("a.png")
    assert sheet.shape == (3 * 66 + 2, 3 * 66 + 2, 3)
    for row in range(3):
        files = (data / f"{row}.png", Path(f"folder/{row}.png"), Path(f"folder/{row}_back.png"))
        for column, file in enumerate(files):
            tile = sheet[2 + row * 66 :, 2 + column * 66 :][:64:2, :64:2]
            assert close(tile, pixels(file))


def test_a_sheet_is_for_looking_at_and_says_what_it_leaves_out(
    ganvas_cli: Command, translators: Translators, here: Path
) -> None:
    for i in range(17):
        save(here / "zoo" / f"{i:02d}.png", noise(i, 8, 8))
    said = ganvas_cli("translate", translators("cyclegan"), "zoo", "--out", "a.png", "--json")
    assert said.json["n"] == 16
    assert said.err.splitlines()[1:] == ["note: a.png shows the first 16 of 17; a folder gets all."]


def test_one_picture_becomes_one_picture_of_its_own_size(
    ganvas_cli: Command, translators: Translators, here: Path
) -> None:
    save(here / "photo.png", noise(1, 40, 51))
    words = ["translate", translators("cyclegan"), "photo.png", "--out"]
    for name in ("out.png", "out.jpg", "folder"):
        said = ganvas_cli(*words, name)
        assert (said.out, said.err) == (f"{name}\n", "read photo.png: 1 image; 51x40; kept at their own size\n")
    assert pixels("out.png").shape == (40, 51, 3)
    assert close(pixels("out.png"), pixels("folder/photo.png"))
    with Image.open("out.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (51, 40))
    ganvas_cli(*words, "grid.png", "--grid")
    assert pixels("grid.png").shape == (44, 2 * 53 + 2, 3)
    assert close(pixels("grid.png")[2:42, 55:106], pixels("out.png"))


def test_a_grid_of_many_is_nearly_square(ganvas_cli: Command, translators: Translators, here: Path) -> None:
    for i in range(16):
        save(here / "zoo" / f"{i:02d}.png", noise(i, 16, 16))
    ganvas_cli("translate", translators("cyclegan"), "zoo", "--out", "a.png")
    height, width = pixels("a.png").shape[:2]
    assert 0.7 < width / height < 1.4


def test_with_dropout_each_seed_gives_another_picture(ganvas_cli: Command, translators: Translators) -> None:
    words = ["translate", translators("pix2pix"), translators.sets() / "trainB", "--as-published", "--seed", "4"]
    ganvas_cli(*words, "-n", "2", "--out", "two")
    ganvas_cli(*words[:-1], "5", "--out", "one")
    assert {path.name for path in Path("two").iterdir()} == {f"{i}_{k}.png" for i in range(3) for k in range(2)}
    for i in range(3):
        assert close(pixels(f"two/{i}_1.png"), pixels(f"one/{i}.png"))
        assert not close(pixels(f"two/{i}_0.png"), pixels(f"two/{i}_1.png"))


# ---- label maps ------------------------------------------------------------------------------------------------------
def test_label_maps_become_pictures(ganvas_cli: Command, translators: Translators, here: Path) -> None:
    labels, _ = scene(1)
    save(here / "maps" / "a.png", labels)
    palette = Image.fromarray(labels).convert("P")
    palette.putdata(labels.ravel().tolist())
    palette.save(here / "maps" / "b.png")
    save(here / "maps" / "c.png", labels.astype(np.uint16))
    ganvas_cli("translate", translators("maps"), "maps", "--out", "out")
    game: Any = ganvas.load(translators("maps"))
    expected = to_uint8(game.translate(torch.from_numpy(labels)[None]))[0]
    assert all(close(pixels(f"out/{name}.png"), expected) for name in "abc")
    ganvas_cli("translate", translators("maps"), "maps/a.png", "--out", "one.png")
    assert close(pixels("one.png"), expected)
    ganvas_cli("translate", translators("maps"), "maps/a.png", "--grid", "--out", "a.png")
    assert np.array_equal(pixels("a.png")[2:66:2, 2:66:2], coloured(labels))
    assert close(pixels("a.png")[2:66:2, 68:132:2], expected)
    data = translators.scenes(instances=False)
    ganvas_cli("translate", translators("maps"), data, "--out", "own")
    assert close(pixels("own/1.png"), expected)


def test_styles_are_drawn_by_the_seed_chosen_or_taken_from_a_picture(
    ganvas_cli: Command, translators: Translators
) -> None:
    data, game = translators.scenes(instances=True), ganvas.load(translators("styles"))
    assert isinstance(game, object)
    labels = torch.from_numpy(scene(0)[0])[None]
    dense = torch.from_numpy(np.unique(scene(0)[1], return_inverse=True)[1].reshape(1, 32, 32).astype(np.int32))
    label = f"{data}/train_label/0.png"
    words = ["translate", translators("styles"), label, "--instances", f"{data}/train_inst/0.png"]
    made: Any = game
    ganvas_cli(*words, "-n", "2", "--seed", "3", "--out", "two")
    for k in range(2):
        assert close(pixels(f"two/0_{k}.png"), to_uint8(made.translate(labels, instances=dense, seed=3 + k))[0])
    known = [label for label, count in enumerate(made.styles.counts.tolist()) if count]
    chosen = dict.fromkeys(known[:2], 0)
    flags = [word for label in chosen for word in ("--style", f"{label}=0")]
    ganvas_cli(*words, *flags, "--seed", "3", "--out", "chosen")
    style = made.draw_style(labels, instances=dense, chosen=chosen, seed=3)
    assert close(pixels("chosen/0.png"), to_uint8(made.translate(labels, instances=dense, style=style))[0])
    photo = data / "train_img" / "2.png"
    ganvas_cli(*words, "--style-from", photo, "--out", "taken")
    style = made.style_of(tensor(pixels(photo)), labels, instances=dense)
    assert close(pixels("taken/0.png"), to_uint8(made.translate(labels, instances=dense, style=style))[0])


def test_an_edit_is_a_folder_or_a_sheet(ganvas_cli: Command, translators: Translators, here: Path) -> None:
    label, objects = save(here / "label.png", scene()[0]), save(here / "inst.png", scene()[1])
    words = ["edit", translators("maps"), label, "--to", "4"]
    said = ganvas_cli(*words, "--class", "3", "--out", "folder")
    changed = int((scene()[0] == 3).sum())
    assert said.out == f"{changed} of 1,024 pixels are of class 4 now\nfolder\n"
    assert {path.name for path in Path("folder").iterdir()} == {"label.png", "picture.png", "before.png"}
    told = ganvas_cli(*words, "--instances", objects, "--instance", "3001", "--out", "a.png", "--json").json
    assert (told["changed"], told["pixels"], told["to"]) == (int((scene()[1] == 3001).sum()), 1024, 4)
    assert pixels("a.png").shape[1:] == (4 * 66 + 2, 3)
    assert pixels("a.png").shape[0] > 68  # a legend below
    ganvas_cli("translate", translators("maps"), "folder/label.png", "--out", "again")
    assert close(pixels("again/label.png"), pixels("folder/picture.png"))


# ---- mistakes --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("system", "words", "says"),
    [
        ("cyclegan", "translate RUN nowhere --out out", "There is no data 'nowhere'"),
        ("cyclegan", "translate RUN empty --out out", "empty holds no picture"),
        ("cyclegan", "translate RUN a.png --out full", "full is a folder with something in it: choose a new one"),
        ("cyclegan", "translate RUN a.png --out a.bmp", ", not a.bmp."),
        ("cyclegan", "translate RUN a.png --out a.gif", ", not a.gif."),
        ("cyclegan", "translate RUN a.png --out out --grid", "--grid draws one image: give --out a name such as grid."),
        ("cyclegan", "translate RUN a.png --out out --direction BtoC", "translates AtoB and BtoA, not BtoC"),
        ("cyclegan", "translate RUN a.png --out out -n 0", "-n must be at least 1, not 0"),
        ("cyclegan", "translate RUN a.png --out out -n 2", "one picture of each input, whatever the seed"),
        ("cyclegan", "translate RUN a.png --out out --as-published", "has no dropout: leave --as-published away"),
        ("cyclegan", "translate RUN a.png --out out --style 3=1", "has no encoder of styles"),
        ("cyclegan", "translate RUN a.png --out out --instances a.png", "translates pictures, not label maps"),
        ("cyclegan", "translate RUN sizes --out a.npz", "b.png is of another size than those before it"),
        ("cyclegan", "edit RUN label.png --class 3 --to 2 --out out", "translates pictures, not label maps"),
        ("cyclegan", "sample RUN --out out", "a run of cyclegan, which cannot sample: it has translate"),
        ("cyclegan", "interpolate RUN --out new.png", "a run of cyclegan, which cannot decode: it has translate"),
        ("cyclegan", "traverse RUN --out new.png", "a run of cyclegan, which cannot decode: it has translate"),
        ("cyclegan", "encode RUN a.png --out a.npz", "a run of cyclegan, which cannot encode: it has translate"),
        ("cyclegan", "reconstruct RUN a.png --out out", "a run of cyclegan, which cannot reconstruct"),
        ("pix2pix", "translate RUN a.png --out out --direction AtoB", "translates BtoA, not AtoB"),
        ("pix2pix", "translate RUN a.png --out out --cycle", "BtoA alone, and there is no way back for --cycle"),
        ("maps", "translate RUN label.png --out out --direction BtoA", "translates AtoB, not BtoA"),
        ("maps", "translate RUN label.png --out out --instances inst.png", "was trained without instance maps"),
        ("maps", "translate RUN beyond.png --out out", "beyond.png has the label id 7"),
        ("maps", "translate RUN void.png --out out", "void.png"),
        ("maps", "translate RUN a.png --out out", "a.png"),
        ("maps", "edit RUN label.png --class 3 --out out", "ganvas edit needs --to CLASS"),
        ("maps", "edit RUN label.png --to 2 --out out", "Say what to edit: --class K, or --instances MAP --instance"),
        ("maps", "edit RUN label.png --class three --to 2 --out out", "--class: 'three' is not a whole number"),
        ("maps", "edit RUN label.png --class 4 --to 2 --out out", "no class 4 in label.png: it has 0, 1, 3, 255"),
        ("maps", "edit RUN label.png --instances inst.png --instance 9 --to 2 --out out", "no instance 9 in inst.png"),
        ("maps", "edit RUN void.png --class 255 --to 2 --out out", "void.png"),
        ("maps", "edit RUN nowhere.png --class 3 --to 2 --out out", "nowhere.png"),
        ("maps", "edit RUN label.png --class 3 --to 2 --out a.npz", ", not a.npz."),
        ("styles", "translate RUN label.png --out out", "trained with instance maps, and label.png has none"),
        ("styles", "translate RUN label.png --instances small.png --out out", "small.png"),
        ("styles", "translate RUN label.png --instances inst.png --style 9=0 --out out", "there is no class 9"),
        ("styles", "translate RUN label.png --instances inst.png --style 3=99 --out out", "has no style"),
        ("styles", "translate RUN label.png --instances inst.png --style 3 --out out", "as 26=3, not '3'"),
        ("styles", "translate RUN label.png --instances inst.png --style 3=0 --style 3=1 --out out", "two styles"),
        ("styles", "translate RUN label.png --instances inst.png --style-from wide.png --out out", "is of 48x32, and"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_or_edited_is_said(
    refused: Refusal, translators: Translators, here: Path, system: str, words: str, says: str
) -> None:
    labels, objects = scene()
    for name, made in {
        "a.png": noise(0), "wide.png": noise(0, 32, 48), "full/thesis.png": labels,
        "label.png": labels, "inst.png": objects, "small.png": objects[:, :30],
        "beyond.png": np.where(labels == 3, 7, labels).astype(np.uint8),
        "void.png": np.full_like(labels, 255), "sizes/a.png": noise(0), "sizes/b.png": noise(1, 30, 20),
    }.items():  # fmt: skip
        save(here / name, made)
    (here / "empty").mkdir()
    assert says in refused(*(str(translators(system)) if word == "RUN" else word for word in words.split()))


def test_ctrl_c_leaves_nothing_half_written(
    translators: Translators, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        save(here / "zoo" / f"{name}.png", noise(1))
    saved = Image.Image.save

    def interrupted(picture: Image.Image, path: Path, *more: Any, **options: Any) -> None:
        if path.name == "b.png":
            raise KeyboardInterrupt
        saved(picture, path, *more, **options)

    folder = translators("cyclegan")
    monkeypatch.setattr(Image.Image, "save", interrupted)
    assert run(["translate", str(folder), "zoo", "--out", "out"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "ganvas: interrupted"
    assert [path.name for path in here.iterdir()] == ["zoo"]


def test_what_to_type_next_is_to_translate(ganvas_cli: Command, translators: Translators) -> None:
    for name in ("cyclegan", "maps"):
        told = ganvas_cli("info", translators(name), "--json").json
        assert told["verbs"] == ["translate"]
        words = shlex.split(told["next"])
        assert words[:2] == ["ganvas", "translate"]
        ganvas_cli(*words[1:])
        assert Path(words[-1]).exists()

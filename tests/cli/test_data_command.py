"""`ganvas data` on rows of several pictures: what it finds, and what it says is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from said import Command, Refusal


def draw(folder: Path, values: dict[str, tuple[int, ...]]) -> None:
    """Noise of those shapes, by path; a shape of two numbers is a label map with the ids 0 and 2."""
    for i, (name, shape) in enumerate(values.items()):
        pixels = np.random.default_rng(i).integers(0, 256, shape, np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels if len(shape) == 3 else pixels % 2 * 2).save(folder / name)


def test_label_maps_are_found_with_shares_of_their_classes_and_missing_partners(
    here: Path, ganvas_cli: Command
) -> None:
    names = [f"{i:02}" for i in range(10)]
    draw(here / "streets", {f"train_label/{name}.png": (8, 12) for name in names}
         | {f"train_img/{name}.jpg": (8, 12, 3) for name in names[1:]})  # fmt: skip
    void = np.full((8, 12), 255, np.uint8)
    void[:4] = 2
    Image.fromarray(void).save(here / "streets/train_label/01.png")
    spec = "streets?max-bad=20%&classes=5"
    said = ganvas_cli("data", spec).out
    assert "labels: label maps and photographs\n" in said
    assert "\nrows         train 9\n" in said
    assert "\na row        labels 8x12, image 3x8x12\n" in said
    assert "1 of 10, skipped\n             train_label/00.png: has no partner in train_img\n" in said
    found = ganvas_cli("data", spec, "--json").json
    maps = [np.asarray(Image.open(here / f"streets/train_label/{name}.png")) for name in names[1:]]
    assert found["void"] == np.mean([ids == 255 for ids in maps])
    assert found["shares"] == {str(k): np.mean([ids == k for ids in maps]) for k in range(5)}
    assert f"5, by pixels: 0 ({100 * found['shares']['0']:.3g}%), 2 (" in said
    assert ", 3 others nowhere; void" in said


def test_two_sets_are_counted_by_side_and_pairs_need_partners(
    here: Path, ganvas_cli: Command, refused: Refusal
) -> None:
    draw(here / "sets", {f"{side}/{i}.png": (8, 8, 3) for side, n in (("trainA", 3), ("trainB", 5), ("testA", 1),
                                                                      ("testB", 2)) for i in range(n)})  # fmt: skip
    said = ganvas_cli("data", "sets", "--out", "sheet.png").out
    assert "\nrows         train A 3, B 5; test A 1, B 2\n" in said
    assert "unpaired: two sets in folders; splits train, test\n" in said
    assert refused("data", "paired:sets").startswith(
        "2 or more of 7 pictures in sets cannot be read, over max-bad=1% (trainB/3.png: has no partner in trainA; "
    )
    assert not (here / "contact-paired-sets.png").exists()

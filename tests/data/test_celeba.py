from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import all_names, everything, sentence, write
from originals import faces, zipped
from PIL import Image
from torch.nn import functional

from ganvas.data import open_data
from ganvas.errors import DataError

N = 40
FACES = faces(N)
PUBLISHED = "holdout=0.1&size=64&crop=108x132&resize=bilinear"


def prepared(data: bytes) -> np.ndarray:
    """By the publication: the middle 132 rows and 108 columns of 218 and 178, squashed to 64x64."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (178, 218)
        middle = np.asarray(image)[43:175, 35:143]
    planes = torch.from_numpy(middle.copy()).permute(2, 0, 1)[None].float()
    return functional.interpolate(planes, (64, 64), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).round()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All the ways in which people keep the set."""
    root = tmp_path_factory.mktemp("celeba")
    plain = write(root / "plain" / "img_align_celeba", FACES)
    nested = write(root / "nested" / "img_align_celeba" / "img_align_celeba", FACES)
    (root / "zipped").mkdir()
    archive = zipped(root / "zipped" / "img_align_celeba.zip", FACES)
    return [plain, plain.parent, nested.parent.parent, archive, archive.parent]


def test_the_folder_and_the_zip_are_one_set_prepared_as_published(places: list[Path]) -> None:
    sets = [open_data(str(place)) for place in places]
    for place, data in zip(places, sets, strict=True):
        assert data.spec == f"{place}?{PUBLISHED}"
        assert data.schema.fields == {"image": (3, 64, 64)}
        assert sum(data.splits.values()) == N
        assert 0 < data.splits["test"] < N / 4
        assert data.found["sizes"] == {"178x218": N}
        for split in ("train", "test"):
            part = data.part(split)
            expected = np.stack([prepared(FACES[name]) for name in all_names(part)])
            assert np.array_equal(everything(part), expected)
        assert sorted([*all_names(data), *all_names(data.part("test"))]) == sorted(FACES)
    assert len({data.fingerprint for data in sets}) == 1
    assert len({data.part("test").fingerprint for data in sets}) == 1
    assert [data.found["layout"].split(" ")[1] for data in sets] == ["folder"] * 3 + ["zip"] * 2


def test_a_face_stays_in_its_split_when_others_go(places: list[Path], tmp_path: Path) -> None:
    held_out = set(all_names(open_data(f"{places[0]}?split=test")))
    half = dict(list(FACES.items())[::2])
    write(tmp_path / "img_align_celeba", half)
    assert set(all_names(open_data(f"{tmp_path}?split=test"))) == held_out & half.keys()


def test_what_the_user_says_holds(places: list[Path]) -> None:
    data = open_data(f"{places[-1]}?size=32&crop=none&resize=bicubic&holdout=0.5")
    assert data.spec == f"{places[-1]}?holdout=0.5&size=32&crop=none&resize=bicubic"
    with Image.open(io.BytesIO(FACES[all_names(data)[0]])) as image:
        expected = image.resize((32, 32), Image.Resampling.BICUBIC)
    assert np.abs(everything(data)[0].astype(int) - np.asarray(expected)).max() < 8  # it is drawn at a smaller scale
    assert open_data(f"{places[-1]}?crop=centre").spec == f"{places[-1]}?{PUBLISHED}".replace("108x132", "centre")


def test_a_folder_of_another_name_is_a_folder_of_pictures(places: list[Path], tmp_path: Path) -> None:
    data = open_data(str(shutil.copytree(places[0], tmp_path / "faces")))
    assert data.spec == str(tmp_path / "faces")
    assert data.schema["image"] == (3, 218, 178)


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_a_damaged_zip_and_an_empty_folder_are_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "img_align_celeba"
    if content is None:
        path.mkdir()
    else:
        path = path.with_suffix(".zip")
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"holds no picture|does not read as an archive") as caught:
        open_data(str(tmp_path))
    assert str(path) in sentence(caught.value)

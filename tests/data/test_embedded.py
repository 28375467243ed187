from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import sklearn.datasets
import torch
from drawing import all_names, everything, sentence, without_stores
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganvas.data import Batches, open_data
from ganvas.data import embedded as room
from ganvas.errors import UsageError
from ganvas.ops.mixtures import MIXTURES, mixture


# ---- digits ----------------------------------------------------------------------------------------------------------
def test_digits_are_those_of_scikit_learn_at_32_pixels_and_parted_for_ever() -> None:
    loaded = sklearn.datasets.load_digits()
    train = open_data("digits")
    test = train.part("test")
    assert dict(train.splits) == {"train": 1437, "test": 360}
    assert train.schema["image"] == (1, 32, 32)
    assert train.schema.classes == test.schema.classes == tuple("0123456789")
    assert sorted(all_names(train) + all_names(test)) == [f"{i:06d}" for i in range(1797)]
    assert all_names(test)[:6] == ["000001", "000004", "000006", "000011", "000022", "000023"]  # must not change
    for data in (train, test):
        rows = [int(name) for name in all_names(data)]
        assert data.tensors(np.arange(len(data)))["label"].tolist() == loaded.target[rows].tolist()
        for i in range(0, len(rows), 97):
            small = Image.fromarray(np.round(loaded.images[rows[i]] / 16 * 255).astype(np.uint8))
            assert np.array_equal(
                data.pixels(np.array([i]))[0, :, :, 0], small.resize((32, 32), Image.Resampling.BICUBIC)
            )
    assert min(test.found["classes"].values()) >= 25  # every class is tested


def test_digits_come_at_any_size_and_in_colour() -> None:
    own = open_data("digits?size=8&limit=20")
    assert set(np.unique(everything(own))) <= set(np.rint(np.arange(17) * 255 / 16).astype(int))
    coloured = open_data("digits?size=12x10&channels=rgb&limit=20")
    assert coloured.schema["image"] == (3, 10, 12)
    pixels = everything(coloured)
    assert np.array_equal(pixels[..., 0], pixels[..., 2])
    assert all_names(coloured) == all_names(own)


# ---- photographs -----------------------------------------------------------------------------------------------------
def test_photographs_are_random_crops_the_same_every_time(cache: object) -> None:
    spec = "photos?size=24x16&limit=40"
    photos = open_data(spec)
    assert dict(photos.splits) == {"train": 40, "test": 40}
    assert photos.schema["image"] == (3, 16, 24)
    first = everything(photos)
    assert len({image.tobytes() for image in first}) == 40
    assert np.median(first.std((1, 2))) > 10  # there is something on them
    without_stores(cache)  # type: ignore[arg-type]
    assert np.array_equal(everything(open_data(spec)), first)
    assert open_data("photos?limit=1").schema["image"] == (3, 64, 64)
    assert room.CROPS == {"train": 4096, "test": 512}


def test_photographs_are_tested_on_what_was_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    blue_at_the_right = np.zeros((40, 80, 3), np.uint8)
    blue_at_the_right[:, :60, 0] = blue_at_the_right[:, 60:, 2] = 255
    monkeypatch.setattr(skimage.data, "astronaut", lambda: blue_at_the_right)
    monkeypatch.setattr(room, "PHOTOGRAPHS", ("astronaut",))
    parts = room.photos((7, 7)).scan().parts
    for split, colour in (("train", [255, 0, 0]), ("test", [0, 0, 255])):
        pixels = np.concatenate([np.asarray(block) for block in parts[split].read(np.arange(200))])
        assert (pixels == colour).all()


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)), region=st.tuples(st.integers(1, 99), st.integers(1, 99))
)
@settings(max_examples=60, deadline=None)
def test_a_crop_lies_within_its_photograph_whatever_their_sizes(size: tuple[int, int], region: tuple[int, int]) -> None:
    images = [Image.new("RGB", region, "white")]
    (block,) = room._crops(images, 0, *size)(np.arange(8))
    assert np.asarray(block).shape == (8, size[1], size[0], 3)
    assert (np.asarray(block) == 255).all()


@given(seed=st.integers(0, 2**63 - 1), n=st.integers(1, 2**32 - 1))
@settings(deadline=None)
def test_crops_are_drawn_as_they_always_were(seed: int, n: int) -> None:
    mine, numpys = room._Draws(seed), np.random.default_rng(seed)
    for _ in range(3):
        assert [mine.integer(n), mine.fraction()] == [numpys.integers(n), numpys.random()]
    assert [mine.integer(6), mine.integer(6)] == [numpys.integers(6), numpys.integers(6)]


def test_the_first_crop_is_the_same_for_ever() -> None:
    draws = room._Draws(12345)
    assert [draws.integer(6), draws.fraction(), draws.fraction(), draws.integer(1000)] == [
        *(4, 0.31675833970975287, 0.7973654573327341, 227)
    ]


def test_a_crop_does_not_depend_on_those_read_with_it() -> None:
    part = room.photos((5, 5)).scan().parts["test"]
    alone = [np.asarray(block)[0] for i in (3, 70, 400) for block in part.read(np.array([i]))]
    together = np.concatenate([np.asarray(block) for block in part.read(np.arange(512))])
    assert np.array_equal(alone, together[[3, 70, 400]])


# ---- mixtures --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", MIXTURES)
def test_points_are_drawn_from_the_density_that_is_known(name: str) -> None:
    data = open_data(f"mixture:{name}")
    assert (data.kind, data.mixture) == ("mixture", name)
    assert dict(data.splits) == {"train": 50_000, "test": 10_000}
    assert dict(data.schema.fields) == {"vector": (2,)}
    known = mixture(name)
    for split in ("train", "test"):
        points = data.part(split).tensors(np.arange(10_000))["vector"]
        assert points.dtype == torch.float32
        distances = torch.cdist(points.double(), known.centres)
        nearest, mode = distances.min(1)
        assert (nearest < 4.5 * known.sigma).double().mean() > 0.999
        if name != "spiral":  # whose modes overlap
            assert (
                torch.bincount(mode, minlength=len(known.centres)) * len(known.centres) / 10_000 - 1
            ).abs().max() < 0.25
            assert (points - known.centres[mode]).pow(2).mean().sqrt().item() == pytest.approx(known.sigma, rel=0.02)
    rows = np.arange(1000)
    assert not torch.equal(data.tensors(rows)["vector"], data.part("test").tensors(rows)["vector"])
    batch = Batches(data, 7, seed=0)(0)
    assert {field: values.shape for field, values in batch.items()} == {"vector": (7, 2)}


def test_points_are_limited_and_split_like_all_data() -> None:
    data = open_data("mixture:ring8?limit=100&split=test")
    assert (len(data), data.split) == (100, "test")
    whole = open_data("mixture:ring8?split=test")
    rows = np.array([int(name) for name in all_names(data)])
    assert torch.equal(data.tensors(np.arange(100))["vector"], whole.tensors(rows)["vector"])


@pytest.mark.parametrize(("spec", "says"), [("mixture:ring9", "did you mean 'ring8'"), ("mixture:x", "one of: ring8")])
def test_an_unknown_mixture_is_answered_with_those_there_are(spec: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_data(spec)
    assert says in sentence(caught.value)


def test_data_of_single_pictures_lies_where_it_lay_before_there_were_pairs(cache: Path) -> None:
    data = open_data("digits?size=8&crop=none&limit=9")
    assert data.fingerprint == "9a7c596acf8ae38ea0b29d0769ea426c68d0dda259bffc713e6c0ebb4466988c"
    assert (cache / "stores" / "26c81b1b6c7216f71dee3e4331c79102").is_dir()

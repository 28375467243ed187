"""Label maps with an object or a class changed, and their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import ganvas
from ganvas.editing import edited, rebased, save_edited
from ganvas.errors import DataError, UsageError
from ganvas.ops.maps import coloured
from ganvas.ops.sheet import to_uint8
from ganvas.run import Run
from translators import Translators, save, scene


@pytest.fixture
def label(tmp_path: Path) -> Path:
    return save(tmp_path / "label.png", scene()[0])


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    return save(tmp_path / "inst.png", scene()[1])


def opened(folder: Path) -> tuple[Run, Any]:
    return Run.open(folder), ganvas.load(folder)


def ids(path: Path) -> NDArray[Any]:
    with Image.open(path) as picture:
        return np.asarray(picture)


# ---- what is changed -------------------------------------------------------------------------------------------------
def test_a_class_becomes_another_and_all_else_stays(translators: Translators, label: Path) -> None:
    run, game = opened(translators("maps"))
    found = edited(run, game, label, 2, of=3)
    before, _ = scene()
    assert np.array_equal(found.labels, np.where(before == 3, 2, before))
    assert found.changed == int((before == 3).sum())
    assert found.instances is None
    assert np.array_equal(found.maps, np.stack([before, found.labels]))
    expected = game.translate(torch.from_numpy(found.maps))
    torch.testing.assert_close(found.pictures, expected)
    assert not torch.allclose(expected[0], expected[1], atol=1e-3)


@pytest.mark.parametrize("system", ["maps", "styles"])
def test_an_object_becomes_of_another_class(translators: Translators, label: Path, objects: Path, system: str) -> None:
    run, game = opened(translators(system))
    found = edited(run, game, label, 4, instances=objects, instance=3001, seed=7)
    before, instances = scene()
    assert np.array_equal(found.labels, np.where(instances == 3001, 4, before))
    assert found.instances is not None
    assert found.instances.dtype == np.uint16
    assert np.array_equal(found.instances, np.where(instances == 3001, 4000, instances))
    assert found.changed == int((instances == 3001).sum())


def test_what_was_not_edited_keeps_its_style(translators: Translators, label: Path, objects: Path) -> None:
    """Before and after are drawn by the same seed over the same regions."""
    run, game = opened(translators("styles"))
    dense = torch.from_numpy(np.unique(scene()[1], return_inverse=True)[1].reshape(1, 32, 32).astype(np.int32))
    found = edited(run, game, label, 4, instances=objects, instance=3000, seed=7)
    for picture, labels in zip(found.pictures, found.maps, strict=True):
        alone = game.translate(torch.from_numpy(labels)[None], instances=dense, seed=7)
        torch.testing.assert_close(picture[None], alone)


def test_maps_are_edited_at_their_own_size_and_seen_at_that_of_the_run(
    translators: Translators, tmp_path: Path
) -> None:
    run, game = opened(translators("maps"))
    labels, _ = scene(0, 64, 96)
    found = edited(run, game, save(tmp_path / "wide.png", labels), 2, of=3)
    assert found.labels.shape == (64, 96)
    assert np.array_equal(found.labels, np.where(labels == 3, 2, labels))
    assert found.maps.shape == (2, *found.pictures.shape[2:])


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.booleans()), min_size=1, max_size=30),
    st.sampled_from([0, 2, 5, 70, 255]),
)
def test_new_ids_are_free_ones_of_the_new_class_and_no_two_regions_become_one(
    pixels: list[tuple[int, int, bool]], to: int
) -> None:
    labels = np.array([[label for label, _, _ in pixels]])
    objects = np.array([[label * 1000 + k if label > 2 else label for label, k, _ in pixels]])
    chosen = np.array([[k for label, k, picked in pixels if picked][:1]])
    region = np.isin(objects, objects[np.array([[picked for _, _, picked in pixels]])]) & (chosen.size > 0)
    found = rebased(objects, region, labels, to)
    pairs = set(zip(objects.ravel().tolist(), found.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(objects)) == len(np.unique(found))
    for old, new in pairs:
        inside = bool(region[objects == old].any())
        if inside and old >= 1000 and 1000 <= to * 1000 <= 65535 and to != 255:
            assert new // 1000 == to
        else:
            assert new == old


# ---- what cannot be done ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"to": 2}, "Say what to edit: --class K, or --instances MAP --instance ID"),
        ({"to": 2, "of": 3, "instances": "MAP", "instance": 3000}, "Say what to edit"),
        ({"to": 2, "instance": 3000}, "an id of an instance map: give that, too, by --instances MAP"),
        ({"to": 9, "of": 3}, "has no class 9: they go from 0 to 4, and 255 is void"),
        ({"to": 2, "of": 5}, "has no class 5: they go from 0 to 4, and 255 is void"),
        ({"to": -1, "of": 3}, "has no class -1"),
        ({"to": 2, "of": 4}, "no class 4 in .*label.png: it has 0, 1, 3, 255"),
        ({"to": 3, "of": 3}, "is of class 3 already: choose another --to"),
        ({"to": 2, "instances": "MAP", "instance": 3007}, "instance 3007 in .*inst.png: the nearest are .*3000, 3001"),
        ({"to": 2, "instances": "SMALL", "instance": 3000}, "small.png is 30x32, and .*label.png is 32x32|30x32"),
    ],
)  # fmt: skip
def test_an_edit_that_makes_no_sense_is_one_sentence(
    translators: Translators, label: Path, objects: Path, tmp_path: Path, words: dict[str, Any], says: str
) -> None:
    files = {"MAP": objects, "SMALL": save(tmp_path / "small.png", scene()[1][:, :30])}
    words = words | {"instances": files[words["instances"]]} if "instances" in words else words
    run, game = opened(translators("maps"))
    with pytest.raises((UsageError, DataError), match=says):
        edited(run, game, label, words.pop("to"), **words)


def test_a_run_that_translates_pictures_edits_nothing(translators: Translators, label: Path) -> None:
    run, game = opened(translators("cyclegan"))
    with pytest.raises(UsageError, match="translates pictures, not label maps: there is nothing to edit"):
        edited(run, game, label, 2, of=3)


def test_a_run_with_instances_needs_them_for_a_class_too(translators: Translators, label: Path, objects: Path) -> None:
    run, game = opened(translators("styles"))
    with pytest.raises(UsageError, match=r"trained with instance maps, and .*label\.png has none: --instances"):
        edited(run, game, label, 2, of=3)
    found = edited(run, game, label, 2, of=3, instances=objects)
    assert found.instances is not None
    assert set(np.unique(found.instances)) == {0, 1, 255, 2000, 2001}


# ---- what is left behind ---------------------------------------------------------------------------------------------
def test_a_folder_has_the_maps_and_the_pictures(translators: Translators, label: Path, objects: Path) -> None:
    run, game = opened(translators("maps"))
    found = edited(run, game, label, 4, instances=objects, instance=3001)
    out = label.parent / "out"
    save_edited(out, found)
    assert {path.name for path in out.iterdir()} == {"label.png", "instances.png", "picture.png", "before.png"}
    assert np.array_equal(ids(out / "label.png"), found.labels)
    assert np.array_equal(ids(out / "instances.png"), found.instances)  # type: ignore[arg-type]
    pictures = to_uint8(found.pictures)
    assert np.array_equal(ids(out / "before.png"), pictures[0])
    assert np.array_equal(ids(out / "picture.png"), pictures[1])
    again = edited(run, game, out / "label.png", 3, instances=out / "instances.png", instance=4000)  # and back
    assert np.array_equal(again.labels, scene()[0])
    assert np.array_equal(again.instances, scene()[1])  # type: ignore[arg-type]
    torch.testing.assert_close(again.pictures, found.pictures.flip(0))


def test_a_sheet_shows_both_maps_and_both_pictures(translators: Translators, label: Path) -> None:
    run, game = opened(translators("maps"))
    found = edited(run, game, label, 2, of=3)
    save_edited(label.parent / "a.png", found)
    sheet = ids(label.parent / "a.png")
    pictures, maps = to_uint8(found.pictures), coloured(found.maps)
    for i, tile in enumerate((maps[0], pictures[0], maps[1], pictures[1])):
        left = 2 + i * 66
        assert np.array_equal(sheet[2:66, left : left + 64], tile.repeat(2, 0).repeat(2, 1))


def test_ids_that_no_map_can_hold_are_refused_and_odd_names_are_read(
    translators: Translators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, game = opened(translators("maps"))
    label = save(tmp_path / "q?x.png", scene()[0])
    assert edited(run, game, label, 2, of=3).changed
    monkeypatch.chdir(tmp_path)
    for name in ("my-maps:1.png", "labels:1.png"):  # as a kind of data begins
        save(tmp_path / name, scene()[0])
        assert edited(run, game, Path(name), 2, of=3).changed
    wide = tmp_path / "wide.tif"
    Image.fromarray(scene()[1].astype(np.int32) + 100_000).save(wide)
    with pytest.raises(DataError, match=r"has the instance id 1.*holds ids up to 65535"):
        edited(run, game, label, 2, instances=wide, instance=100_000)

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ganvas import comparison
from ganvas.cli import run as command
from ganvas.comparison import compare
from ganvas.errors import Damaged, DataError, MissingWeights, UsageError
from trained import Trained

Pixels = NDArray[np.uint8]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def folder(path: Path, **pictures: Pixels) -> str:
    """A folder of pictures; ``__`` in a name is a slash, ``_`` a dot."""
    for name, pixels in pictures.items():
        file = path / name.replace("__", "/").replace("_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return str(path)


def arrays(path: Path, images: Pixels) -> str:
    np.savez(path, images=images)
    return str(path)


def mse(*pairs: tuple[Pixels, Pixels]) -> float:
    return float(np.mean([np.mean(((x.astype(float) - y) / 127.5) ** 2) for x, y in pairs]))


# ---- pairs -----------------------------------------------------------------------------------------------------------
def test_identical_sets_have_no_distance_and_an_infinite_psnr(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", a_png=noise(20, 30, 3), b_png=noise(20, 30, 3, seed=1))
    figures = compare(one, one, metrics=["mse", "psnr", "ssim"], device="cpu")
    assert figures["mse"].value == 0
    assert figures["psnr"].value == float("inf")
    assert figures["psnr"].to_json()["value"] is None
    assert figures["ssim"].value == pytest.approx(1)


def test_pictures_pair_by_name_whatever_their_suffix_and_folder(tmp_path: Path) -> None:
    a, b, c = (noise(12, 14, 3, seed=seed) for seed in range(3))
    x, y, z = (noise(12, 14, 3, seed=seed) for seed in range(3, 6))
    one = folder(tmp_path / "one", cats__a_png=a, b_bmp=b, **{"cats__a-b_png": c})
    two = folder(tmp_path / "two", cats__a_bmp=x, b_png=y, **{"cats__a-b_bmp": z})
    figure = compare(one, two, metrics=["mse"], device="cpu")["mse"]
    assert figure.value == pytest.approx(mse((a, x), (b, y), (c, z)))
    assert figure.recipe["pairs"] == "by name"
    assert figure.n == 3


def test_pictures_that_differ_in_their_suffix_alone_pair_by_their_whole_name(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", a_png=noise(12, 12, 3), a_bmp=noise(12, 12, 3, seed=1))
    assert compare(one, one, metrics=["mse"], device="cpu")["mse"].value == 0
    two = folder(tmp_path / "two", a_png=noise(12, 12, 3), a_tif=noise(12, 12, 3, seed=1))
    with pytest.raises(DataError, match="do not pair by name: a name stands for several pictures"):
        compare(one, two, metrics=["mse"], device="cpu")


def test_a_partner_that_is_missing_is_named(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", a_png=noise(12, 12, 3), cats__b_png=noise(12, 12, 3))
    two = folder(tmp_path / "two", a_png=noise(12, 12, 3))
    with pytest.raises(DataError, match=r"one \(2 images\) and .*two \(1\) do not pair by name: cats/b has no partner"):
        compare(one, two, metrics=["mse"], device="cpu")
    three = folder(tmp_path / "three", a_png=noise(12, 12, 3), c_png=noise(12, 12, 3))
    with pytest.raises(DataError, match="c has no partner, nor have 1 more"):
        compare(one, three, metrics=["mse"], device="cpu")


def test_arrays_pair_by_order_with_as_many_of_anything(tmp_path: Path) -> None:
    images, others = noise(3, 12, 12, 3), noise(3, 12, 12, 3, seed=1)
    one, two = arrays(tmp_path / "one.npz", images), arrays(tmp_path / "two.npz", others)
    expected = mse(*zip(images, others, strict=True))
    assert compare(one, two, metrics=["mse"], device="cpu")["mse"].value == pytest.approx(expected)
    three = folder(tmp_path / "three", **{f"{name}_png": pixels for name, pixels in zip("xyz", others, strict=True)})
    figure = compare(one, three, metrics=["mse"], device="cpu")["mse"]
    assert figure.value == pytest.approx(expected)
    assert figure.recipe["pairs"] == "by order"
    with pytest.raises(DataError, match="do not pair"):
        compare(one, arrays(tmp_path / "four.npz", images[:2]), metrics=["mse"], device="cpu")


def test_files_that_are_numbered_are_no_arrays(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", **{"1_png": noise(12, 12, 3), "2_png": noise(12, 12, 3)})
    two = folder(tmp_path / "two", **{"3_png": noise(12, 12, 3), "4_png": noise(12, 12, 3)})
    with pytest.raises(DataError, match="1 has no partner"):
        compare(one, two, metrics=["mse"], device="cpu")


def test_fewer_pairs_are_the_same_rows_of_both(tmp_path: Path) -> None:
    images = noise(9, 12, 12, 3)
    one, two = arrays(tmp_path / "one.npz", images), arrays(tmp_path / "two.npz", images)
    figure = compare(one, two, metrics=["mse"], n=4, seed=5, device="cpu")["mse"]
    assert (figure.value, figure.n) == (0, 4)


# ---- preparation -----------------------------------------------------------------------------------------------------
def test_large_pictures_keep_their_own_size(tmp_path: Path) -> None:
    """Shrunk, these two would be the same grey."""
    board = (np.indices((280, 300)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    one, two = folder(tmp_path / "one", a_png=board), folder(tmp_path / "two", a_png=255 - board)
    assert compare(one, two, metrics=["mse"], device="cpu")["mse"].value == pytest.approx(4)


def test_sets_of_different_sizes_or_channels_are_told_to_meet(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", a_png=noise(20, 30, 3))
    two = folder(tmp_path / "two", a_png=noise(20, 20, 3))
    with pytest.raises(
        DataError, match=r"a.png of .*one is 30x20 in 3 channels, and its partner .* 20x20.*: ask for|20x20"
    ):
        compare(one, two, metrics=["mse"], device="cpu")
    assert compare(f"{one}?size=16", f"{two}?size=16", metrics=["mse"], device="cpu")["mse"].value > 0
    with pytest.raises(
        DataError, match=r"in 3 channels, .* in 1 channels: a pair is measured at its own size; ask for"
    ):
        compare(one, f"{one}?channels=grey", metrics=["mse"], device="cpu")


SIZES = [(64, 48), (48, 48), (56, 40)]  # width, height


@pytest.fixture
def blurred(tmp_path: Path) -> tuple[Path, Path, list[tuple[Pixels, Pixels]]]:
    """A folder of images of several sizes, and one of the same after half their size; their pixels."""
    pairs = []
    for i, (width, height) in enumerate(SIZES):
        sharp = noise(height // 8, width // 8, 3, seed=i).repeat(8, 0).repeat(8, 1)
        small = Image.fromarray(sharp).resize((width // 2, height // 2), Image.Resampling.BICUBIC)
        pairs.append((sharp, np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))))
    sides = [folder(tmp_path / name, **{f"{i}_png": pair[k] for i, pair in enumerate(pairs)}) for k, name in
             enumerate(("sharp", "soft"))]  # fmt: skip
    return Path(sides[0]), Path(sides[1]), pairs


def test_each_pair_is_measured_at_its_own_size(blurred: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from skimage.metrics import structural_similarity

    sharp, soft, pairs = blurred
    figures = compare(sharp, soft, metrics=["psnr", "mse", "mae", "ssim"], device="cpu")
    errors = [(x.astype(float) - y.astype(float)) / 127.5 for x, y in pairs]
    assert figures["mse"].value == pytest.approx(np.mean([np.mean(e**2) for e in errors]))
    assert figures["mae"].value == pytest.approx(np.mean([np.mean(np.abs(e)) for e in errors]))
    assert figures["psnr"].value == pytest.approx(np.mean([10 * np.log10(4 / np.mean(e**2)) for e in errors]))
    settings: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    maps = [
        structural_similarity(x, y, channel_axis=2, data_range=255, full=True, **settings)[1][5:-5, 5:-5].mean()
        for x, y in pairs
    ]
    assert figures["ssim"].value == pytest.approx(np.mean(maps), abs=1e-6)
    assert figures["psnr"].recipe["sizes"] == "3, from 56x40 to 64x48: each pair at its own"
    assert figures["psnr"].recipe["prepared"] == "each kept at its own size, RGB"
    assert capsys.readouterr().err.splitlines() == [
        f"read {side}: 3 images; 3 sizes from 56x40 to 64x48; each kept at its own size, RGB" for side in (sharp, soft)
    ]


def test_floating_point_images_of_a_set_share_one_range(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dark frame stays dark: none is stretched to its own extremes."""
    for side in "ab":
        (tmp_path / side).mkdir()
    for i, brightness in enumerate((1.0, 0.5, 0.25)):
        values = noise(16, 16, seed=i) / np.float32(255) * np.float32(brightness)
        values.flat[:2] = 0, brightness
        Image.fromarray(values.astype(np.float32)).save(tmp_path / "a" / f"{i}.tiff")
        Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(tmp_path / "b" / f"{i}.png")
    figures = compare(tmp_path / "a", tmp_path / "b", metrics=["mse"], device="cpu")
    assert figures["mse"].value == 0
    assert "values from 0 to 1 are read as 0 (black) to 1 (white)" in capsys.readouterr().err


def test_a_size_that_is_asked_for_is_the_only_resizing(blurred: Any) -> None:
    sharp, soft, _ = blurred
    figure = compare(f"{sharp}?size=16", f"{soft}?size=16", metrics=["mse"], device="cpu")["mse"]
    assert "sizes" not in figure.recipe
    assert figure.recipe["prepared"] == "center crop to 16x16, RGB"
    with pytest.raises(DataError, match=r"0\.png of .*sharp\?size=16 is 16x16 in 3 channels, and its partner 0\.png"):
        compare(f"{sharp}?size=16", soft, metrics=["mse"], device="cpu")


def test_a_metric_that_needs_one_size_is_refused_for_several_and_others_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """fd-digits looks at 32x32 whatever the size; fd-small leaves images over 64 pixels at theirs."""
    one = folder(tmp_path / "one", a_png=noise(80, 90, 3), b_png=noise(96, 96, 3), c_png=noise(20, 30, 3))
    figures = compare(one, one, metrics=["fd-digits", "psnr"], device="cpu")
    assert figures["fd-digits"].n == 3
    assert figures["fd-digits"].value == pytest.approx(0, abs=1e-6)
    from ganvas.metrics import FrechetDistance, Gathering, extractors
    from ganvas.nets.features import FeatureStack

    net = FeatureStack("alex").eval().requires_grad_(False)
    gathering = Gathering([FrechetDistance("fd-small", extractors.from_stack(net, "a net"))])
    batches = comparison._stacked((noise(80, 90, 3), noise(96, 96, 3)), "cpu")
    for batch in batches:
        gathering.update(batch)
    assert str(gathering.failed["fd-small"]) == (
        "Features of alex are compared at one size, and one set has images of 90x80 and of 96x96: ask for a common "
        "size, as in ?size=64."
    )


def test_each_image_is_decoded_once_whatever_is_measured(blurred: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ganvas.data import gathering

    seen: list[str] = []
    decode = gathering.decode
    monkeypatch.setattr(gathering, "decode", lambda file, *more: seen.append(file.data) or decode(file, *more))
    sharp, soft, _ = blurred
    figures = compare(sharp, soft, metrics=["psnr", "ssim", "fd-digits"], device="cpu")
    assert list(figures) == ["psnr", "ssim", "fd-digits"]
    assert sorted(seen) == sorted(str(side / f"{i}.png") for side in (sharp, soft) for i in range(3))


def test_unreadable_images_are_left_out_with_their_partners_and_told_also_when_statistics_are_kept(
    blurred: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sharp, soft, pairs = blurred
    (soft / "1.png").write_bytes(b"<html>404</html>")
    figures = compare(sharp, soft, metrics=["mse", "fd-digits"], device="cpu")
    kept = [pairs[0], pairs[2]]
    assert figures["mse"].value == pytest.approx(mse(*((x.astype(float), y.astype(float)) for x, y in kept)))
    assert (figures["mse"].n, figures["fd-digits"].recipe["images"]) == (2, [3, 2])
    said = f"left out of {soft}: cannot be read (1: 1.png: not a picture that can be read)"
    assert said in capsys.readouterr().err
    for _ in range(2):  # the second time the statistics of both are at hand
        compare(sharp, soft, metrics=["fd-digits"], device="cpu")
        assert said in capsys.readouterr().err
    (sharp / "2.png").write_bytes(b"<html>404</html>")
    assert compare(sharp, soft, metrics=["mse"], device="cpu", quiet=True)["mse"].n == 1
    assert "read" not in capsys.readouterr().err


def test_no_image_of_a_folder_stays_in_the_cache(blurred: Any, cache: Path) -> None:
    sharp, soft, _ = blurred
    before = set((cache / "stores").glob("*"))
    compare(sharp, soft, metrics=["mse", "fd-digits"], device="cpu")
    assert set((cache / "stores").glob("*")) == before


def test_large_images_are_measured_one_after_another(monkeypatch: pytest.MonkeyPatch, blurred: Any) -> None:
    sharp, soft, _ = blurred
    many = compare(sharp, soft, metrics=["mse", "fd-digits"], device="cpu")
    monkeypatch.setattr(comparison, "PIXELS", 64 * 48)
    few = compare(sharp, soft, metrics=["mse", "fd-digits"], device="cpu")
    assert few["mse"].value == pytest.approx(many["mse"].value)
    assert few["fd-digits"].value == pytest.approx(many["fd-digits"].value, rel=1e-4)


def test_a_run_object_stands_for_its_folder(trained: Trained) -> None:
    from ganvas.run import Run

    arguments: dict[str, Any] = {"metrics": ["fd-digits"], "n": 40, "device": "cpu"}
    folder = trained("dcgan")
    by_path, by_run = (compare(one, "digits", **arguments)["fd-digits"] for one in (folder, Run.open(folder)))
    assert by_path == by_run


def test_sets_meet_where_a_metric_looks_at_them(tmp_path: Path) -> None:
    """Small pictures all grow to one size, whatever theirs."""
    one = folder(tmp_path / "one", a_png=noise(20, 30, 3), b_png=noise(20, 30, 3))
    two = folder(tmp_path / "two", a_png=noise(28, 28, 3), b_png=noise(28, 28, 3))
    assert compare(one, two, metrics=["fd-digits"], device="cpu")["fd-digits"].value > 0
    assert compare(one, f"{one}?channels=grey", metrics=["fd-digits"], device="cpu")["fd-digits"].n == 2


def test_modes_of_pictures_may_be_mixed(tmp_path: Path) -> None:
    pixels = noise(12, 12)
    plain = folder(tmp_path / "plain", a_png=pixels, b_png=pixels, c_png=pixels)
    (tmp_path / "mixed").mkdir()
    picture = Image.fromarray(pixels)
    for name, mode in (("a", "RGBA"), ("b", "RGB"), ("c", "LA")):
        picture.convert(mode).save(tmp_path / "mixed" / f"{name}.png")
    assert compare(plain, tmp_path / "mixed", metrics=["mse"], device="cpu")["mse"].value == 0


@pytest.mark.parametrize(("a", "b"), [("mixture:ring8", "digits"), ("digits", "mixture:ring8")])
def test_points_are_no_images(a: str, b: str) -> None:
    with pytest.raises(UsageError, match="mixture:ring8 has no images to compare"):
        compare(a, b, metrics=["mse"])


# ---- runs and distances ----------------------------------------------------------------------------------------------
def test_a_run_stands_for_its_samples_on_either_side(trained: Trained, tmp_path: Path) -> None:
    saved = tmp_path / "samples"
    assert command(["sample", str(trained("dcgan")), "-n", "60", "--seed", "3", "--out", str(saved)]) == 0
    arguments: dict[str, Any] = {"metrics": ["fd-digits"], "n": 60, "seed": 3, "device": "cpu"}
    figure = compare(trained("dcgan"), "digits", **arguments)["fd-digits"]
    expected = compare(saved, "digits?channels=rgb", **arguments)["fd-digits"]
    assert figure.value == pytest.approx(expected.value, rel=1e-3)
    assert compare("digits", trained("dcgan"), **arguments)["fd-digits"].value == pytest.approx(figure.value, rel=1e-6)
    assert figure.recipe["a"] == f"samples of {trained('dcgan')}, seed 3"
    assert figure.recipe["images"] == [60, 60]


def test_a_run_beside_itself_is_measured_on_other_samples(trained: Trained) -> None:
    run = trained("vae")
    figure = compare(run, run, metrics=["fd-digits"], n=40, device="cpu")["fd-digits"]
    assert figure.value > 1e-3
    assert (figure.recipe["a"], figure.recipe["b"]) == (f"samples of {run}, seed 0", f"samples of {run}, seed 1")
    with pytest.raises(UsageError, match="Samples have no partners to be compared with, as mse, ssim would"):
        compare(run, "digits", metrics=["mse", "ssim"])


def test_a_figure_that_should_not_be_trusted_is_told_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = folder(tmp_path / "one", **{f"{i}_png": noise(20, 20, 3, seed=i) for i in range(4)})
    two = folder(tmp_path / "two", **{f"{i}_png": noise(30, 30, 3, seed=i + 9) for i in range(3)})
    figures = compare(one, two, metrics=["fd-digits"], device="cpu")
    reason = "3 images do not span 64 dimensions: biased upwards, compare it with nothing measured on another number"
    assert figures["fd-digits"].recipe["warning"].startswith(reason)
    assert f"warning: fd-digits: {reason}" in capsys.readouterr().err


def test_a_pass_of_minutes_is_announced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a clock that shows seven seconds more each time: 96 images in 24 batches."""
    clock = itertools.count(0, 7)
    monkeypatch.setattr("ganvas.figures.monotonic", lambda: next(clock))
    monkeypatch.setattr(comparison, "BATCH", 4)
    one, two = "digits?limit=96", arrays(tmp_path / "two.npz", noise(8, 12, 12, 1))
    compare(one, two, metrics=["fd-digits"], device="cpu")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert lines == [
        "note: digits?limit=96, split train: 96 images take 5 more minutes; -n takes fewer"
    ]  # 14 s for the first 4


def test_a_first_batch_that_is_long_in_coming_says_nothing_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eleven seconds more each time: twenty-two for the first batch of two, which tell of eleven more."""
    clock = itertools.count(0, 11)
    monkeypatch.setattr("ganvas.figures.monotonic", lambda: next(clock))
    monkeypatch.setattr(comparison, "BATCH", 1)
    one = arrays(tmp_path / "one.npz", noise(2, 12, 12, 1))
    assert compare(one, one, metrics=["fd-digits"], device="cpu")["fd-digits"].n == 2
    assert "note:" not in capsys.readouterr().err


def test_missing_weights_leave_the_other_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = folder(tmp_path / "one", a_png=noise(20, 30, 3), b_png=noise(20, 30, 3, seed=1))
    assert list(compare(one, one, metrics=["lpips-alex", "mse", "fd-alex"], device="cpu")) == ["mse"]
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("read ")]
    assert [line.split(" left out: ")[0] for line in lines] == ["lpips-alex, fd-alex"]
    with pytest.raises(MissingWeights, match=r"hand \(alexnet, squeezenet1_1\): run `ganvas fetch metrics`"):
        compare(one, one, device="cpu")
    assert capsys.readouterr().err == ""


def test_damaged_weights_are_named_once_for_all_that_need_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GANVAS_WEIGHTS", str(tmp_path))
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    path.write_bytes(b"PK, and no more of it")
    one = folder(tmp_path / "one", a_png=noise(20, 30, 3), b_png=noise(20, 30, 3, seed=1))
    assert list(compare(one, one, metrics=["fid", "mse", "kid", "precision"], device="cpu")) == ["mse"]
    line, *read = capsys.readouterr().err.splitlines()
    assert all(other.startswith("read ") for other in read)
    assert line.startswith(f"fid, kid, precision left out: {path} is truncated or another file: its SHA-256 is ")
    with pytest.raises(Damaged, match=r"6726825d\.pth is truncated"):
        compare(one, one, metrics=["fid", "kid"], device="cpu")


def test_real_weights_tell_a_set_from_another_and_not_from_itself(
    shared: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANVAS_WEIGHTS", str(shared / "weights"))
    a, b = "photos?limit=48&size=32", "photos?limit=48&size=32&split=test"
    itself, other = compare(a, a, device="cpu"), compare(a, b, device="cpu")
    monkeypatch.setattr(comparison, "BATCH", 5)
    monkeypatch.setenv("GANVAS_CACHE", str(cache / "another"))
    again = compare(a, b, device="cpu")
    for name in ("fd-alex", "fd-squeeze"):
        assert itself[name].value == pytest.approx(0, abs=1e-6 * other[name].value)
        assert again[name].value == pytest.approx(other[name].value, rel=1e-4)
        assert "do not span" in other[name].recipe["warning"]
    pairs = compare(a, a, metrics=["lpips-alex", "lpips-squeeze"], n=4, device="cpu")
    assert all(figure.value == pytest.approx(0, abs=1e-6) for figure in pairs.values())

"""Segmenters from ONNX files made here, and what they say of pictures, counted by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from ganvas.data import open_data
from ganvas.errors import Damaged, DataError, UsageError
from ganvas.figures import Tools
from ganvas.metrics.segmentation import Confusion, Segmenter
from ganvas.translation_measures import translation_figures
from paintings import Painter, labels, painted, street

Sides = tuple[Any, Any, Any, Any]
ANY: Sides = ("N", 3, "H", "W")


def saved(path: Path, nodes: list[Any], kind: int = TensorProto.FLOAT, shape: Sides = ANY, out: Any = None) -> Path:
    """A model of those nodes, from ``x`` to ``y``."""
    out = out or result()
    graph = helper.make_graph(nodes, "toy", [helper.make_tensor_value_info("x", kind, shape)], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def result(kind: int = TensorProto.FLOAT, rank: int = 4) -> Any:
    """An output of any size."""
    return helper.make_tensor_value_info("y", kind, [None] * rank)


def brightest(path: Path, **how: Any) -> Path:
    """The class of a pixel is its brightest channel: the scores are the picture itself."""
    return saved(path, [helper.make_node("Identity", ["x"], ["y"])], **how)


def pictures(*seeds: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps [B, H, W] and their photographs."""
    ids = np.stack([street(seed) for seed in seeds])
    return torch.from_numpy(ids), torch.from_numpy(painted(ids)).permute(0, 3, 1, 2).float() / 127.5 - 1


# ---- counting --------------------------------------------------------------------------------------------------------
def test_a_confusion_worked_out_by_hand() -> None:
    """Class 0: three pixels, two found. Class 1: two, one found, one taken for no class. Class 2: one, taken for 0.
    Class 3 is nowhere. A void pixel, taken for 1, counts for nothing."""
    truth = torch.tensor([[[0, 0, 0, 1], [1, 2, 255, 255]]], dtype=torch.uint8)
    seen = torch.tensor([[[0, 0, 1, 1], [9, 0, 1, -1]]])
    found = Confusion(4)
    found.update(truth[:, :1], seen[:, :1])
    found.update(truth[:, 1:], seen[:, 1:])
    assert found.counts.tolist() == [[2, 1, 0, 0, 0], [0, 1, 0, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert found.accuracies[:3] == [2 / 3, 1 / 2, 0]
    assert found.overlaps[:3] == [2 / 4, 1 / 3, 0]
    assert np.isnan([found.accuracies[3], found.overlaps[3]]).all()
    assert found.pixel_accuracy == 3 / 6
    assert found.class_accuracy == pytest.approx((2 / 3 + 1 / 2) / 3)
    assert found.miou == pytest.approx((1 / 2 + 1 / 3) / 3)
    parts = found.parts(["road", "sky", "tree", "car"])
    assert (parts["iou sky"], parts["accuracy road"]) == (1 / 3, 2 / 3)
    assert "iou car" not in parts
    assert found.n == 2


@given(st.integers(0, 1000))
def test_counts_equal_those_of_masks(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.choice([0, 1, 2, 255], (2, 5, 7)).astype(np.uint8)
    seen = random.choice([-1, 0, 1, 2, 3, 255], (2, 5, 7))
    found = Confusion(3)
    found.update(torch.from_numpy(truth), torch.from_numpy(seen))
    for c in range(3):
        one, two = truth == c, (seen == c) & (truth != 255)
        if (one | two).any():
            assert found.overlaps[c] == (one & two).sum() / (one | two).sum()
        if one.any():
            assert found.accuracies[c] == (one & two).sum() / one.sum()


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"\[1, 2, 2\] was segmented as \[1, 2, 3\]"):
        Confusion(2).update(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3))


# ---- segmenting ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [ANY, (2, 3, 32, 32), (1, 3, "H", "W")], ids=str)
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_scores_of_every_pixel_give_its_class(tmp_path: Path, shape: Sides, kind: int) -> None:
    """Pictures are given as they are and in as many as the model wants."""
    segmenter = Segmenter(brightest(tmp_path / "a.onnx", shape=shape, kind=kind, out=result(kind)), 3)
    ids, images = pictures(1, 2, 3)
    seen = segmenter(images)
    known = ids != 255
    assert seen.dtype == torch.int64
    assert torch.equal(seen[known], ids[known].long())


@pytest.mark.parametrize("kept", [0, 1])
def test_levels_in_and_a_map_of_ids_out(tmp_path: Path, kept: int) -> None:
    """uint8 in; [N, H, W] or [N, 1, H, W] of int64 out."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["f"], ["y"], axis=1, keepdims=kept),
    ]
    out = result(TensorProto.INT64, 3 + kept)
    segmenter = Segmenter(saved(tmp_path / "a.onnx", nodes, TensorProto.UINT8, out=out), 3)
    ids, images = pictures(5)
    assert torch.equal(segmenter(images)[ids != 255], ids[ids != 255].long())
    assert segmenter.recipe["output"] == "a map of ids, nearest to the map's size"
    assert segmenter.recipe["input"] == "RGB uint8 levels"


def test_pictures_are_in_zero_to_one(tmp_path: Path) -> None:
    """A pixel is class 1 where x > 0.5, 0 elsewhere: black, white, 127 and 128 of 255 tell the range."""
    half = helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])
    nodes = [
        helper.make_node("Constant", [], ["half"], value=half),
        helper.make_node("ReduceMean", ["x"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Greater", ["grey", "half"], ["more"]),
        helper.make_node("Cast", ["more"], ["y"], to=TensorProto.INT32),
    ]
    segmenter = Segmenter(saved(tmp_path / "a.onnx", nodes, out=result(TensorProto.INT32)), 2)
    levels = torch.tensor([0.0, 127, 128, 255]).view(1, 1, 1, 4)
    assert segmenter((levels / 127.5 - 1).expand(1, 3, 1, 4)).flatten().tolist() == [0, 0, 1, 1]
    assert segmenter(levels / 127.5 - 1).flatten().tolist() == [0, 0, 1, 1]  # grey pictures are three equal channels


def test_a_coarse_answer_is_taken_to_the_nearest_pixel_and_a_fixed_size_met(tmp_path: Path) -> None:
    pool = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[8, 8], strides=[8, 8])
    ids, images = pictures(1, 2)
    known = ids != 255
    for shape in (ANY, ("N", 3, 64, 64)):
        segmenter = Segmenter(saved(tmp_path / "a.onnx", [pool], shape=shape), 3)
        assert torch.equal(segmenter(images)[known], ids[known].long())
    assert segmenter.recipe["resize"] == "resized to 64 x 64, bilinear, antialiased"


# ---- refused ---------------------------------------------------------------------------------------------------------
def test_models_that_do_not_fit_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"There is no file .*none\.onnx"):
        Segmenter(tmp_path / "none.onnx", 3)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(Damaged, match=r"text\.onnx is no ONNX model that onnxruntime can run"):
        Segmenter(tmp_path / "text.onnx", 3)
    with pytest.raises(UsageError, match=r"does not take pictures .*: it has x tensor\(float\) \['N', 'H', 'W', 3\]"):
        Segmenter(brightest(tmp_path / "last.onnx", shape=("N", "H", "W", 3)), 3)
    good = brightest(tmp_path / "good.onnx")
    with pytest.raises(UsageError, match=r"gives float32 \[1, 3, 32, 32\], which is neither scores \[N, 19, h, w\]"):
        Segmenter(good, 19)(pictures(1)[1])
    small = saved(tmp_path / "b.onnx", [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[64, 64])])
    with pytest.raises(DataError, match=r"b\.onnx cannot segment pictures of \[1, 3, 32, 32\]"):
        Segmenter(small, 3)(pictures(1)[1])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"needs the library onnxruntime: pip install 'ganvas\[export\]'"):
        Segmenter(good, 3)


# ---- of a run --------------------------------------------------------------------------------------------------------
def test_pictures_of_maps_show_what_the_maps_say_as_far_as_they_do(tmp_path: Path) -> None:
    data = open_data(labels(tmp_path / "data"))
    segmenter = Segmenter(brightest(tmp_path / "a.onnx"), 3)
    right, wrong = (
        translation_figures(game, data, Tools(["miou"]), n=9, seed=0, segmenter=segmenter)["miou"]
        for game in (Painter(), Painter({0: 1}))
    )
    assert right.value == 1
    ids = data.part("test").tensors(np.arange(4))["labels"].numpy()
    zeros, ones, twos = ((ids == c).sum() for c in range(3))
    assert wrong.value == pytest.approx((0 + ones / (zeros + ones) + 1) / 3)
    assert wrong.parts["pixel accuracy"] == pytest.approx((ones + twos) / (zeros + ones + twos))
    assert wrong.parts["class accuracy"] == pytest.approx(2 / 3)
    assert (wrong.parts["real"], wrong.parts["iou 0"], wrong.parts["accuracy 1"]) == (1, 0, 1)
    assert wrong.n == 4
    assert wrong.recipe["segmenter"] == "a.onnx"


def test_a_segmenter_that_fails_leaves_the_figures_of_others_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = open_data(labels(tmp_path / "data"))
    pool = [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[64, 64])]
    segmenter = Segmenter(saved(tmp_path / "b.onnx", pool), 3)
    figures = translation_figures(
        Painter(), data, Tools(["fd-digits", "mse", "miou"]), n=9, seed=0, segmenter=segmenter
    )
    assert {name: figure.n for name, figure in figures.items()} == {"fd-digits": 4, "mse": 4}
    assert "miou left out: " in capsys.readouterr().err

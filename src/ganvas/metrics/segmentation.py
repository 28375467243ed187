"""Whether a picture shows what its label map says, as a segmenter sees it: per-class accuracy and mean IoU.

The measure of label-to-photograph translation since Isola et al. 2017 (1611.07004, section 3.2), whose segmenter was an
FCN-8s of Cityscapes. Any net will do here that comes as an ONNX file; only figures by one segmenter may be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganvas.errors import Damaged, DataError, UsageError
from ganvas.files import sha256
from ganvas.ops.maps import VOID

FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
LEVELS = "tensor(uint8)"


class Confusion:
    """How often each class was taken for which, exactly.

    counts: int64 [C, C + 1]: row t, column p: pixels of class t that were taken for class p; the last column counts
    what was taken for no class at all. Pixels that are void in the map are left out.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts = np.zeros((classes, classes + 1), np.int64)
        self.n = 0
        """Maps seen."""

    def update(self, truth: Tensor, seen: Tensor) -> None:
        """Adds ids [B, H, W], and what they were taken for. Raises DataError where the two do not fit."""
        if truth.shape != seen.shape:
            raise DataError(f"A label map of {list(truth.shape)} was segmented as {list(seen.shape)}.")
        t, p = (maps.flatten().cpu().numpy().astype(np.int64) for maps in (truth, seen))
        known = t < self.classes  # neither void nor anything else that is no class
        t, p = t[known], p[known]
        p = np.where((p >= 0) & (p < self.classes), p, self.classes)
        width = self.classes + 1
        self.counts += np.bincount(t * width + p, minlength=self.counts.size).reshape(self.counts.shape)
        self.n += len(truth)

    @property
    def accuracies(self) -> list[float]:
        """Of each class: which share of its pixels was taken for it; NaN where it has none."""
        return [_share(self.counts[c, c], self.counts[c].sum()) for c in range(self.classes)]

    @property
    def overlaps(self) -> list[float]:
        """Of each class: pixels that are it and were taken for it, over those that are it or were; NaN where there are
        none."""
        return [
            _share(self.counts[c, c], self.counts[c].sum() + self.counts[:, c].sum() - self.counts[c, c])
            for c in range(self.classes)
        ]

    @property
    def pixel_accuracy(self) -> float:
        """Which share of all pixels was taken for what it is."""
        return _share(int(self.counts.diagonal().sum()), int(self.counts.sum()))

    @property
    def class_accuracy(self) -> float:
        """The mean accuracy of the classes that have pixels."""
        return _mean(self.accuracies)

    @property
    def miou(self) -> float:
        """The mean overlap of the classes that are in a map or were seen in a picture."""
        return _mean(self.overlaps)

    def parts(self, names: Sequence[str]) -> dict[str, float]:
        """All but the mean overlap, by name; classes that are nowhere are left out."""
        per_class = {
            f"{what} {name}": value
            for what, values in (("accuracy", self.accuracies), ("iou", self.overlaps))
            for name, value in zip(names, values, strict=True)
            if not math.isnan(value)
        }
        return {"pixel accuracy": self.pixel_accuracy, "class accuracy": self.class_accuracy, **per_class}


def _share(some: int, all_of: int) -> float:
    return float(some) / float(all_of) if all_of else math.nan


def _mean(values: Sequence[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan


class Segmenter:
    """A net in an ONNX file that says which class each pixel of a picture shows.

    It must have one input [N, 3, H, W] (or [N, 1, H, W]: grey), floating point in [0, 1] or uint8 levels; whatever else
    it wants of its input, such as a mean taken away, it must do by itself. N, H and W may be fixed: pictures are then
    resized. Its first output must be scores [N, C, h, w], one for each class of the data, or a map of ids [N, h, w] or
    [N, 1, h, w] of integers. It works on the CPU.

    Raises UsageError for a file that is not there, for an input or a number of classes that does not fit, and where
    onnxruntime is not installed; Damaged for a file that is no ONNX model.
    """

    def __init__(self, path: str | Path, classes: int) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise UsageError("--segmenter needs the library onnxruntime: pip install 'ganvas[export]'.") from None
        self.path, self.classes = Path(path), classes
        if not self.path.is_file():
            raise UsageError(f"There is no file {path} to take for --segmenter.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised, and said in a sentence
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                self.path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
        except Exception as error:  # onnxruntime's errors have no root of their own
            raise Damaged(f"{path} is no ONNX model that onnxruntime can run ({_line(error)}).") from error
        inputs = self._session.get_inputs()
        self._input = inputs[0]
        shape = [side if isinstance(side, int) else None for side in self._input.shape]
        pictures = len(shape) == 4 and (shape[1] in (1, 3) or (shape[1] is None and shape[3] not in (1, 3)))
        if len(inputs) != 1 or not pictures or self._input.type not in (*FLOATS, LEVELS):
            told = "; ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
            raise UsageError(
                f"{path} does not take pictures as --segmenter gives them, one input [N, 3, H, W] of floats in [0, 1] "
                f"or of uint8 levels: it has {told}."
            )
        self._rows, self._channels, *self._size = shape[0], shape[1] or 3, shape[2], shape[3]
        self._output: str | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """The class that each pixel of images [B, 1 or 3, H, W] in [-1, 1] shows, int64 [B, H, W]."""
        height, width = images.shape[-2:]
        x = (images.detach().float().cpu().clamp(-1, 1) + 1) / 2
        x = self._coloured(x)
        wanted = self._size[0] or height, self._size[1] or width
        if wanted != (height, width):
            x = F.interpolate(x, wanted, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        if self._input.type == LEVELS:
            pixels = (x * 255).round().to(torch.uint8).numpy()
        else:
            pixels = x.numpy().astype(FLOATS[self._input.type])
        seen = torch.cat([self._ids(part) for part in self._parts(pixels)])[: len(images)]
        return F.interpolate(seen[:, None].double(), (height, width), mode="nearest-exact")[:, 0].long()

    def _coloured(self, x: Tensor) -> Tensor:
        if x.shape[1] == self._channels:
            return x
        return x.expand(-1, 3, -1, -1) if self._channels == 3 else x.mean(1, keepdim=True)

    def _parts(self, pixels: Any) -> Sequence[Any]:
        """The pictures in runs of as many as the model takes at once, the last filled up with its last picture."""
        if self._rows is None:
            return [pixels]
        lacking = -len(pixels) % self._rows
        whole = np.concatenate([pixels, pixels[-1:].repeat(lacking, 0)])
        return [whole[first : first + self._rows] for first in range(0, len(whole), self._rows)]

    def _ids(self, pixels: Any) -> Tensor:
        try:
            out = self._session.run([self._session.get_outputs()[0].name], {self._input.name: pixels})[0]
        except Exception as error:  # as above
            raise DataError(f"{self.path} cannot segment pictures of {list(pixels.shape)}: {_line(error)}.") from error
        found = np.asarray(out)
        integers = np.issubdtype(found.dtype, np.integer)
        if integers and found.ndim == 4 and found.shape[1] == 1:
            found = found[:, 0]
        if integers and found.ndim == 3:
            self._output = "a map of ids"
            return torch.from_numpy(found.astype(np.int64))
        if found.ndim == 4 and found.shape[1] == self.classes:
            self._output = f"scores of {self.classes} classes, the highest wins"
            return torch.from_numpy(found.argmax(1))
        raise UsageError(
            f"{self.path} gives {found.dtype} {list(found.shape)}, which is neither scores [N, {self.classes}, h, w] "
            f"of the data's {self.classes} classes nor a map of ids [N, h, w]: its classes must be those of the data "
            "(classes=N in a data spec says how many)."
        )

    @property
    def recipe(self) -> dict[str, Any]:
        """How it sees, once it has seen something."""
        height, width = self._size
        sides = f"resized to {width or 'their width'} x {height or 'their height'}, bilinear, antialiased"
        levels = "uint8 levels" if self._input.type == LEVELS else "in [0, 1], nothing taken away"
        return {
            "segmenter": self.path.name,
            "sha256": sha256(self.path),
            "input": f"{'RGB' if self._channels == 3 else 'grey'} {levels}",
            "resize": sides if height or width else "none",
            "output": f"{self._output}, nearest to the map's size",
            "void": f"{VOID} in the map is left out",
            "mean": "classes that are in a map or seen in a picture",
        }


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200].rstrip(".") if str(error).strip() else type(error).__name__

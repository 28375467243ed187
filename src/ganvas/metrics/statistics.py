"""What is gathered of a set of images in one pass, whatever the metric: sums or rows of their features."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from ganvas.bounds import decode_python_json
from ganvas.errors import Damaged
from ganvas.files import atomic
from ganvas.nets.features import digest


class Statistic(ABC):
    """Something that features [B, D] are added to, batch by batch, and that a metric reads in the end.

    recipe: what the vectors are; it travels with them, and only what has one recipe may meet.
    """

    kind: ClassVar[str]
    """Its name in one word: the folder of the cache."""

    def __init__(self, recipe: Mapping[str, Any] | None = None) -> None:
        self.recipe = dict(recipe or {})
        self.n = 0
        """How many images it has seen."""

    @property
    def used(self) -> int:
        """How many of them it has kept."""
        return self.n

    @property
    def key(self) -> str:
        """What it gathers: two of one key, of the same features, are one."""
        return self.kind

    @abstractmethod
    def update(self, x: Tensor) -> Self:
        """Adds the vectors [B, D] of a batch."""

    @property
    @abstractmethod
    def finite(self) -> bool:
        """Whether all that it has seen was finite."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All that it holds but ``n`` and the recipe."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes what `tensors` gave. Raises KeyError where something is missing."""

    def save(self, path: Path) -> None:
        """Writes it as safetensors, whole or not at all."""
        from safetensors.torch import save_file

        tensors = {name: value.cpu().contiguous() for name, value in self.tensors().items()}
        metadata = {"key": self.key, "n": str(self.n), "recipe": json.dumps(self.recipe), "sha256": digest(tensors)}
        with atomic(path) as part:
            save_file(tensors, part, metadata)

    def load(self, path: Path) -> Self:
        """Reads what `save` wrote into this empty one. Raises Damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            if metadata["key"] != self.key or metadata["sha256"] != digest(tensors):
                raise ValueError("its content is not what was written")
            n, recipe = int(metadata["n"]), decode_python_json(metadata["recipe"])
            self.restore(tensors)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise Damaged(
                f"{path} does not hold {self.kind} ({error}): delete it, and it is computed again."
            ) from error
        self.n, self.recipe = n, recipe
        return self


def name_of(*what: Any) -> str:
    """A file's name, without its suffix, for what is computed of ``what`` (JSON types)."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]

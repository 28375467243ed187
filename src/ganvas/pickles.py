"""Files of torch.save, read with suspicion: nothing in them is run, and what they would build is reckoned first.

What `torch.load` builds with ``weights_only=True`` is harmless, but it may be neither small nor quick: a few hundred
bytes may ask for a key whose hash takes years, a few megabytes for gigabytes of text. So the pickle is walked through
before it is loaded, with sizes in place of values. The checksums of a ZIP, which torch leaves alone, are verified. The
form before torch 1.6 has none: damage to its numbers cannot be seen.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

from ganvas.bounds import open_regular

ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # what files of torch.save begin with: since 1.6, and before
MOST_PICKLE = 1 << 25  # bytes of pickle in a file, the numbers of its tensors left out
MOST_OPERATIONS = 500_000  # of a file's pickles: a tensor takes about 20
MOST_RECORDS = 100_000  # in a ZIP: one a tensor
MOST_HASHED = 10_000  # values in a key, those within its tuples counted as often as they are met
MOST_NESTED = 100  # tuples and lists within each other
PICKLES = 5  # of the old form, the content being the fourth
CHUNK = 1 << 20

CALLED = {  # what builds the state dict of a net, and what training leaves beside it
    *(f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "parameter", "parameter_with_state")),
    *("torch._tensor._rebuild_from_type_v2", "torch.Size", "torch.device", "torch.serialization._get_layout"),
    *("collections.OrderedDict", "collections.Counter", "_codecs.encode", "builtins.set", "__builtin__.set"),
}
TYPES = re.compile(r"torch\.(cuda\.)?\w+|torch\.storage\.(Untyped|Typed)Storage|torch\.nn\.parameter\.Parameter")
ODD = re.compile(r"torch\._utils\._rebuild_\w+|torch\.(nested|sparse|distributed)\.\S+|torch\.\w*Tensor")


class Refused(Exception):  # noqa: N818 - a state of the file
    """Why a file of torch.save is not loaded, as a clause that follows its name."""


class Torn(Refused):
    """A file that is damaged, cut short, or not of torch.save."""


def load(path: Path, *, verify: bool = True) -> Any:
    """What torch.save wrote: tensors and plain values alone, on the CPU.

    verify: read a ZIP whole to compare its checksums. Raises OSError for what is no regular file; `Torn` for a file
    that is damaged, and `Refused` for one that holds code, other things than tensors and plain values, or more of them
    than any net has.
    """
    import torch

    with open_regular(path) as file:
        head = file.read(4)
    try:
        if head == ZIP:
            _walk(_pickle_in(path, verify), 1)
        else:
            with open_regular(path) as file:
                _walk(file.read(MOST_PICKLE), PICKLES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=head == ZIP)
    except (Refused, OSError):
        raise
    except Exception as error:  # torch raises whatever reading torn bytes leads to
        named = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        raise (_code(named[1]) if named else Torn(str(error).partition("\n")[0] or type(error).__name__)) from error


def _code(name: str) -> Refused:
    return Refused(
        f"holds code, {name}, which is not run: save the state_dict() of the net alone, with the program that made it"
    )


# ---- the ZIP ---------------------------------------------------------------------------------------------------------
def _pickle_in(path: Path, verify: bool) -> bytes:
    """The pickle of a ZIP that lies as torch.save lays it: every record plain, under one folder."""
    with zipfile.ZipFile(path) as file:
        infos = file.infolist()
        root = infos[0].filename.partition("/")[0] if infos else ""
        names = {info.filename.lower(): info for info in infos}
        if len(infos) > MOST_RECORDS:
            raise Refused(f"has over {MOST_RECORDS:,} records, more than any net: save its state_dict() alone")
        odd = any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos)
        if odd or file.comment or len(names) < len(infos) or sum(i.file_size for i in infos) > path.stat().st_size:
            raise Torn("is a ZIP of another kind than torch.save writes")
        if f"{root}/constants.pkl".lower() in names:
            raise Refused("holds a TorchScript program, which is not run: save the state_dict() of its net")
        info = names.get(f"{root}/data.pkl".lower())
        if info is None or any(not name.startswith(f"{root}/".lower()) for name in names):
            raise Torn("is a ZIP of another kind than torch.save writes")
        if info.file_size > MOST_PICKLE:
            raise _too_much()
        for record in infos if verify else ():
            with file.open(record) as data:
                while data.read(CHUNK):  # which compares the checksum at the end
                    pass
        return file.read(info)


def _too_much() -> Refused:
    return Refused(
        f"holds more than the weights of a net (over {MOST_PICKLE >> 20} MiB or {MOST_OPERATIONS:,} operations beside "
        "them, or a key of too many values): save the state_dict() of the net alone"
    )


# ---- the pickle ------------------------------------------------------------------------------------------------------
class _Value:
    """A value of a pickle by its size: of how many values its hash is made, the most of anything within it, how deep
    its containers go, and its name, if it is something to call."""

    __slots__ = ("deep", "heavy", "name", "weight")

    def __init__(self, weight: int = 1, heavy: int = 1, deep: int = 0, name: str = "") -> None:
        self.weight, self.heavy, self.deep, self.name = weight, heavy, deep, name

    def take(self, items: list[_Value]) -> None:
        """Becomes a container of those items, too."""
        for item in items:
            self.heavy = max(self.heavy, item.heavy)
            self.deep = max(self.deep, item.deep + 1)
        if self.deep > MOST_NESTED:
            raise Refused(f"holds over {MOST_NESTED} lists within lists: save the state_dict() of the net alone")


LEAVES = {"NONE", "NEWFALSE", "NEWTRUE", "BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING",
          "LONG1", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"}  # fmt: skip
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _walk(data: bytes, pickles: int) -> None:
    """Walks through so many pickles, one after another. Raises `Refused`, and what reading torn bytes leads to."""
    stream = io.BytesIO(data)
    left = MOST_OPERATIONS
    for _ in range(pickles):
        left = _walk_one(stream, left)


def _walk_one(stream: io.BytesIO, left: int) -> int:
    stack: list[_Value] = []
    below: list[list[_Value]] = []
    memo: dict[int, _Value] = {}
    argument: Any
    for operation, argument, _ in pickletools.genops(stream):
        left -= 1
        if left < 0:
            raise _too_much()
        name = operation.name
        if name in LEAVES:
            stack.append(_Value())
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            below.append(stack)
            stack = []
        elif name in TUPLES:
            items = stack[-TUPLES[name] :]
            del stack[-TUPLES[name] :]
            stack.append(_tuple(items))
        elif name == "TUPLE":
            items, stack = stack, below.pop()
            stack.append(_tuple(items))
        elif name in ("APPENDS", "SETITEMS"):
            items, stack = stack, below.pop()
            _fill(stack[-1], items, keyed=name == "SETITEMS")
        elif name == "APPEND":
            item = stack.pop()
            _fill(stack[-1], [item], keyed=False)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _fill(stack[-1], [key, value], keyed=True)
        elif name == "GLOBAL":
            stack.append(_Value(name=_allowed(argument.replace(" ", "."))))
        elif name in ("REDUCE", "NEWOBJ"):
            given, function = stack.pop(), stack.pop()
            if name == "REDUCE" and function.name not in CALLED:
                raise Refused(f"calls {function.name or 'what it built'}: save the state_dict() of the net alone")
            _light(given.heavy)
            stack.append(_Value())
        elif name == "BUILD":
            stack.pop()
        elif name == "BINPERSID":
            _light(stack.pop().heavy)
            stack.append(_Value())
        elif name not in ("PROTO", "STOP"):
            raise Torn(f"has an operation that torch.save does not write, {name}")
    return left


def _tuple(items: list[_Value]) -> _Value:
    weight = min(1 + sum(item.weight for item in items), MOST_HASHED + 1)
    made = _Value(weight, weight)
    made.take(items)
    return made


def _fill(container: _Value, items: list[_Value], *, keyed: bool) -> None:
    for key in items[::2] if keyed else ():
        _light(key.heavy)
    container.take(items)


def _light(heavy: int) -> None:
    """Raises `Refused` for what takes too long to hash."""
    if heavy > MOST_HASHED:
        raise _too_much()


def _allowed(name: str) -> str:
    if ODD.fullmatch(name) and name not in CALLED:
        raise Refused(
            "holds a tensor that is not plain (sparse, quantized, nested or without data): save plain tensors"
        )
    if name not in CALLED and not TYPES.fullmatch(name):
        raise _code(name)
    return name

"""Sources -> store of typed ragged columns -> batches; pure in (seed, step).

spec.py      what a data spec says                  pictures.py   one picture, from any file
opening.py   which source it names                  building.py   a source into a store
source.py    what every source gives                store.py      memory-mapped columns, content-addressed
embedded.py  digits, photos, mixtures               dataset.py    rows as tensors
arrays.py    .npz, .npy and folders of them         batches.py    their order, flips and ranks
"""

from __future__ import annotations

from ganvas.data.batches import Batches, Order
from ganvas.data.contact import contact_sheet
from ganvas.data.dataset import Dataset
from ganvas.data.opening import open_data
from ganvas.data.spec import Spec, keys, parse

__all__ = ["Batches", "Dataset", "Order", "Spec", "contact_sheet", "keys", "open_data", "parse"]

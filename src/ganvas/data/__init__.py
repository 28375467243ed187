"""Sources -> store of typed ragged columns -> batches; pure in (seed, step).

spec.py      what a data spec says                 pictures.py  one picture, from any file
opening.py   which source it names                 building.py  a source into a store
source.py    what every source gives               store.py     memory-mapped columns, content-addressed
embedded.py  digits, photos, mixtures              dataset.py   rows as tensors
folders.py   pictures in a folder at any depth     batches.py   their order, flips and ranks
archives.py  pictures in a zip or tar              contact.py   a sheet of what there is
arrays.py    .npz, .npy and folders of them        fetch.py     named sets from their publishers
named.py     the sets that have a name             cifar.py     CIFAR's binary files
svhn.py      SVHN's digits                         matlab.py    MATLAB's files, streamed
celeba.py    CelebA's aligned faces                lsun.py      LSUN's bedrooms, in LMDBs
shards.py    numbered files, and their splits      parquet.py   Parquet's columns of pictures
webdataset.py  tars of samples                     hub.py       sets of the Hub
stream.py    what never enters the store, and its order
groups.py    pairs, unpaired sets, label maps  gathering.py those into a store
maps.py      ids of classes and instances      geometry.py  sizes, windows and flips
members.py   rows of several pictures          inputs.py     what is translated, each picture whole
places.py    which place a spec names          reading.py   what was read, and left out
direct.py    images read one by one, at their own size
layout.py    splits, classes and hidden names      outputs.py   what Ganvas itself has written
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

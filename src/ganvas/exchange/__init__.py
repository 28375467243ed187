"""Published checkpoints in and out: run folders of the authors' files, and the authors' files of run folders.

reading.py    a file, with suspicion
layout.py     what a published layout is
layouts.py    which there are: dcgan.py, isola.py, wang.py
importing.py  files into a run
exporting.py  a run into files
"""

from ganvas.exchange.exporting import Exported, export_published
from ganvas.exchange.importing import import_run
from ganvas.exchange.layouts import LAYOUTS

__all__ = ["LAYOUTS", "Exported", "export_published", "import_run"]

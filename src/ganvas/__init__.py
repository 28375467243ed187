"""Ganvas: one house for one-pass generative models. Its public face is listed in ``__init__.pyi``."""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

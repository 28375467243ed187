"""Ganvas: one house for one-pass generative models."""

from __future__ import annotations

__version__ = "0.1.0"

"""Shared exact maths and pictures."""

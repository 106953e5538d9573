"""Fixtures of the durability tests, whose grids the jobs train."""

from tests.durability.conftest import uninterrupted

__all__ = ["uninterrupted"]

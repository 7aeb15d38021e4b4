"""Files that mean harm, for every reader of neoteny: see `benchmarks/fuzz.py`."""

from hostile import data, stored, typed

READERS = typed.READERS | stored.READERS | data.READERS
"""By name: every way by which bytes that others made come into neoteny."""

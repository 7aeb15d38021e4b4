"""Data sets for the tests of streams: small, uneven, and of the types that loaders give."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import streams
from neoteny.types import Batch, Dataset

GROUPS = (0, 1, 0, 2, 3, 0, 1, 0, 2, 0, 3, 1)  # of five, three, two and two classes


def images():
    """Bytes of 8 x 8 in twelve classes of 6 to 8 training rows and 3 or 4 held out."""
    random, classes = np.random.default_rng(0), np.arange(12)

    def batch(sizes):
        labels = random.permutation(np.repeat(classes, sizes)).astype(np.int32)
        pixels = random.integers(0, 256, (len(labels), 8, 8, 1), np.uint8)
        return Batch(jnp.asarray(pixels), jnp.asarray(labels))

    return Dataset("images", batch(6 + classes % 3), batch(3 + classes % 2), 12, (8, 8, 1), GROUPS)


def digits():
    """The embedded digits, small, with what their loader does not say of them."""
    whole = streams.subset(streams.load("digits"), 200)
    return whole._replace(image_shape=(8, 8, 1), groups=GROUPS[:10])


PROBLEMS = {"images": images(), "digits": digits()}


OF_THEIR_OWN = {"slowly-changing-regression"}
"""Rules that make their rows themselves, whatever the data set."""

CASES = [
    (rule, problem)
    for rule in sorted(streams.STREAMS)
    for problem in PROBLEMS
    if problem == "images" or rule not in OF_THEIR_OWN
]

FIRST = {"permuted-pixels", "incremental-classes"}
"""Rules of which every problem is looked at in every run of the tests."""


def first(case):
    """A case, marked as a further one where another problem shows the same."""
    seen = case[1] == "images" or case[0] in FIRST
    return pytest.param(case, id="-".join(case), marks=() if seen else pytest.mark.further)


@cache
def made(rule, problem):
    """One stream for all tests, so that what it compiles it compiles once."""
    return streams.make(rule, PROBLEMS[problem])


def origins(made, given):
    """The numbers of the rows of `given` that the rows of `made` hold."""
    known = {bytes(row): number for number, row in enumerate(np.asarray(given.inputs))}
    assert len(known) == len(given.inputs)
    return np.array([known[bytes(row)] for row in np.asarray(made.inputs)])


def counted(batch, count):
    """The first rows of a batch."""
    return Batch(batch.inputs[:count], batch.labels[:count])

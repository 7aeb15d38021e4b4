"""Parts of a data set: which rows they hold, and in which order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neoteny import streams
from neoteny.streams import DataError
from neoteny.streams.selection import a_fifth_held_out, rank_within_class
from neoteny.types import Batch, Dataset

LABELS = [0, 2, 1, 3, 2, 0, 3, 1, 2, 2]


@pytest.fixture
def dataset():
    """Every image is filled with its row; held-out rows are the training rows turned round."""
    images = jnp.broadcast_to(jnp.arange(10, dtype=jnp.uint8)[:, None, None, None], (10, 2, 3, 1))
    train = Batch(images, jnp.asarray(LABELS, jnp.int32))
    heldout = Batch(images[::-1], train.labels[::-1])
    return Dataset("rows", train, heldout, 4, (2, 3, 1), groups=(0, 2, 1, 2))


def rows(batch):
    assert np.all(np.asarray(batch.inputs) == np.asarray(batch.inputs)[:, :1, :1])
    return batch.inputs[:, 0, 0, 0].tolist()


def test_wanted_classes_are_named_in_the_order_wanted_and_rows_stay_in_theirs(dataset):
    kept = streams.classes(dataset, [3, 0])
    assert rows(kept.train) == [0, 3, 5, 6] and kept.train.labels.tolist() == [1, 0, 1, 0]
    assert rows(kept.heldout) == [6, 5, 3, 0] and kept.heldout.labels.tolist() == [0, 1, 0, 1]
    assert kept.num_classes == 2 and kept.image_shape == (2, 3, 1)
    assert kept.train.inputs.dtype == jnp.uint8 and kept.train.labels.dtype == jnp.int32


def test_groups_of_the_wanted_classes_are_counted_anew(dataset):
    assert streams.classes(dataset, [3, 2, 1]).groups == (1, 0, 1)
    assert streams.classes(dataset._replace(groups=None), [3, 2]).groups is None


def test_all_classes_in_their_order_are_the_data_set(dataset):
    kept = streams.classes(dataset, range(4))
    for one, other in zip(jax.tree.leaves(kept[1:3]), jax.tree.leaves(dataset[1:3]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert kept._replace(train=0, heldout=0) == dataset._replace(train=0, heldout=0)


@pytest.mark.parametrize("wanted", [[], [0, 0], [4], [-1]])
def test_classes_that_are_not_there_or_come_twice_are_refused(dataset, wanted):
    with pytest.raises(DataError, match=r"`wanted` is .*from 0 to 3"):
        streams.classes(dataset, wanted)


def test_a_subset_of_bytes_is_balanced(dataset):
    kept = streams.subset(dataset, 8)
    assert kept.train.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert rows(kept.train) == [0, 2, 1, 3, 5, 7, 4, 6]
    assert kept.train.inputs.dtype == jnp.uint8


def test_what_is_in_memory_is_left_as_it_is(dataset):
    assert streams.resident(dataset).train is dataset.train


labels = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@given(labels)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_the_rank_counts_earlier_rows_of_the_same_class(labels):
    expected = [labels[:row].count(label) for row, label in enumerate(labels)]
    assert rank_within_class(np.array(labels)).tolist() == expected


@given(labels)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_of_each_class_a_fifth_is_held_out_and_nothing_is_lost(labels):
    train, held = a_fifth_held_out(np.array(labels))
    assert sorted([*train, *held]) == list(range(len(labels)))
    for label in set(labels):
        expected = max(1, labels.count(label) // 5)
        assert sum(labels[row] == label for row in held) == expected


def test_the_fifth_held_out_never_changes():
    """Of twice five rows: no theory gives it, it is the promise itself."""
    train, held = a_fifth_held_out(np.repeat([0, 1], 5))
    assert train.tolist() == [1, 5, 4, 7, 2, 6, 0, 8] and held.tolist() == [3, 9]

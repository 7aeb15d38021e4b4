"""Rules that split a data set by its classes: rows and labels belong together, and none is lost."""

from itertools import pairwise

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import GROUPS, PROBLEMS, counted, made, origins

from neoteny import streams
from neoteny.types import Batch

SMALLEST, SMALLEST_HELDOUT = 6, 3  # of the classes of `images`
SPLITS = ["class-pairs", "class-groups", "five-plus-one", "incremental-classes", "warm-start"]
DATA = PROBLEMS["images"]


def parts(task):
    """The rows of a task that count, training and held out, each with those it was made of."""
    train, heldout = (
        (len(task.train.labels), len(task.heldout.labels))
        if task.prefix is None
        else task.prefix[:2]
    )
    return [
        (counted(task.train, train), DATA.train),
        (counted(task.heldout, heldout), DATA.heldout),
    ]


def names(task):
    """Which classes of the data set a task has, by the label they have there."""
    found = []
    for rows, source in parts(task):
        true = source.labels[origins(rows, source)]
        found.append(set(zip(rows.labels.tolist(), true.tolist(), strict=True)))
    assert found[0] == found[1]
    assert len(found[0]) == len(dict(found[0])) == len({true for _, true in found[0]})
    return dict(sorted(found[0]))


@pytest.mark.parametrize("rule", SPLITS)
@given(seed=st.integers(0, 2**32 - 1), index=st.integers(0, 40))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_a_class_has_one_name_in_training_and_held_out_rows_and_no_row_comes_twice(
    rule, seed, index
):
    task = made(rule, "images")(jax.random.key(seed), index)
    names(task)
    for rows, source in parts(task):
        assert len(set(origins(rows, source))) == len(rows.labels)


@pytest.mark.parametrize("rule", SPLITS[:-1])
def test_classes_are_dealt_in_turn_and_equally_often(rule, key):
    task = made(rule, "images")(key, 0)
    for (rows, _), size in zip(parts(task), (SMALLEST, SMALLEST_HELDOUT), strict=True):
        turns = np.asarray(rows.labels).reshape(size, -1)
        assert (turns == turns[0]).all() and len(set(turns[0])) == turns.shape[1]


@pytest.mark.parametrize("rule", SPLITS)
def test_rows_mapped_from_a_file_give_the_same_tasks_traced_or_not(rule, key):
    mapped = lambda batch: batch._replace(inputs=np.array(batch.inputs))
    data = DATA._replace(train=mapped(DATA.train), heldout=mapped(DATA.heldout))
    stream, expected = streams.make(rule, data), made(rule, "images")(key, 1)
    assert streams.outputs(stream, data) == streams.outputs(made(rule, "images"), DATA)
    for task in (stream(key, 1), jax.jit(stream)(key, 1)):
        for one, other in zip(jax.tree.leaves(task), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype


# ---- class pairs


def test_a_cycle_of_pairs_meets_every_class_once_and_the_next_in_another_order(key):
    stream = streams.class_pairs(DATA)
    pairs = [tuple(names(stream(key, index)).values()) for index in range(12)]
    for cycle in (pairs[:6], pairs[6:]):
        assert sorted(sum(cycle, ())) == list(range(12))
    assert pairs[:6] != pairs[6:]
    assert set(names(stream(key, 3))) == {0, 1}


def test_classes_that_an_order_leaves_over_sit_that_cycle_out(key):
    stream = streams.class_pairs(DATA, classes_per_task=5)
    met = [set(names(stream(key, index)).values()) for index in range(8)]
    assert all(len(one | other) == 10 for one, other in zip(met[::2], met[1::2], strict=True))
    assert set.union(*met) == set(range(12))


# ---- class groups


def test_a_cycle_of_groups_has_each_group_whole_and_named_from_zero(key):
    stream, groups = streams.class_groups(DATA), np.array(GROUPS)
    for start in (0, 4):
        found = [names(stream(key, start + index)) for index in range(4)]
        met = [groups[list(task.values())] for task in found]
        assert sorted(int(group[0]) for group in met) == [0, 1, 2, 3]
        for task, group in zip(found, met, strict=True):
            assert list(task.items()) == list(enumerate(np.flatnonzero(groups == group[0])))


# ---- five plus one


def test_hard_and_easy_tasks_take_turns_under_the_classes_own_names(key):
    stream = streams.five_plus_one(DATA)
    found = [names(stream(key, index)) for index in range(8)]
    assert [len(task) for task in found] == [5, 1] * 4
    assert all(label == true for task in found for label, true in task.items())
    for start in (0, 4):
        assert set().union(*found[start : start + 4]) == set(range(12))
    assert stream(key, 1).classes is None


def test_a_data_set_with_just_enough_classes_has_one_pair_of_tasks_to_a_cycle(key):
    keep = lambda batch: Batch(*(array[np.asarray(batch.labels) < 6] for array in batch))
    six = DATA._replace(train=keep(DATA.train), heldout=keep(DATA.heldout), num_classes=6)
    stream = streams.five_plus_one(six)
    for index in (0, 2, 4):
        labels = [set(map(int, counted(task.train, task.prefix.train).labels))
                  for task in (stream(key, index), stream(key, index + 1))]  # fmt: skip
        assert labels[0] | labels[1] == set(range(6)) and len(labels[1]) == 1


# ---- incremental classes


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, [5, 10, 12]),
        ({"start": 2, "step": 4}, [2, 6, 10, 12]),
        ({"start": 12}, [12]),
        ({"start": 2, "step": 3, "stop": 7}, [2, 5, 7]),
    ],
)
def test_classes_are_added_and_stay_until_the_cycle_starts_over(key, options, sizes):
    stream = streams.incremental_classes(DATA, **options)
    seen = [set(names(stream(key, index))) for index in range(len(sizes) + 1)]
    assert [len(classes) for classes in seen] == [*sizes, sizes[0]]
    assert all(before <= after for before, after in pairwise(seen[:-1]))
    for index, classes in enumerate(seen):
        assert set(np.flatnonzero(stream(key, index).classes)) == classes


def test_rows_stay_in_place_while_the_prefix_grows_and_the_newest_are_new(key):
    stream = streams.incremental_classes(DATA)
    tasks = [stream(key, index) for index in range(3)]
    for before, task in pairwise(tasks):
        for one, other in zip(before.train, task.train, strict=True):
            np.testing.assert_array_equal(one, other)
        assert task.prefix.newest == before.prefix.train
        new = task.train.labels[int(task.prefix.newest) : int(task.prefix.train)]
        assert set(map(int, new)) == set(names(task)) - set(names(before))
    assert tasks[-1].prefix.train == 12 * SMALLEST == len(tasks[-1].train.labels)


def test_another_cycle_takes_another_order_of_classes(key):
    stream = streams.incremental_classes(DATA)
    assert len({tuple(names(stream(key, 3 * cycle))) for cycle in range(5)}) == 5


# ---- warm start


@pytest.mark.parametrize("fraction", [0.5, 0.1, 0.99])
def test_a_part_of_the_rows_comes_first_and_all_of_them_after(key, fraction):
    stream, rows = streams.warm_start(DATA, fraction=fraction), len(DATA.train.labels)
    first, *later = [stream(key, index) for index in range(3)]
    assert first.prefix.train == round(fraction * rows) and first.prefix.newest == 0
    for task in later:
        assert (task.prefix.train, task.prefix.newest) == (rows, first.prefix.train)
        np.testing.assert_array_equal(task.train.inputs, first.train.inputs)
        assert sorted(origins(task.train, DATA.train)) == list(range(rows))
    np.testing.assert_array_equal(first.heldout.inputs, DATA.heldout.inputs)

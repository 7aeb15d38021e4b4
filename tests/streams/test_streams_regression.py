"""Slowly changing regression: one bit at a time, and one target for all time."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from neoteny import streams
from neoteny.losses import squared_error

STREAM = streams.slowly_changing_regression(rows=300)


@pytest.fixture(scope="module")
def standing():
    """The slow bits of 400 tasks in a row."""
    draw = jax.jit(jax.vmap(lambda index: STREAM(jax.random.key(0), index).train.inputs[0, :15]))
    return np.asarray(draw(jnp.arange(400)))


def test_inputs_are_bits_of_which_the_slow_ones_stand_still_within_a_task(key):
    task = STREAM(key, 7)
    assert task.train.inputs.shape == (300, 20) and task.train.labels.dtype == jnp.float32
    assert set(np.unique(task.train.inputs)) == {0, 1}
    for batch in task[:2]:
        assert (batch.inputs[:, :15] == task.train.inputs[:1, :15]).all()
    assert stats.binomtest(int(task.train.inputs[:, 15:].sum()), 1500).pvalue > 1e-4


def test_one_slow_bit_flips_between_tasks_and_each_equally_often(standing):
    flipped = np.abs(np.diff(standing, axis=0))
    assert (flipped.sum(1) == 1).all()
    assert stats.chisquare(flipped.sum(0)).pvalue > 1e-4


def test_all_slow_bits_are_drawn_again_if_asked(key):
    stream = streams.slowly_changing_regression(rows=1, change="all")
    bits = np.asarray(jax.vmap(lambda i: stream(key, i).train.inputs[0, :15])(jnp.arange(400)))
    assert stats.binomtest(int(np.abs(np.diff(bits, axis=0)).sum()), 399 * 15).pvalue > 1e-4


def test_held_out_is_every_input_of_the_task_once(key):
    fast = np.asarray(STREAM(key, 3).heldout.inputs[:, 15:])
    assert len(np.unique(fast, axis=0)) == len(fast) == 32


def test_the_target_is_one_function_of_the_inputs_in_all_tasks_of_a_key(key):
    stream = streams.slowly_changing_regression(rows=50, slow=3, fast=3)
    known = {}
    for index in range(12):
        for batch in stream(key, index)[:2]:
            for row, label in zip(np.asarray(batch.inputs), np.asarray(batch.labels), strict=True):
                assert known.setdefault(bytes(row), label) == label
    assert len(known) > 32 and len(set(known.values())) > 3


def test_units_fire_where_enough_bits_match_their_weights(key):
    """`w · x + b > beta (m + 1) - (m - sum(w) + b) / 2`, counted by matching bits instead.

    A bit matches if it is 1 under a weight +1 or 0 under -1; then `w · x` is the matches less
    the number of weights -1.
    """
    module = sys.modules["neoteny.streams.slowly_changing_regression"]
    target = module._target(jax.random.fold_in(key, module._TARGET), 20, 100, 0.7)
    batch = STREAM(key, 2).train
    matches = (np.asarray(batch.inputs)[:, :, None] == (np.asarray(target.kernel) > 0)).sum(1)
    fires = matches + 1.5 * np.asarray(target.bias) > 0.7 * 21
    np.testing.assert_array_equal(batch.labels, fires @ np.asarray(target.readout) + target.offset)
    assert 0 < fires.mean() < 0.5


def test_another_key_has_another_target(key):
    one, other = (STREAM(k, 0).heldout.labels for k in (key, jax.random.key(1)))
    assert not np.array_equal(one, other)


def test_the_squared_error_of_float_labels_is_that_of_the_one_output():
    outputs, labels = jnp.array([[1.0], [2.0]]), jnp.array([1.5, -1.0])
    np.testing.assert_array_equal(squared_error(outputs, labels), [0.25, 9.0])

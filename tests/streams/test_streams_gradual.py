"""Gradual streams: the ends are the tasks themselves, and between them is as much as was said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CASES, PROBLEMS, made

from neoteny import streams
from neoteny.errors import UserError
from neoteny.types import Batch, Task

GROWING = {"class-groups", "five-plus-one", "incremental-classes", "warm-start"}
KEEPS_LABELS = {"permuted-pixels", "rotated", "class-pairs"}
OTHERS = [case for case in CASES if case[0] not in GROWING | {"gradual"}]


def equal(one, other):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in leaves)


@pytest.mark.parametrize("kind", ["sampling", "inputs"])
@pytest.mark.parametrize(("rule", "problem"), OTHERS)
def test_one_step_is_the_abrupt_stream_and_more_begin_at_its_tasks(key, rule, kind, problem):
    stream = made(rule, problem)
    if kind == "inputs" and rule not in KEEPS_LABELS:
        with pytest.raises(UserError, match=r"labels change\. Pass `kind='sampling'`"):
            streams.gradual(stream, 1, kind=kind)
        return
    assert equal(streams.gradual(stream, 1, kind=kind)(key, 5), stream(key, 5))
    slowly = streams.gradual(stream, 3, kind=kind)
    assert equal(slowly(key, 6), stream(key, 2))
    assert not equal(slowly(key, 7), stream(key, 2))


@pytest.mark.parametrize("rule", sorted(GROWING))
@pytest.mark.parametrize("kind", ["sampling", "inputs"])
def test_streams_whose_tasks_differ_in_size_are_refused(rule, kind):
    with pytest.raises(UserError, match="differ in size"):
        streams.gradual(made(rule, "images"), 2, kind=kind)


@pytest.fixture
def colours():
    """Tasks of 20,000 training and 5,000 held-out rows that all hold the task's number."""

    def task(key, index):
        rows = lambda n: Batch(jnp.full((n, 1), index, jnp.float32), jnp.full(n, index, jnp.int32))
        return Task(rows(20_000), rows(5_000))

    return task


@pytest.mark.parametrize("place", range(1, 5))
def test_sampled_rows_are_the_next_tasks_with_the_share_of_the_way(key, colours, place):
    task = streams.gradual(colours, 5)(key, 15 + place)
    for batch in (task.train, task.heldout):
        assert set(np.unique(batch.labels)) == {3, 4}
        np.testing.assert_array_equal(batch.inputs[:, 0], batch.labels)
        error = np.sqrt(0.25 / len(batch.labels))
        assert abs(np.mean(batch.labels == 4) - place / 5) < 4 * error


def test_which_rows_have_moved_is_drawn_anew_in_each_step(key, colours):
    slowly = streams.gradual(colours, 2)
    one, other = (np.asarray(slowly(key, index).train.labels) % 2 == 1 for index in (1, 5))
    # both halves are 1s by a fair coin; if independent, they agree in half of the rows
    assert abs(np.mean(one == other) - 0.5) < 4 * np.sqrt(0.25 / len(one))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_interpolated_inputs_lie_on_the_line_between_those_of_both_tasks(key, problem):
    stream = streams.permuted_pixels(PROBLEMS[problem])
    here, there = stream(key, 1), stream(key, 2)
    for place in range(4):
        task = streams.gradual(stream, 4, kind="inputs")(key, 4 + place)
        for batch, one, other in zip(task[:2], here[:2], there[:2], strict=True):
            line = (1 - place / 4) * np.asarray(one.inputs, float) + place / 4 * np.asarray(
                other.inputs, float
            )
            tolerance = 0.5 if batch.inputs.dtype == jnp.uint8 else 1e-6
            np.testing.assert_allclose(batch.inputs.astype(float), line, rtol=0, atol=tolerance)
            np.testing.assert_array_equal(batch.labels, one.labels)


def test_classes_of_either_task_count_while_both_are_there(key):
    rows = Batch(jnp.zeros((4, 1)), jnp.zeros(4, jnp.int32))

    def stream(key, index):
        return Task(rows, rows, jnp.arange(4) == index)

    slowly = streams.gradual(stream, 2)
    assert [np.flatnonzero(slowly(key, index).classes).tolist() for index in range(4)] == [
        [0],
        [0, 1],
        [1],
        [1, 2],
    ]


def test_a_rule_takes_the_options_of_the_one_it_softens(key):
    data = PROBLEMS["images"]
    named = streams.make("gradual", data, {"of": "class-pairs", "steps": 3, "classes_per_task": 4})
    by_hand = streams.gradual(streams.class_pairs(data, classes_per_task=4), 3)
    assert equal(named(key, 4), by_hand(key, 4))
    assert streams.outputs(named, data) == 4

"""The contract of every stream rule, then what each rule promises of its own."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from neoteny import streams
from neoteny.errors import UserError
from neoteny.types import Batch, Dataset, Task

ROWS, HELDOUT_ROWS, PIXELS, CLASSES = 60, 20, 12, 5
RULES = sorted(streams.STREAMS)


def batch(rows, shape, first):
    # pixel p of row r is 100 r + p: an entry tells where it came from
    inputs = 100 * (first + np.arange(rows))[:, None] + np.arange(np.prod(shape))
    labels = jnp.asarray(np.arange(rows) % CLASSES, jnp.int32)
    return Batch(jnp.asarray(inputs.reshape(rows, *shape), jnp.float32), labels)


def dataset(shape=(PIXELS,)):
    train, heldout = batch(ROWS, shape, 0), batch(HELDOUT_ROWS, shape, ROWS)
    return Dataset("numbered", train, heldout, CLASSES)


def arrays(task):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(task)]


def same(one, other):
    return all(
        np.array_equal(a, b) and a.dtype == b.dtype
        for a, b in zip(arrays(one), arrays(other), strict=True)
    )


@pytest.fixture(params=RULES)
def stream(request):
    return streams.make(request.param, dataset())


def test_the_same_key_and_index_give_the_same_bits(stream, key):
    assert same(stream(key, 3), stream(key, 3))


def test_another_index_or_another_key_gives_another_task(stream, key):
    tasks = [stream(k, i) for k in (key, jax.random.key(1)) for i in range(4)]
    for i, one in enumerate(tasks):
        assert not any(same(one, other) for other in tasks[:i])


def test_tasks_may_be_drawn_in_any_order_and_from_a_new_stream(request, stream, key):
    forwards = [stream(key, i) for i in range(4)]
    again = streams.make(request.node.callspec.params["stream"], dataset())
    backwards = [again(key, i) for i in reversed(range(4))]
    assert all(map(same, forwards, reversed(backwards)))


def test_a_task_has_the_shapes_and_types_of_the_data_set(stream, key):
    task, data = stream(key, 0), dataset()
    assert isinstance(task, Task)
    for made, given in [(task.train, data.train), (task.heldout, data.heldout)]:
        if made is not None:
            assert made.inputs.shape == given.inputs.shape
            assert made.inputs.dtype == given.inputs.dtype == jnp.float32
            assert made.labels.shape == given.labels.shape
            assert made.labels.dtype == given.labels.dtype == jnp.int32
            assert made.labels.min() >= 0 and made.labels.max() < CLASSES


def test_every_row_is_still_there_and_holds_what_it_held(stream, key):
    task, data = stream(key, 2), dataset()
    for made, given in [(task.train, data.train), (task.heldout, data.heldout)]:
        if made is not None:
            np.testing.assert_array_equal(np.sort(made.inputs), given.inputs)


def test_tasks_agree_under_jit_and_vmap_over_traced_indices(stream, key):
    many = jax.jit(jax.vmap(stream, in_axes=(None, 0)))(key, jnp.arange(5))
    for i in range(5):
        assert same(jax.tree.map(lambda leaf, i=i: leaf[i], many), stream(key, i))


def test_the_default_precision_changes_no_bit(stream, key):
    doubled = stream(key, 1)
    with jax.enable_x64(False):
        assert same(doubled, stream(key, 1))


def test_heldout_rows_are_given_wherever_they_can_be_predicted(key):
    given = {rule: streams.make(rule, dataset())(key, 0).heldout for rule in RULES}
    assert [rule for rule in RULES if given[rule] is None] == ["random-labels"]


# ---- permuted pixels


def orders(batch, first):
    """The order in which each row shows its pixels."""
    return np.asarray(batch.inputs).reshape(len(batch.inputs), -1) - 100 * (
        first + np.arange(len(batch.inputs))[:, None]
    )


def test_pixels_have_one_order_for_all_rows_of_a_task_and_labels_are_kept(key):
    task, data = streams.permuted_pixels(dataset())(key, 7), dataset()
    seen = np.concatenate([orders(task.train, 0), orders(task.heldout, ROWS)])
    assert (seen == seen[0]).all()
    assert sorted(seen[0]) == list(range(PIXELS))
    np.testing.assert_array_equal(task.train.labels, data.train.labels)
    np.testing.assert_array_equal(task.heldout.labels, data.heldout.labels)


def test_images_are_permuted_as_flattened_across_rows_columns_and_channels(key):
    flat = streams.permuted_pixels(dataset())(key, 1)
    image = streams.permuted_pixels(dataset((2, 3, 2)))(key, 1)
    for made, given in zip(image, flat, strict=True):
        assert made.inputs.shape[1:] == (2, 3, 2)
        np.testing.assert_array_equal(made.inputs.reshape(given.inputs.shape), given.inputs)


def test_a_pixel_is_equally_often_in_every_place(key):
    stream = streams.permuted_pixels(dataset())
    firsts = jax.vmap(lambda i: stream(key, i).train.inputs[0])(jnp.arange(1200))
    for place in range(PIXELS):
        assert stats.chisquare(np.bincount(firsts[:, place].astype(int))).pvalue > 1e-4


# ---- permuted labels


def names(task):
    return np.asarray(task.train.labels[:CLASSES])  # row r is of class r there


def test_classes_are_renamed_one_to_one_and_alike_in_all_rows(key):
    data, task = dataset(), streams.permuted_labels(dataset())(key, 4)
    assert sorted(names(task)) == list(range(CLASSES))
    for made, given in zip(task, (data.train, data.heldout), strict=True):
        np.testing.assert_array_equal(made.labels, names(task)[given.labels])
        np.testing.assert_array_equal(made.inputs, given.inputs)


def test_one_class_on_average_keeps_its_name_from_a_task_to_the_next(key):
    stream = streams.permuted_labels(dataset())
    tasks = np.asarray(jax.vmap(lambda i: stream(key, i).train.labels[:CLASSES])(jnp.arange(2000)))
    kept = [np.sum(one == other) for one, other in pairwise(tasks)]
    # a uniform permutation's fixed points have mean and variance one
    assert abs(np.mean(kept) - 1) < 4 / np.sqrt(len(kept))


# ---- random labels


@pytest.fixture
def drawn(key):
    """Labels of two consecutive tasks over 20,000 rows, and the true ones."""
    rows = jnp.zeros((20_000, 1), jnp.float32)
    true = jnp.asarray(np.arange(20_000) % CLASSES, jnp.int32)
    data = Dataset("many", Batch(rows, true), Batch(rows, true), CLASSES)
    stream = streams.random_labels(data)
    return [np.asarray(labels) for labels in (true, *(stream(key, i).train.labels for i in (0, 1)))]


def test_random_labels_are_uniform(drawn):
    for labels in drawn[1:]:
        assert stats.chisquare(np.bincount(labels, minlength=CLASSES)).pvalue > 1e-4


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 2), (1, 2)])
def test_random_labels_are_independent_of_the_true_ones_and_of_each_other(drawn, one, other):
    pairs = np.bincount(CLASSES * drawn[one] + drawn[other], minlength=CLASSES**2)
    assert stats.chi2_contingency(pairs.reshape(CLASSES, CLASSES)).pvalue > 1e-4


def test_random_labels_keep_the_inputs_as_they_are(key):
    task = streams.random_labels(dataset())(key, 0)
    np.testing.assert_array_equal(task.train.inputs, dataset().train.inputs)


# ---- by name


def test_a_rule_of_ones_own_is_made_by_its_name(monkeypatch, key):
    def still(data):
        return lambda key, index: Task(data.train, data.heldout)

    monkeypatch.setitem(streams.STREAMS, "still", still)
    assert same(streams.make("still", dataset())(key, 3), Task(dataset().train, dataset().heldout))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("permuted_pixels", "permuted-pixels"), ("Random-Label", "random-labels")],
)
def test_an_unknown_rule_is_refused_with_the_nearest_one_and_the_list(typed, meant):
    with pytest.raises(UserError, match=f"`{typed}`.*Did you mean `{meant}`") as caught:
        streams.make(typed, dataset())
    assert all(rule in str(caught.value) for rule in RULES)


def test_a_rule_like_no_other_is_refused_without_a_guess():
    with pytest.raises(ValueError, match=r"There is no stream rule `zzz`\. There are"):
        streams.make("zzz", dataset())

"""The contract of every stream rule, then what each rule promises of its own."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CASES, OF_THEIR_OWN, PROBLEMS, counted, first, made
from scipy import stats

from neoteny import streams
from neoteny.errors import UserError
from neoteny.types import Batch, Dataset, Task

ROWS, HELDOUT_ROWS, PIXELS, CLASSES = 60, 20, 12, 5
RULES = sorted(streams.STREAMS)


def numbered(rows, shape, first):
    # pixel p of row r is 100 r + p: an entry tells where it came from
    inputs = 100 * (first + np.arange(rows))[:, None] + np.arange(np.prod(shape))
    labels = jnp.asarray(np.arange(rows) % CLASSES, jnp.int32)
    return Batch(jnp.asarray(inputs.reshape(rows, *shape), jnp.float32), labels)


def dataset(shape=(PIXELS,)):
    train, heldout = numbered(ROWS, shape, 0), numbered(HELDOUT_ROWS, shape, ROWS)
    return Dataset("numbered", train, heldout, CLASSES)


def arrays(task):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(task)]


def same(one, other):
    return all(
        np.array_equal(a, b) and a.dtype == b.dtype
        for a, b in zip(arrays(one), arrays(other), strict=True)
    )


@pytest.fixture(params=map(first, CASES))
def case(request):
    return request.param


@pytest.fixture
def rule(case):
    return case[0]


@pytest.fixture
def data(case):
    return PROBLEMS[case[1]]


@pytest.fixture
def stream(case):
    return made(*case)


def test_the_same_key_and_index_give_the_same_bits(stream, key):
    assert same(stream(key, 3), stream(key, 3))


def test_the_next_task_is_another_and_so_are_all_tasks_of_another_key(rule, stream, key):
    tasks = [stream(key, i) for i in range(3)]
    changes = [not same(one, other) for one, other in pairwise(tasks)]
    assert changes == [True, rule != "warm-start"]
    others = [stream(jax.random.key(1), i) for i in range(3)]
    assert not all(map(same, tasks, others))


def test_tasks_may_be_drawn_in_any_order_and_from_a_new_stream(rule, data, stream, key):
    forwards = [stream(key, i) for i in range(4)]
    again = streams.make(rule, data)
    backwards = [again(key, i) for i in reversed(range(4))]
    assert all(map(same, forwards, reversed(backwards)))


def test_all_tasks_have_the_shapes_and_types_that_the_stream_announces(stream, key):
    announced, structure = jax.tree.flatten(streams.shapes(stream))
    for index in range(5):
        task = stream(key, index)
        assert isinstance(task, Task) and jax.tree.structure(task) == structure
        for leaf, shape in zip(jax.tree.leaves(task), announced, strict=True):
            assert (leaf.shape, leaf.dtype) == (shape.shape, shape.dtype)


def test_rows_look_like_those_of_the_data_set(rule, data, stream, key):
    task = stream(key, 0)
    for batch, given in [(task.train, data.train), (task.heldout, data.heldout)]:
        if batch is not None and rule not in OF_THEIR_OWN:
            assert batch.inputs.shape[1:] == given.inputs.shape[1:]
            assert batch.inputs.dtype == given.inputs.dtype
            assert batch.labels.dtype == jnp.int32


def test_the_rows_that_count_are_of_the_classes_that_count(rule, data, stream, key):
    outputs = streams.outputs(stream, data)
    for index in range(5):
        task = stream(key, index)
        counts = np.ones(outputs, bool) if task.classes is None else np.asarray(task.classes)
        assert counts.shape == (outputs,) and counts.any()
        if rule in OF_THEIR_OWN:
            continue
        for batch, size in [(task.train, 0), (task.heldout, 1)]:
            if batch is not None:
                rows = batch if task.prefix is None else counted(batch, task.prefix[size])
                found = np.bincount(rows.labels, minlength=outputs)
                assert len(found) == outputs
                assert (found[~counts] == 0).all()
                assert task.classes is None or (found[counts] > 0).all()


def test_a_prefix_lies_within_the_rows_and_its_newest_within_it(stream, key):
    for index in range(5):
        task = stream(key, index)
        if task.prefix is not None:
            assert 0 <= task.prefix.newest < task.prefix.train <= len(task.train.labels)
            assert 0 < task.prefix.heldout <= len(task.heldout.labels)


def test_tasks_agree_under_jit_and_vmap_over_traced_indices(rule, stream, key):
    many = jax.jit(jax.vmap(stream, in_axes=(None, 0)))(key, jnp.arange(5))
    for i in range(5):
        one, eager = jax.tree.map(lambda leaf, i=i: leaf[i], many), stream(key, i)
        if rule == "rotated":  # where sums of four products are fused, and so rounded, otherwise
            step = 1 if one.train.inputs.dtype == jnp.uint8 else 1e-5
            np.testing.assert_allclose(
                one.train.inputs.astype(float), eager.train.inputs.astype(float), atol=step
            )
        else:
            assert same(one, eager)


def test_the_default_precision_changes_no_bit(stream, key):
    doubled = stream(key, 1)
    with jax.enable_x64(False):
        assert same(doubled, stream(key, 1))


def test_heldout_rows_are_given_wherever_they_can_be_predicted(rule, stream, key):
    assert (stream(key, 0).heldout is None) == (rule == "random-labels")


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("rule", ["permuted-pixels", "permuted-labels", "random-labels"])
def test_every_row_is_still_there_and_holds_what_it_held(rule, problem, key):
    task, data = made(rule, problem)(key, 2), PROBLEMS[problem]
    held = lambda batch: np.sort(np.asarray(batch.inputs).reshape(len(batch.inputs), -1))
    np.testing.assert_array_equal(held(task.train), held(data.train))
    if task.heldout is not None:
        np.testing.assert_array_equal(held(task.heldout), held(data.heldout))


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
    for batch, given in zip(image[:2], flat[:2], strict=True):
        assert batch.inputs.shape[1:] == (2, 3, 2)
        np.testing.assert_array_equal(batch.inputs.reshape(given.inputs.shape), given.inputs)


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
    for batch, given in zip(task[:2], (data.train, data.heldout), strict=True):
        np.testing.assert_array_equal(batch.labels, names(task)[given.labels])
        np.testing.assert_array_equal(batch.inputs, given.inputs)


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


def test_options_reach_their_rule_and_a_whole_number_may_stand_for_a_float(key):
    data = PROBLEMS["images"]
    turned = streams.make("rotated", data, {"degrees": 90})
    assert same(turned(key, 1), streams.rotated(data, degrees=90.0)(key, 1))


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        ("class-pairs", {"classes_per_tusk": 3}, "Did you mean `classes_per_task`"),
        ("class-pairs", {"classes_per_task": "3"}, "takes a int such as 2"),
        ("class-pairs", {"classes_per_task": 13}, "images has 12 classes.*classes_per_task=12"),
        ("class-pairs", {"classes_per_task": 1}, "classes_per_task=2"),
        ("random-labels", {"seed": 3}, "takes no options, so leave out `seed`"),
        ("incremental-classes", {"start": 20}, "images has 12 classes.*start=12"),
        ("incremental-classes", {"step": 0}, "step=5"),
        ("five-plus-one", {"hard": 12}, "need 13, but images has 12.*hard=11"),
        ("five-plus-one", {"easy": 6}, "hard=5, easy=1"),
        ("warm-start", {"fraction": 1.0}, "fraction=0.5"),
        ("warm-start", {"fraction": float("nan")}, "fraction=0.5"),
        ("rotated", {"degrees": 400.0}, "up to 360"),
        ("rotated", {"step": 400.0}, "less than `degrees`"),
        ("gradual", {"steps": 0}, "at least one"),
        ("gradual", {"kind": "input"}, "Did you mean `inputs`"),
        ("gradual", {"of": "permuted-pixel"}, "Did you mean `permuted-pixels`"),
        ("gradual", {"of": "class-pairs", "classes_per_tusk": 3}, "mean `classes_per_task`"),
        ("slowly-changing-regression", {"fast": 17}, "from 1 to 16"),
        ("slowly-changing-regression", {"change": "al"}, "Did you mean `all`"),
    ],
)
def test_an_impossible_option_is_refused_with_what_is_possible(rule, options, message):
    with pytest.raises(UserError, match=message):
        streams.make(rule, PROBLEMS["images"], options)


@pytest.mark.parametrize(
    ("rule", "missing", "message"),
    [
        ("rotated", {"image_shape": None}, "image_shape="),
        ("class-groups", {"groups": None}, "there are none"),
        ("class-groups", {"groups": (0, 1)}, "there are 2 of them"),
        ("class-pairs", {"num_classes": 13}, "no training row of class 12"),
    ],
)
def test_a_data_set_that_a_rule_cannot_use_is_refused_with_what_it_lacks(rule, missing, message):
    with pytest.raises(UserError, match=message):
        streams.make(rule, PROBLEMS["images"]._replace(**missing))


def test_a_network_needs_as_many_outputs_as_the_tasks_name_classes():
    data = PROBLEMS["images"]
    found = {rule: streams.outputs(made(rule, "images"), data) for rule in RULES}
    assert {rule: number for rule, number in found.items() if number != 12} == {
        "class-pairs": 2,
        "class-groups": 5,
        "slowly-changing-regression": 1,
    }


def test_rows_may_be_held_out_of_the_training_rows_and_the_last_repeated(key):
    """The main paper's protocol: others at each task, and the end of the rest once more."""
    rows, held = 240, 40
    inputs = jnp.tile(jnp.arange(rows, dtype=jnp.float32)[:, None], (1, 3))
    labels = jnp.arange(rows, dtype=jnp.int32)
    data = Dataset("rows", Batch(inputs, labels), Batch(inputs[:5], labels[:5]), rows)
    stream = streams.permuted_pixels(data, heldout=held, repeat_last=2)
    one, other = (stream(key, index) for index in (0, 1))
    train, unseen = np.asarray(one.train.labels), np.asarray(one.heldout.labels)
    assert len(train) == rows - held + 200
    assert len(unseen) == held
    first, last = train[: rows - held], train[rows - held :]
    assert sorted([*first, *unseen]) == list(range(rows))
    np.testing.assert_array_equal(last, np.tile(first[-100:], 2))
    np.testing.assert_array_equal(one.train.inputs[:, 0], train)
    assert set(unseen) != set(np.asarray(other.heldout.labels))
    with pytest.raises(UserError, match=r"`heldout` is 200, but of the 240 .* from 0 to 140"):
        streams.permuted_pixels(data, heldout=200, repeat_last=1)


def test_bytes_may_be_left_unscaled(key):
    images = jnp.arange(8, dtype=jnp.uint8)[:, None, None, None] * jnp.ones((1, 2, 2, 1), jnp.uint8)
    batch = Batch(images, jnp.arange(8, dtype=jnp.int32) % 4)
    data = Dataset("bytes", batch, batch, 4, (2, 2, 1))
    plain, unscaled = (streams.class_pairs(data, scaled=scaled)(key, 0) for scaled in (True, False))
    assert plain.train.inputs.dtype == jnp.uint8
    assert unscaled.train.inputs.dtype == jnp.float32
    np.testing.assert_array_equal(plain.train.inputs, unscaled.train.inputs)

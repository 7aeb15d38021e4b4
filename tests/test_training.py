"""The compiled task loop against the same steps written out one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neoteny.interventions import Intervention, at_task_start, every, stateless_penalty
from neoteny.losses import LOSSES, cross_entropy, squared_error
from neoteny.networks import mlp
from neoteny.training import first_minibatches, minibatches, trainer
from neoteny.types import Batch

NETWORK = mlp((4, 5, 3))
ROWS, SIZE, EPOCHS = 23, 3, 2
STEPS = ROWS // SIZE * EPOCHS


@pytest.fixture(scope="module")
def data():
    keys = jax.random.split(jax.random.key(1))
    labels = jax.random.randint(keys[1], (ROWS,), 0, 3, dtype=jnp.int32)
    return Batch(jax.random.normal(keys[0], (ROWS, 4)), labels)


def _learn(data, optimiser, penalties=(), interventions=(), **options):
    options = {"batch": SIZE, "epochs": EPOCHS} | options
    parts = trainer(NETWORK, cross_entropy, optimiser, penalties, interventions, **options)
    learner = parts.initialise(NETWORK.init(jax.random.key(2)))
    return jax.jit(parts.learn)(learner, data, jax.random.key(3))


def _same(one, other, **tolerance):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def test_the_scan_takes_the_steps_of_a_plain_loop(data):
    optimiser = optax.adam(1e-2)
    learner, trace = _learn(data, optimiser)

    params = NETWORK.init(jax.random.key(2))
    state, hits = optimiser.init(params), 0
    order = minibatches(jax.random.fold_in(jax.random.key(3), 0), ROWS, SIZE, EPOCHS)
    assert order.shape == (STEPS, SIZE)

    @jax.jit
    def step(params, state, x, y):
        loss = lambda p: optax.softmax_cross_entropy_with_integer_labels(
            NETWORK.apply(p, x)[0], y
        ).mean()
        updates, state = optimiser.update(jax.grad(loss)(params), state, params)
        correct = (NETWORK.apply(params, x)[0].argmax(1) == y).sum()
        return optax.apply_updates(params, updates), state, correct

    for chosen in order:
        params, state, correct = step(params, state, data.inputs[chosen], data.labels[chosen])
        hits += int(correct)
    _same(learner.params, params, atol=1e-12)
    assert np.isclose(trace.online_accuracy, hits / order.size)
    assert trace.diverged_step == -1


@pytest.mark.parametrize("count", [None, 7])
def test_rows_may_be_visited_as_they_lie(count):
    key = jax.random.key(0)
    if count is None:
        order = minibatches(key, 10, 3, 2, shuffle=False)
        assert order.reshape(2, -1).tolist() == [list(range(9))] * 2
    else:
        order, total = first_minibatches(key, 10, 3, 2, count, shuffle=False)
        assert total == 4
        assert order[:4].reshape(2, -1).tolist() == [list(range(6))] * 2


def test_an_epoch_visits_every_row_at_most_once_and_epochs_differ():
    order = np.asarray(minibatches(jax.random.key(0), ROWS, SIZE, EPOCHS))
    first, second = order[: STEPS // 2].ravel(), order[STEPS // 2 :].ravel()
    assert len(set(first)) == len(first) == ROWS // SIZE * SIZE
    assert len(set(second)) == len(second)
    assert first.tolist() != second.tolist()


def _recorder(slots: int):
    """Writes down, call by call, which rows it was shown (by their first input)."""

    def apply(learner, state, *, key, batch, features):
        calls, seen = state
        seen = jax.lax.dynamic_update_slice(seen, batch.inputs[None, :, 0], (calls, jnp.int32(0)))
        return learner, (calls + 1, seen)

    def sized(rows):
        init = lambda params: (jnp.zeros((), jnp.int32), jnp.zeros((slots, rows)))
        return Intervention(init, apply)

    return sized


@pytest.mark.parametrize("periods", [(1,), (4,), (2, 4), (2, 3), (STEPS,), (STEPS + 1,)])
def test_an_intervention_sees_the_rows_of_the_mini_batches_since_its_last_call(data, periods):
    parts = [every(p, _recorder(STEPS)(p * SIZE)) for p in periods]
    learner, _ = _learn(data, optax.sgd(0.1), interventions=parts)
    order = minibatches(jax.random.fold_in(jax.random.key(3), 0), ROWS, SIZE, EPOCHS)
    for period, (calls, seen) in zip(periods, learner.interventions, strict=True):
        assert int(calls) == STEPS // period
        for call in range(int(calls)):
            window = np.asarray(order[call * period : (call + 1) * period]).ravel()
            np.testing.assert_array_equal(seen[call], data.inputs[window, 0])


def test_periodic_interventions_act_between_the_right_steps(data):
    """Doubling the parameters every 4 steps, against the plain loop that does the same."""

    def double(learner, state, *, key, batch, features):
        return learner._replace(params=jax.tree.map(lambda p: 2 * p, learner.params)), state

    optimiser = optax.sgd(0.1)
    learner, _ = _learn(
        data, optimiser, interventions=[every(4, Intervention(lambda params: (), double))]
    )
    params = NETWORK.init(jax.random.key(2))
    order = minibatches(jax.random.fold_in(jax.random.key(3), 0), ROWS, SIZE, EPOCHS)

    @jax.jit
    def step(params, x, y):
        loss = lambda p: cross_entropy(NETWORK.apply(p, x)[0], y).mean()
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))

    for number, chosen in enumerate(order, start=1):
        params = step(params, data.inputs[chosen], data.labels[chosen])
        if number % 4 == 0:
            params = jax.tree.map(lambda p: 2 * p, params)
    _same(learner.params, params, atol=1e-10)


def test_features_given_each_step_are_those_before_the_update(data):
    first = Intervention(
        lambda params: jnp.zeros((SIZE, 5)),
        lambda learner, state, *, key, batch, features: (
            learner,
            jnp.where(jnp.any(state != 0), state, features[0]),
        ),
    )
    learner, _ = _learn(data, optax.sgd(10.0), interventions=[first])
    order = minibatches(jax.random.fold_in(jax.random.key(3), 0), ROWS, SIZE, EPOCHS)
    params = NETWORK.init(jax.random.key(2))
    expected = NETWORK.apply(params, data.inputs[order[0]])[1][0]
    np.testing.assert_allclose(learner.interventions[0], expected, atol=1e-12)


def test_a_penalty_adds_its_gradient_to_the_tasks(data):
    half = stateless_penalty(lambda params, features: 0.25 * optax.tree.norm(params, squared=True))
    penalised, _ = _learn(data, optax.sgd(0.1), penalties=[half])
    decayed, _ = _learn(data, optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.1)))
    _same(penalised.params, decayed.params, atol=1e-12)


def test_interventions_at_task_start_act_only_there(data):
    zero = at_task_start(
        Intervention(
            lambda params: (),
            lambda learner, state, *, key, batch, features: (
                learner._replace(params=jax.tree.map(jnp.zeros_like, learner.params)),
                state,
            ),
        )
    )
    with_it, _ = _learn(data, optax.sgd(0.1), interventions=[zero])
    without, _ = _learn(data, optax.sgd(0.1))
    _same(with_it.params, without.params, atol=0)
    parts = trainer(NETWORK, cross_entropy, optax.sgd(0.1), (), [zero], batch=SIZE)
    begun = parts.begin(with_it, data, jax.random.key(0))
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(begun.params))


def test_the_optimisers_state_is_carried_or_reset_as_declared(data):
    adam = optax.adam(1e-2)
    for reset_optimiser in (False, True):
        parts = trainer(NETWORK, cross_entropy, adam, batch=SIZE, reset_optimiser=reset_optimiser)
        learner, _ = parts.learn(
            parts.initialise(NETWORK.init(jax.random.key(2))), data, jax.random.key(3)
        )
        begun = parts.begin(learner, data, jax.random.key(0))
        zero = all(not np.any(leaf) for leaf in jax.tree.leaves(begun.opt_state))
        assert zero == reset_optimiser
        _same(begun.params, learner.params, atol=0)


def test_the_step_at_which_the_loss_stops_being_finite_is_reported(data):
    poisoned = data._replace(inputs=data.inputs.at[7].set(jnp.nan))
    order = np.asarray(minibatches(jax.random.fold_in(jax.random.key(3), 0), ROWS, SIZE, EPOCHS))
    first = int(np.flatnonzero((order == 7).any(1))[0])
    _, trace = _learn(poisoned, optax.sgd(0.1))
    assert int(trace.diverged_step) == first


def test_learning_depends_on_the_key_alone_and_traces_once(data):
    parts = trainer(NETWORK, cross_entropy, optax.sgd(0.1), batch=SIZE)
    count = 0

    def counted(*arguments):
        nonlocal count
        count += 1
        return parts.learn(*arguments)

    learn, learner = jax.jit(counted), parts.initialise(NETWORK.init(jax.random.key(2)))
    one, two = learn(learner, data, jax.random.key(5)), learn(learner, data, jax.random.key(5))
    other = learn(learner, data, jax.random.key(6))
    _same(one, two, atol=0)
    assert count == 1
    assert not np.allclose(one[0].params[0]["kernel"], other[0].params[0]["kernel"])


def test_losses_are_their_formulas(key):
    outputs, labels = jax.random.normal(key, (6, 3)), jnp.array([0, 1, 2, 0, 1, 2], jnp.int32)
    probabilities = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    rows = np.arange(6)
    np.testing.assert_allclose(
        cross_entropy(outputs, labels), -np.log(probabilities[rows, labels]), atol=1e-12
    )
    expected = ((np.asarray(outputs) - np.eye(3)[labels]) ** 2).mean(1)
    np.testing.assert_allclose(squared_error(outputs, labels), expected, atol=1e-12)
    assert set(LOSSES) == {"cross-entropy", "squared-error", "unhinged"}


# --- tasks that grow, outputs that do not count, networks that remember


@pytest.mark.parametrize("count", [SIZE, 10, 12, ROWS])
def test_the_first_rows_are_visited_once_an_epoch_and_no_others(count):
    order, total = first_minibatches(jax.random.key(0), ROWS, SIZE, EPOCHS, count)
    steps = count // SIZE
    assert order.shape == (STEPS, SIZE)
    assert total == steps * EPOCHS
    for epoch in range(EPOCHS):
        seen = np.asarray(order[epoch * steps : (epoch + 1) * steps]).ravel()
        assert len(set(seen.tolist())) == len(seen)
        assert seen.max() < count


def test_a_task_of_some_rows_takes_the_steps_of_a_plain_loop_and_reads_no_others(data):
    count, optimiser = 13, optax.sgd(0.1)
    parts = trainer(NETWORK, cross_entropy, optimiser, batch=SIZE, epochs=EPOCHS)
    learner = parts.initialise(NETWORK.init(jax.random.key(2)))
    spoilt = data._replace(inputs=data.inputs.at[count:].set(jnp.nan))
    learner, trace = jax.jit(parts.learn)(learner, spoilt, jax.random.key(3), rows=count)

    key = jax.random.fold_in(jax.random.key(3), 0)
    order, total = first_minibatches(key, ROWS, SIZE, EPOCHS, count)
    params, hits = NETWORK.init(jax.random.key(2)), 0
    for chosen in order[: int(total)]:
        rows = Batch(data.inputs[chosen], data.labels[chosen])
        loss = lambda p, rows=rows: cross_entropy(
            NETWORK.apply(p, rows.inputs)[0], rows.labels
        ).mean()
        hits += int((NETWORK.apply(params, rows.inputs)[0].argmax(1) == rows.labels).sum())
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))
    _same(learner.params, params, atol=1e-12)
    assert np.isclose(trace.online_accuracy, hits / (int(total) * SIZE))
    assert trace.diverged_step == -1


def test_tasks_that_grow_are_compiled_once(data):
    parts = trainer(NETWORK, cross_entropy, optax.sgd(0.1), batch=SIZE)
    learn = jax.jit(parts.learn)
    learner = parts.initialise(NETWORK.init(jax.random.key(2)))
    for count in (6, 9, ROWS):
        classes = jnp.arange(3) < count // 3
        learn(learner, data, jax.random.key(3), classes, jnp.int32(count))
    assert learn._cache_size() == 1


@pytest.mark.parametrize("count", [5, 11, ROWS])
def test_an_intervention_acts_as_often_as_the_rows_of_the_task_have_it(data, count):
    period = 2
    parts = trainer(
        NETWORK,
        cross_entropy,
        optax.sgd(0.1),
        interventions=[every(period, _recorder(STEPS)(period * SIZE))],
        batch=SIZE,
        epochs=EPOCHS,
    )
    learner = parts.initialise(NETWORK.init(jax.random.key(2)))
    learner, _ = jax.jit(parts.learn)(learner, data, jax.random.key(3), rows=count)
    calls, seen = learner.interventions[0]
    assert int(calls) == count // SIZE * EPOCHS // period
    order = first_minibatches(jax.random.fold_in(jax.random.key(3), 0), ROWS, SIZE, EPOCHS, count)[
        0
    ]
    for call in range(int(calls)):
        window = np.asarray(order[call * period : (call + 1) * period]).ravel()
        np.testing.assert_array_equal(seen[call], data.inputs[window, 0])


def test_outputs_that_do_not_count_learn_nothing_and_are_never_right(data):
    classes = jnp.asarray([True, False, True])
    labels = jnp.where(data.labels == 1, 2, data.labels)
    parts = trainer(NETWORK, cross_entropy, optax.sgd(0.1), batch=SIZE)
    before = NETWORK.init(jax.random.key(2))
    wishful = (*before[:-1], before[-1] | {"bias": jnp.asarray([0.0, 50.0, 0.0])})
    told = data._replace(labels=labels)
    learner, trace = parts.learn(parts.initialise(wishful), told, jax.random.key(3), classes)
    head, first = learner.params[-1], wishful[-1]
    np.testing.assert_array_equal(head["kernel"][:, 1], first["kernel"][:, 1])
    assert not np.array_equal(head["kernel"][:, 0], first["kernel"][:, 0])
    assert trace.online_accuracy > 0  # a bias of 50 would have won every argmax


COUNTING = NETWORK._replace(
    apply=lambda params, inputs, state=None: NETWORK.apply(params, inputs),
    state={"steps": jnp.zeros((), jnp.int32)},
    train=lambda params, inputs, state, key: (
        *NETWORK.apply(params, inputs),
        {"steps": state["steps"] + 1},
    ),
)


def test_what_a_network_remembers_is_carried_from_step_to_step_and_task_to_task(data):
    parts = trainer(COUNTING, cross_entropy, optax.sgd(0.1), batch=SIZE, epochs=EPOCHS)
    learner = parts.initialise(COUNTING.init(jax.random.key(2)))
    for task in (1, 2):
        learner, _ = jax.jit(parts.learn)(learner, data, jax.random.key(task))
        assert int(learner.network_state["steps"]) == task * STEPS


def test_inputs_are_changed_for_the_step_alone_by_a_key_of_its_own(data):
    shown = lambda key, inputs: inputs + jax.random.normal(key, inputs.shape)
    plain, _ = _learn(data, optax.sgd(0.1))
    noisy, _ = _learn(data, optax.sgd(0.1), augment=shown)
    again, _ = _learn(data, optax.sgd(0.1), augment=shown)
    same = lambda one, other: jax.tree.all(jax.tree.map(np.array_equal, one.params, other.params))
    assert same(noisy, again)
    assert not same(noisy, plain)


def test_side_by_side_no_step_is_taken_that_is_due_in_no_lane(data):
    """Lanes of 4 and of 2 mini-batches of 7: 4 steps for both, of which the shorter ignores 2."""
    counts, taken = jnp.asarray([4 * SIZE, 2 * SIZE]), []

    def counting(key, inputs):
        jax.debug.callback(lambda: taken.append(None))
        return inputs

    parts = trainer(NETWORK, cross_entropy, optax.sgd(0.1), batch=SIZE, augment=counting)
    learner = parts.initialise(NETWORK.init(jax.random.key(2)))
    learn = lambda count: parts.learn(learner, data, jax.random.key(3), None, count)
    both = jax.block_until_ready(jax.jit(jax.vmap(learn))(counts))
    jax.effects_barrier()
    assert len(taken) == 4
    for lane, count in enumerate(counts):
        alone = jax.jit(learn)(count)
        _same(jax.tree.map(lambda array, lane=lane: array[lane], both), alone, atol=1e-12)

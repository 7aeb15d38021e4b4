"""One task's training as one compiled scan: the steps, the penalties, the interventions."""

from collections.abc import Callable, Sequence
from math import gcd
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from neoteny.interventions import TASK_START, Attack, Intervention, Penalty
from neoteny.lanes import if_due
from neoteny.types import Batch, Learner, Network, PRNGKey, as_floats, forward, masked


class Trace(NamedTuple):
    """What a task's training leaves besides the learner.

    `online_accuracy` and `online_loss` are those of each mini-batch before its own update, averaged
    over the task. `diverged_step` is the first step whose loss was not finite, or -1.
    """

    online_accuracy: Float[Array, ""]
    online_loss: Float[Array, ""]
    diverged_step: Int[Array, ""]


class Trainer(NamedTuple):
    """A method at work on a network, as pure functions.

    - `initialise(params) -> learner`
    - `begin(learner, batch, key, opened=None) -> learner`: what happens at a task's start, from
      the second task on; `batch` is all the task's training rows, `opened` the outputs that it is
      the first to count.
    - `learn(learner, batch, key, classes=None, rows=None) -> (learner, trace)`: one task; of its
      outputs those in `classes` count, and of the rows the first `rows`.
    """

    initialise: Callable
    begin: Callable
    learn: Callable


def trainer(
    network: Network,
    rowwise_loss: Callable,
    optimiser: optax.GradientTransformation,
    penalties: Sequence[Penalty] = (),
    interventions: Sequence[Intervention] = (),
    *,
    batch: int,
    epochs: int = 1,
    reset_optimiser: bool = False,
    head: Callable | None = None,
    augment: Callable | None = None,
    shuffle: bool = True,
    right: Callable | None = None,
    attack: Attack | None = None,
) -> Trainer:
    """Compose the parts of a method into one step function and scan it over a task.

    Rows are visited in a fresh random order each epoch, or as they lie; those that do not fill a
    last mini-batch are left out of that epoch. Interventions that act every `k > 1` mini-batches
    sit between inner scans rather than behind a condition in each step. They run in the order of
    the method's list, and so do those that fall due at the same step.

    A task of fewer rows than its arrays hold runs the program of the whole one, and only skips
    its last steps, so that tasks which grow are compiled once.

    **Arguments:**

    - `head(learner, key, opened) -> learner`: what becomes of the output layer at a task's start.
    - `augment(key, inputs) -> inputs`: changes each mini-batch before its step.
    - `shuffle`: visit rows in another order each epoch.
    - `right(outputs, labels) -> count`: of rows that count as correct; by default those whose
      largest output is their label. Labels may be a pytree, for a loss that knows what they are.
    - `attack`: changes each mini-batch against the network just before its step, as floats.
    """
    right = right or (lambda outputs, labels: jnp.sum(jnp.argmax(outputs, 1) == labels))

    def initialise(params) -> Learner:
        return Learner(
            params,
            optimiser.init(params),
            tuple(penalty.init(params) for penalty in penalties),
            tuple(intervention.init(params) for intervention in interventions),
            network.state,
        )

    def attacked(learner: Learner, rows: Batch, classes, key: PRNGKey) -> Batch:
        def loss(inputs):
            outputs, _, _ = forward(network, learner.params, inputs, learner.network_state, key)
            return rowwise_loss(masked(outputs, classes), rows.labels).mean()

        assert attack is not None
        inputs = attack(loss, as_floats(rows.inputs), jax.random.fold_in(key, 1))
        return rows._replace(inputs=inputs)

    def gradient_step(learner: Learner, rows: Batch, classes, key: PRNGKey, reference: Batch):
        def objective(params):
            outputs, features, network_state = forward(
                network, params, rows.inputs, learner.network_state, key
            )
            counted = masked(outputs, classes)
            loss = total = rowwise_loss(counted, rows.labels).mean()
            states = []
            for penalty, state in zip(penalties, learner.penalties, strict=True):
                signals = {"outputs": outputs, "batch": rows, "reference": reference, "loss": loss}
                signals |= {"network_state": learner.network_state}
                value, state = penalty.apply(params, features, state, **signals)
                total, states = total + value, [*states, state]
            hits = jnp.asarray(right(counted, rows.labels), jnp.int32)
            return total, (tuple(states), features, network_state, hits, loss)

        gradients, aux = jax.grad(objective, has_aux=True)(learner.params)
        states, features, network_state, hits, loss = aux
        updates, opt_state = optimiser.update(gradients, learner.opt_state, learner.params)
        params = optax.apply_updates(learner.params, updates)
        learner = Learner(params, opt_state, states, learner.interventions, network_state)
        return learner, features, (hits, loss)

    def intervene(
        learner: Learner, index: int, rows: Batch, key: PRNGKey, features=None, at_start=False
    ):
        if features is None:
            features = forward(network, learner.params, rows.inputs, learner.network_state, key)[1]
        act = interventions[index].begin if at_start else None
        learner, state = (act or interventions[index].apply)(
            learner,
            learner.interventions[index],
            key=jax.random.fold_in(key, index),
            batch=rows,
            features=features,
        )
        states = learner.interventions
        return learner._replace(interventions=(*states[:index], state, *states[index + 1 :]))

    def acting(wanted: Callable[[int], bool]) -> list[tuple[int, int]]:
        return [(i, part.period) for i, part in enumerate(interventions) if wanted(part.period)]

    def begin(learner: Learner, rows: Batch, key: PRNGKey, opened=None) -> Learner:
        if reset_optimiser:
            learner = learner._replace(opt_state=optimiser.init(learner.params))
        if head is not None:
            learner = head(learner, jax.random.fold_in(key, len(interventions)), opened)
        for index, part in enumerate(interventions):
            if part.period == TASK_START or part.begin is not None:
                learner = intervene(learner, index, rows, key, at_start=True)
        return learner

    each_step = acting(lambda period: period == 1)
    periodic = acting(lambda period: period > 1)
    block = gcd(*(period for _, period in periodic)) if periodic else 0

    def learn(
        learner: Learner, data: Batch, key: PRNGKey, classes=None, rows=None
    ) -> tuple[Learner, Trace]:
        order_key, step_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        augment_key = jax.random.fold_in(key, 3)  # 2 draws what happens at the task's start
        forward_key = jax.random.fold_in(key, 4)
        if rows is None:
            order = minibatches(order_key, len(data.inputs), batch, epochs, shuffle=shuffle)
            total = None
        else:
            order, total = first_minibatches(
                order_key, len(data.inputs), batch, epochs, rows, shuffle=shuffle
            )
        numbers, count = jnp.arange(len(order)), len(data.inputs) if rows is None else rows
        within = lambda done, act, state: (
            act(state) if total is None else if_due(done <= total, act, lambda s: s, state)
        )

        def step(learner, position):
            number, chosen = position
            rows = jax.tree.map(lambda array: array[chosen], data)
            seen = rows
            if augment is not None:
                changed = augment(jax.random.fold_in(augment_key, number), rows.inputs)
                seen = rows._replace(inputs=changed)
            seen_key = jax.random.fold_in(forward_key, number)
            if attack is not None:
                seen = attacked(learner, seen, classes, seen_key)
            reference = rows
            if penalties:  # which alone look at it
                others = jax.random.randint(jax.random.fold_in(seen_key, 2), (batch,), 0, count)
                reference = jax.tree.map(lambda array: array[others], data)
            learner, features, outcome = gradient_step(learner, seen, classes, seen_key, reference)
            for index, _ in each_step:
                learner = intervene(
                    learner, index, rows, jax.random.fold_in(step_key, number), features
                )
            return learner, outcome

        def step_if_any(learner, position):
            if total is None:
                return step(learner, position)
            idle = lambda learner, _: (learner, (jnp.int32(0), jnp.zeros_like(zero)))
            return if_due(position[0] < total, step, idle, learner, position)

        zero = jax.eval_shape(step, learner, (numbers[0], order[0]))[1][1]

        def act_if_due(learner, index, period, done):
            start = (jnp.maximum(done - period, 0), jnp.zeros((), done.dtype))
            window = jax.lax.dynamic_slice(order, start, (period, batch)).reshape(-1)
            act = lambda learner: intervene(
                learner,
                index,
                jax.tree.map(lambda array: array[window], data),
                jax.random.fold_in(step_key, done - 1),
            )
            if period == block:
                return within(done, act, learner)
            due = done % period == 0
            return jax.lax.cond(due, lambda same: within(done, act, same), lambda s: s, learner)

        def steps_then_interventions(learner, positions):
            learner, outcome = scan(step_if_any, learner, positions)
            for index, period in periodic:
                if period <= len(order):
                    learner = act_if_due(learner, index, period, positions[0][-1] + 1)
            return learner, outcome

        scan = lambda f, carry, xs: jax.lax.scan(f, carry, xs, unroll=_unroll(batch))
        blocks = len(order) // block if block else 0
        outcomes = []
        if blocks:
            full = jax.tree.map(
                lambda array: array[: blocks * block].reshape(blocks, block, *array.shape[1:]),
                (numbers, order),
            )
            learner, outcome = jax.lax.scan(steps_then_interventions, learner, full)
            outcomes.append(jax.tree.map(jnp.ravel, outcome))
        if blocks * block < len(order):
            tail = jax.tree.map(lambda array: array[blocks * block :], (numbers, order))
            learner, outcome = scan(step_if_any, learner, tail)
            outcomes.append(outcome)
        hits, losses = jax.tree.map(lambda *parts: jnp.concatenate(parts), *outcomes)
        return learner, _trace(hits, losses, len(order) if total is None else total, batch)

    return Trainer(initialise, begin, learn)


def minibatches(
    key: PRNGKey, rows: int, batch: int, epochs: int, *, shuffle: bool = True
) -> Int[Array, "steps {batch}"]:
    """Row numbers of every mini-batch of a task, epoch after epoch, each in its own order."""
    steps = rows // batch

    def epoch(index):
        if not shuffle:
            return jnp.arange(steps * batch).reshape(steps, batch)
        order = jax.random.permutation(jax.random.fold_in(key, index), rows)
        return order[: steps * batch].reshape(steps, batch)

    return jax.lax.map(epoch, jnp.arange(epochs)).reshape(epochs * steps, batch)


def first_minibatches(
    key: PRNGKey,
    rows: int,
    batch: int,
    epochs: int,
    count: Int[Array, ""] | int,
    *,
    shuffle: bool = True,
) -> tuple[Int[Array, "steps {batch}"], Int[Array, ""]]:
    """Mini-batches of the first `count` rows alone, and how many there are: the first ones.

    The shape is that for all `rows`; what follows the last real one is meaningless.
    """

    def epoch(index):
        if not shuffle:
            return jnp.arange(rows, dtype=jnp.int32)
        draw = jax.random.uniform(jax.random.fold_in(key, index), (rows,), jnp.float32)
        return jnp.argsort(jnp.where(jnp.arange(rows) < count, draw, jnp.inf)).astype(jnp.int32)

    orders = jax.lax.map(epoch, jnp.arange(epochs))
    steps = jnp.asarray(count, jnp.int32) // batch
    position = jnp.arange(rows // batch * epochs, dtype=jnp.int32)
    turn = jnp.minimum(position // jnp.maximum(steps, 1), epochs - 1)
    first = position % jnp.maximum(steps, 1) * batch
    within = first[:, None] + jnp.arange(batch, dtype=jnp.int32)[None]
    return orders[turn[:, None], within], steps * epochs


def _trace(
    hits: Int[Array, " steps"], losses: Float[Array, " steps"], steps: int | Int[Array, ""], batch
) -> Trace:
    wrong = ~jnp.isfinite(losses)
    first = jnp.where(wrong.any(), jnp.argmax(wrong), -1)
    return Trace(hits.sum() / (steps * batch), losses.sum() / steps, first)


def _unroll(batch: int) -> int:
    """Steps of one row are bound by memory and gain a fifth from unrolling; larger ones do not."""
    return 4 if batch == 1 else 1

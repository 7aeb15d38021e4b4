"""One task's training as one compiled scan: the steps, the penalties, the interventions."""

from collections.abc import Callable, Sequence
from math import gcd
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from neoteny.interventions import TASK_START, Intervention, Penalty
from neoteny.types import Batch, Learner, Network, PRNGKey


class Trace(NamedTuple):
    """What a task's training leaves besides the learner.

    `online_accuracy` is that of each mini-batch before its own update, averaged over the task.
    `diverged_step` is the first step whose loss was not finite, or -1.
    """

    online_accuracy: Float[Array, ""]
    diverged_step: Int[Array, ""]


class Trainer(NamedTuple):
    """A method at work on a network, as pure functions.

    - `initialise(params) -> learner`
    - `begin(learner, batch, key) -> learner`: what happens at a task's start, from the second
      task on; `batch` is all the task's training rows.
    - `learn(learner, batch, key) -> (learner, trace)`: one task.
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
) -> Trainer:
    """Compose the parts of a method into one step function and scan it over a task.

    Rows are visited in a fresh random order each epoch; rows that do not fill a last mini-batch
    are left out of that epoch. Interventions that act every `k > 1` mini-batches sit between
    inner scans rather than behind a condition in each step. Interventions run in the order of
    the method's list, and so do those that fall due at the same step.
    """

    def initialise(params) -> Learner:
        return Learner(
            params,
            optimiser.init(params),
            tuple(penalty.init(params) for penalty in penalties),
            tuple(intervention.init(params) for intervention in interventions),
        )

    def gradient_step(learner: Learner, rows: Batch):
        def objective(params):
            outputs, features = network.apply(params, rows.inputs)
            loss = total = rowwise_loss(outputs, rows.labels).mean()
            states = []
            for penalty, state in zip(penalties, learner.penalties, strict=True):
                value, state = penalty.apply(params, features, state)
                total, states = total + value, [*states, state]
            hits = jnp.sum(jnp.argmax(outputs, 1) == rows.labels, dtype=jnp.int32)
            return total, (tuple(states), features, hits, loss)

        gradients, aux = jax.grad(objective, has_aux=True)(learner.params)
        states, features, hits, loss = aux
        updates, opt_state = optimiser.update(gradients, learner.opt_state, learner.params)
        params = optax.apply_updates(learner.params, updates)
        return Learner(params, opt_state, states, learner.interventions), features, (hits, loss)

    def intervene(learner: Learner, index: int, rows: Batch, key: PRNGKey, features=None):
        if features is None:
            features = network.apply(learner.params, rows.inputs)[1]
        learner, state = interventions[index].apply(
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

    def begin(learner: Learner, rows: Batch, key: PRNGKey) -> Learner:
        if reset_optimiser:
            learner = learner._replace(opt_state=optimiser.init(learner.params))
        for index, _ in acting(lambda period: period == TASK_START):
            learner = intervene(learner, index, rows, key)
        return learner

    each_step = acting(lambda period: period == 1)
    periodic = acting(lambda period: period > 1)
    block = gcd(*(period for _, period in periodic)) if periodic else 0

    def learn(learner: Learner, data: Batch, key: PRNGKey) -> tuple[Learner, Trace]:
        order_key, step_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        order = minibatches(order_key, len(data.labels), batch, epochs)
        numbers = jnp.arange(len(order))

        def step(learner, position):
            number, chosen = position
            rows = jax.tree.map(lambda array: array[chosen], data)
            learner, features, outcome = gradient_step(learner, rows)
            for index, _ in each_step:
                learner = intervene(
                    learner, index, rows, jax.random.fold_in(step_key, number), features
                )
            return learner, outcome

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
                return act(learner)
            return jax.lax.cond(done % period == 0, act, lambda same: same, learner)

        def steps_then_interventions(learner, positions):
            learner, outcome = scan(step, learner, positions)
            for index, period in periodic:
                if period <= len(order):
                    learner = act_if_due(learner, index, period, positions[0][-1] + 1)
            return learner, outcome

        scan = lambda f, carry, xs: jax.lax.scan(f, carry, xs, unroll=_unroll(batch))
        blocks = len(order) // block if block else 0
        outcomes = []
        if blocks:
            head = jax.tree.map(
                lambda array: array[: blocks * block].reshape(blocks, block, *array.shape[1:]),
                (numbers, order),
            )
            learner, outcome = jax.lax.scan(steps_then_interventions, learner, head)
            outcomes.append(jax.tree.map(jnp.ravel, outcome))
        if blocks * block < len(order):
            tail = jax.tree.map(lambda array: array[blocks * block :], (numbers, order))
            learner, outcome = scan(step, learner, tail)
            outcomes.append(outcome)
        hits, losses = jax.tree.map(lambda *parts: jnp.concatenate(parts), *outcomes)
        return learner, _trace(hits, losses, order.size)

    return Trainer(initialise, begin, learn)


def minibatches(key: PRNGKey, rows: int, batch: int, epochs: int) -> Int[Array, "steps {batch}"]:
    """Row numbers of every mini-batch of a task, epoch after epoch, each in its own order."""
    steps = rows // batch

    def epoch(index):
        order = jax.random.permutation(jax.random.fold_in(key, index), rows)
        return order[: steps * batch].reshape(steps, batch)

    return jax.lax.map(epoch, jnp.arange(epochs)).reshape(epochs * steps, batch)


def _trace(hits: Int[Array, " steps"], losses: Float[Array, " steps"], rows: int) -> Trace:
    wrong = ~jnp.isfinite(losses)
    first = jnp.where(wrong.any(), jnp.argmax(wrong), -1)
    return Trace(hits.sum() / rows, first)


def _unroll(batch: int) -> int:
    """Steps of one row are bound by memory and gain a fifth from unrolling; larger ones do not."""
    return 4 if batch == 1 else 1

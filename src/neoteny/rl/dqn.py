"""Deep Q-learning."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import entr
from jaxtyping import Array, Bool, Float, Int

from neoteny.config import AgentConfig
from neoteny.errors import UserError
from neoteny.lanes import if_due
from neoteny.rl.acting import Rollout, Seat, act, take_seats
from neoteny.rl.algorithm import Algorithm, Programs, Record, outputs_of
from neoteny.rl.environment import Discrete, Environment
from neoteny.rl.host import AnyEnvironment, HostEnvironment
from neoteny.rl.normaliser import watched
from neoteny.rl.replay import Replay, empty_replay, recall, remember
from neoteny.rl.worlds import World
from neoteny.training import Trainer
from neoteny.types import Batch, Learner, Network, Params, PRNGKey, View, bound

Values = Float[Array, "rows actions"]
"""What the network says that each action is worth."""


class Acts(NamedTuple):
    """What is remembered of actions taken, row by row.

    `following`: what the action led to, before any new episode. `terminated`: nothing is worth
    anything after it; false where the episode was only cut off.
    """

    observations: Float[Array, "rows *shape"]
    actions: Int[Array, " rows"]
    rewards: Float[Array, " rows"]
    following: Float[Array, "rows *shape"]
    terminated: Bool[Array, " rows"]


class Aims(NamedTuple):
    """What an action's value should be: the labels of a DQN mini-batch."""

    actions: Int[Array, " rows"]
    targets: Float[Array, " rows"]


def dqn_loss(settings: AgentConfig) -> Callable[..., Float[Array, " rows"]]:
    """`(values, aims) -> loss` of each row: the squared error `e` of the value of its action.

    With `huber` it is `2 |e| - 1` beyond an error of 1, so that its slope is never above 2.

    **Source:** Mnih et al. (2015), who cut the error's slope off at 1, as `huber` does but for
    the factor of 2.
    """

    def rowwise(values: Values, aims: Aims) -> Float[Array, " rows"]:
        error = jnp.abs(of_actions(values, aims.actions) - aims.targets)
        if settings.huber:
            return jnp.where(error > 1, 2 * error - 1, error**2)
        return error**2

    return rowwise


def targets(
    network: Network, settings: AgentConfig, params: Params, target: Params, acts: Acts
) -> Float[Array, " rows"]:
    """What each action was worth: its reward, and the discounted value of what it led to.

    `r + discount * Q'(s', argmax Q(s', .))`, with `Q'` the network at `target`, and `Q` that at
    `params` with `double`, else `Q'` too; `r` alone where the episode terminated. An episode that
    was cut off is worth what it would have gone on to. Costs one forward pass, or with `double`
    two.

    **Source:** Mnih et al. (2015); van Hasselt et al. (2016).
    """
    ahead = network.apply(target, acts.following)[0]
    judge = network.apply(params, acts.following)[0] if settings.double else ahead
    value = jnp.where(acts.terminated, 0, of_actions(ahead, greedy(judge)))
    return settings.reward_scale * acts.rewards + settings.discount * value


def dqn(environment: AnyEnvironment, agent: AgentConfig) -> Algorithm:
    """Deep Q-learning in `environment`, whose actions must be `Discrete`.

    An iteration acts `rollout` steps in each of `seats` copies, which go on where they stood, and
    remembers them in a replay of the last `replay` acts. Then it draws `reuse` rows from there for
    each act, evenly and with replacement, computes their targets, and learns from them in
    mini-batches of `training.batch`. Until the replay holds `learning_starts` acts nothing is
    learnt. The target network becomes the network after every `target_every` iterations. Where
    that is 1, `double` changes nothing, since both are the same when targets are computed.

    Actions are those of the largest value, but for a share `epsilon` at random, which falls from
    `epsilon_start` to `epsilon_end` evenly over the first `epsilon_share` of the iterations.

    A task begins with an empty replay, the network itself for a target and exploration anew: what
    an agent keeps from task to task is its learner alone.

    Three things differ from the sources. All targets of an iteration are computed before its first
    update, so the network that picks the action with `double` is that of the start of the
    iteration, up to `reuse * rollout * seats / batch` updates ago. Many copies are acted in at
    once. And an iteration's acts are all taken before any of its updates.

    **Raises:** `UserError` for an environment whose actions are vectors, or that is stepped on the
    host.

    **Source:** Mnih et al. (2015), whose 4 acts for a mini-batch of 32 are `reuse=8`; with
    `double`, the default, van Hasselt et al. (2016).
    """
    actions = environment.actions
    if not isinstance(actions, Discrete):
        raise UserError(
            "`agent.kind` is dqn, which picks the best of numbered actions, but this environment "
            f"takes vectors of {actions.size} numbers. Pass `--set agent.kind=ppo`."
        )
    if isinstance(environment, HostEnvironment):
        raise UserError(
            f"`agent.kind` is dqn, which acts in compiled programs, but `{environment.name}` is "
            "stepped by another library. Pass `--set agent.kind=ppo`, or an environment of "
            "`neoteny list environments` that is compiled."
        )
    rows = agent.reuse * agent.seats * agent.rollout
    opening_rows = agent.seats * _opening_steps(agent)
    programs = partial(_programs, environment, actions.count, agent)
    return Algorithm({"q": actions.count}, 0, dqn_loss(agent), rows, opening_rows, programs)


def exploration(settings: AgentConfig, iteration: Int[Array, ""] | int) -> Float[Array, ""]:
    """The share of actions taken at random in an iteration of a task, counted from 0."""
    falling = settings.epsilon_share * settings.iterations
    fallen = jnp.minimum(iteration / falling, 1.0) if falling else 1.0
    start, end = settings.epsilon_start, settings.epsilon_end
    return jnp.asarray(start + (end - start) * fallen, float)


def epsilon_greedy(
    key: PRNGKey, values: Values, epsilon: Float[Array, ""] | float
) -> Int[Array, " rows"]:
    """The actions of the largest values, but a share `epsilon` of them evenly from all.

    One number from 0 to 1 decides both: below `epsilon` its place there is that of the action.
    """
    rows, count = values.shape
    drawn = jax.random.uniform(key, (rows,))
    place = drawn / jnp.where(epsilon > 0, epsilon, 1)
    random = jnp.minimum((place * count).astype(jnp.int32), count - 1)
    return jnp.where(drawn < epsilon, random, greedy(values))


def epsilon_greedy_entropy(count: int, epsilon: Float[Array, ""] | float) -> Float[Array, ""]:
    """In nats, of `epsilon_greedy` among so many actions."""
    other = jnp.asarray(epsilon / count, float)
    return entr(1 - (count - 1) * other) + (count - 1) * entr(other)


def greedy(values: Values) -> Int[Array, " rows"]:
    """The action of the largest value; of equal ones the first."""
    return jnp.argmax(values, axis=1).astype(jnp.int32)


def of_actions(values: Values, actions: Int[Array, " rows"]) -> Float[Array, " rows"]:
    """The values of these actions."""
    return jnp.take_along_axis(values, actions[:, None], axis=1)[:, 0]


def _acts(rollout: Rollout) -> Acts:
    """A rollout as rows, step after step."""
    flat = lambda array: array.reshape(-1, *array.shape[2:])
    return Acts(
        flat(rollout.observations),
        flat(rollout.actions),
        flat(rollout.rewards),
        flat(rollout.following),
        flat(rollout.terminated),
    )


def _opening_steps(agent: AgentConfig) -> int:
    """In each seat, as many as give the acts that learning begins with."""
    return max(agent.rollout, -(-agent.learning_starts // agent.seats))


def _programs(
    environment: Environment, count: int, agent: AgentConfig, network: Network, parts: Trainer
) -> Programs:
    drawn = agent.reuse * agent.seats * agent.rollout

    def collect(
        learner: Learner, world: World, seats: Seat, epsilon, key: PRNGKey, steps: int
    ) -> tuple[Seat, Rollout]:
        def decide(key, observations):
            values = outputs_of(network, learner, observations)
            return epsilon_greedy(key, values, epsilon), None

        return act(environment, world, decide, seats, key, steps)

    def rows_of(learner: Learner, target: Params, acts: Acts) -> Batch:
        as_it_is = bound(network, View(learner.network_state))
        aims = Aims(acts.actions, targets(as_it_is, agent, learner.params, target, acts))
        return Batch(acts.observations, aims)  # pyright: ignore[reportArgumentType]

    @jax.jit
    def opening(learner: Learner, world: World, key: PRNGKey) -> Batch:
        """As many acts as learning begins with, explored as at the end of a task.

        Their targets are by the network itself.
        """
        sit, move, mix = jax.random.split(key, 3)
        seats = take_seats(environment, world, sit, agent.seats)
        steps = _opening_steps(agent)
        epsilon = agent.epsilon_end
        _, rollout = collect(learner, world, seats, epsilon, move, steps)
        rows = rows_of(learner, learner.params, _acts(rollout))
        order = jax.random.permutation(mix, agent.seats * steps)
        return jax.tree.map(lambda array: array[order], rows)

    def improve(learner: Learner, target: Params, acts: Acts, key: PRNGKey):
        learner, trace = parts.learn(learner, rows_of(learner, target, acts), key)
        return learner, trace.online_loss, trace.diverged_step.astype(jnp.int32)

    def wait(learner: Learner, target: Params, acts: Acts, key: PRNGKey):
        del target, key
        return learner, jnp.full((), jnp.nan, acts.rewards.dtype), jnp.int32(-1)

    @jax.jit
    def live(learner: Learner, world: World, rows: Batch, key: PRNGKey):
        def iteration(carry, number):
            learner, target, seats, replay = carry
            act_key, draw_key, learn_key = jax.random.split(jax.random.fold_in(key, number), 3)
            epsilon = exploration(agent, number)
            seats, rollout = collect(learner, world, seats, epsilon, act_key, agent.rollout)
            replay = remember(replay, _acts(rollout))
            due = replay.filled >= agent.learning_starts
            known = recall(replay, draw_key, drawn)
            after, loss, diverged = if_due(due, improve, wait, learner, target, known, learn_key)
            renewed = (number + 1) % agent.target_every == 0
            keep = lambda new, old: jnp.where(renewed, new, old)
            target = jax.tree.map(keep, after.params, target)
            now, then = (outputs_of(network, each, rows.inputs) for each in (learner, after))
            after = watched(after, rollout.observations)
            return (after, target, seats, replay), Record(
                jnp.sum(jnp.where(rollout.ended, rollout.totals, 0)),
                jnp.sum(rollout.ended, dtype=jnp.int32),
                epsilon_greedy_entropy(count, epsilon),
                jnp.mean(greedy(now) != greedy(then)),
                jnp.abs(then.max(axis=1) - now.max(axis=1)).mean(),
                loss,
                diverged,
            )

        sit, key = jax.random.split(key)
        seats = take_seats(environment, world, sit, agent.seats)
        replay = _empty(learner, world, seats)
        start = (learner, learner.params, seats, replay)
        (learner, *_), records = jax.lax.scan(iteration, start, jnp.arange(agent.iterations))
        return learner, records

    def _empty(learner: Learner, world: World, seats: Seat) -> Replay:
        one = lambda key: _acts(collect(learner, world, seats, 0.0, key, 1)[1])
        return empty_replay(jax.eval_shape(one, jax.random.key(0)), agent.replay)

    @jax.jit
    def choose(learner: Learner, key: PRNGKey, observations):
        values = outputs_of(network, learner, observations)
        return epsilon_greedy(key, values, agent.epsilon_end)

    return Programs(choose, opening, live)

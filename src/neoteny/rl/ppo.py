"""Proximal policy optimisation."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neoteny.config import AgentConfig
from neoteny.rl.acting import Rollout, Seat, act, take_seats
from neoteny.rl.algorithm import Algorithm, Programs, Record, outputs_of
from neoteny.rl.environment import Environment
from neoteny.rl.host import AnyEnvironment, HostEnvironment
from neoteny.rl.hosted import hosted
from neoteny.rl.normaliser import watched
from neoteny.rl.policies import Policy, policy
from neoteny.rl.returns import generalised_advantages
from neoteny.rl.worlds import World
from neoteny.training import Trainer
from neoteny.types import Batch, Learner, Network, Params, PRNGKey, View, bound


class Experience(NamedTuple):
    """What is known of actions taken, row by row: the labels of a PPO mini-batch.

    `log_probabilities` and `values` are those of the agent that acted, before any update.
    """

    actions: Any
    log_probabilities: Float[Array, " rows"]
    values: Float[Array, " rows"]
    advantages: Float[Array, " rows"]
    returns: Float[Array, " rows"]


def ppo_loss(policy: Policy, settings: AgentConfig) -> Callable[..., Float[Array, " rows"]]:
    """`(outputs, experience) -> loss` of each row: policy, value and entropy together.

    - `-min(r A, clip(r, 1 - c, 1 + c) A)`, where `r` is how much likelier the action has become
      and `A` its advantage, less the mini-batch's mean and divided by its standard deviation;
    - `value_coefficient` times the squared error of the value, or with `value_clip` the larger
      of it and of that of a value moved from the old one by no more than `c`;
    - `-entropy_coefficient` times the entropy.

    **Source:** Schulman et al. (2017). The main paper has `value_coefficient=1`,
    `entropy_coefficient=0.01`, `clip=0.2` and a clipped value.
    """

    def rowwise(outputs: Float[Array, "rows outputs"], seen: Experience):
        advantages = (seen.advantages - seen.advantages.mean()) / (seen.advantages.std() + 1e-8)
        log_ratio = policy.log_probability(outputs, seen.actions) - seen.log_probabilities
        ratio = jnp.exp(log_ratio)
        clipped = jnp.clip(ratio, 1 - settings.clip, 1 + settings.clip)
        gain = jnp.minimum(ratio * advantages, clipped * advantages)
        values = policy.value(outputs)
        error = (values - seen.returns) ** 2
        if settings.value_clip:
            near = seen.values + jnp.clip(values - seen.values, -settings.clip, settings.clip)
            error = jnp.maximum(error, (near - seen.returns) ** 2)
        chance = settings.entropy_coefficient * policy.entropy(outputs)
        return settings.value_coefficient * error - gain - chance

    return rowwise


def experience(
    network: Network, policy: Policy, settings: AgentConfig, params: Params, rollout: Rollout
) -> Batch:
    """The rows that PPO learns from, `steps * seats` of them, of what the agent `params` did.

    The rollout's decisions are the network's outputs. Costs one forward pass over all rows.
    """
    outputs = rollout.decisions
    rows = jax.vmap(lambda outputs, actions: policy.log_probability(outputs, actions))
    values = jax.vmap(policy.value)(outputs)
    merged = rollout.following.reshape(-1, *rollout.following.shape[2:])
    next_values = policy.value(network.apply(params, merged)[0]).reshape(values.shape)
    advantages = generalised_advantages(
        rollout.rewards * settings.reward_scale,
        values,
        next_values,
        rollout.terminated,
        rollout.ended,
        discount=settings.discount,
        decay=settings.advantage_decay,
    )
    known = Experience(
        rollout.actions, rows(outputs, rollout.actions), values, advantages, advantages + values
    )
    flat = lambda array: array.reshape(-1, *array.shape[2:])
    return Batch(flat(rollout.observations), jax.tree.map(flat, known))


def ppo(environment: AnyEnvironment, agent: AgentConfig) -> Algorithm:
    """Proximal policy optimisation in `environment`.

    An iteration acts `rollout` steps in each of `seats` copies, which go on where they stood, and
    learns from all of it. Actions are those of the policy, never the likeliest.

    **Source:** Schulman et al. (2017), advantages after Schulman et al. (2016).
    """
    acts_by = policy(environment.actions)
    separate = {"actor": acts_by.actions, "critic": 1}
    shared = {"body": acts_by.actions + 1}
    return Algorithm(
        separate if agent.critic == "separate" else shared,
        acts_by.deviations,
        ppo_loss(acts_by, agent),
        agent.seats * agent.rollout,
        agent.seats * agent.rollout,
        partial(_programs, environment, acts_by, agent),
    )


def _programs(
    environment: AnyEnvironment,
    acts_by: Policy,
    agent: AgentConfig,
    network: Network,
    parts: Trainer,
) -> Programs:
    def decide(learner: Learner, key: PRNGKey, observations):
        outputs = outputs_of(network, learner, observations)
        return acts_by.sample(key, outputs), outputs

    def rows_of(learner: Learner, rollout: Rollout) -> Batch:
        as_it_is = bound(network, View(learner.network_state))
        return experience(as_it_is, acts_by, agent, learner.params, rollout)

    def improve(learner: Learner, rollout: Rollout, rows: Batch, key: PRNGKey):
        """The learner after an update on `rollout`, and what the iteration leaves."""
        known = rows_of(learner, rollout)
        after, trace = parts.learn(learner, known, key)
        now, then = (outputs_of(network, each, rows.inputs) for each in (learner, after))
        return watched(after, rollout.observations), Record(
            jnp.sum(jnp.where(rollout.ended, rollout.totals, 0)),
            jnp.sum(rollout.ended, dtype=jnp.int32),
            jax.vmap(acts_by.entropy)(rollout.decisions).mean(),
            acts_by.divergence(now, then).mean(),
            jnp.abs(acts_by.value(then) - acts_by.value(now)).mean(),
            trace.online_loss,
            trace.diverged_step.astype(jnp.int32),
        )

    if isinstance(environment, HostEnvironment):
        return hosted(environment, agent, decide, rows_of, improve)
    return _compiled(environment, agent, decide, rows_of, improve)


def _compiled(
    environment: Environment,
    agent: AgentConfig,
    decide: Callable,
    rows_of: Callable,
    improve: Callable,
) -> Programs:
    """The programs where acting is compiled as well."""

    def collect(learner: Learner, world: World, seats: Seat, key: PRNGKey) -> tuple[Seat, Rollout]:
        return act(environment, world, partial(decide, learner), seats, key, agent.rollout)

    @jax.jit
    def opening(learner: Learner, world: World, key: PRNGKey) -> Batch:
        sit, move, mix = jax.random.split(key, 3)
        seats = take_seats(environment, world, sit, agent.seats)
        _, rollout = collect(learner, world, seats, move)
        rows = rows_of(learner, rollout)
        order = jax.random.permutation(mix, agent.seats * agent.rollout)
        return jax.tree.map(lambda array: array[order], rows)

    @jax.jit
    def live(learner: Learner, world: World, rows: Batch, key: PRNGKey):
        def iteration(carry, number):
            learner, seats = carry
            own = jax.random.fold_in(key, number)
            seats, rollout = collect(learner, world, seats, jax.random.fold_in(own, 0))
            learner, record = improve(learner, rollout, rows, jax.random.fold_in(own, 1))
            return (learner, seats), record

        sit, key = jax.random.split(key)
        seats = take_seats(environment, world, sit, agent.seats)
        numbers = jnp.arange(agent.iterations)
        (learner, _), records = jax.lax.scan(iteration, (learner, seats), numbers)
        return learner, records

    choose = jax.jit(lambda learner, key, observations: decide(learner, key, observations)[0])
    return Programs(choose, opening, live)

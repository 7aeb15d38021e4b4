"""An agent's programs in an environment on the host: acting there, learning in compiled code."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from neoteny.config import AgentConfig
from neoteny.rl.acting import Rollout
from neoteny.rl.algorithm import Programs, Record
from neoteny.rl.host import HostEnvironment
from neoteny.rl.seats import Seats
from neoteny.rl.worlds import World, seen
from neoteny.types import Batch, Learner, PRNGKey

_NUMBERS = ("returns", "entropy", "policy_churn", "value_churn", "loss")


def compute_at_once() -> None:
    """Have JAX compute in the thread that asks, which is several times as fast for one small step.

    It heeds this only before it has computed anything in this process, and on the CPU.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def hosted(
    environment: HostEnvironment,
    agent: AgentConfig,
    decide: Callable,
    rows_of: Callable,
    improve: Callable,
) -> Programs:
    """The programs of an agent that acts in `environment` and learns after every rollout.

    They are functions of Python: the same arguments give the same bits, but they cannot be
    `vmap`ped. A task whose loss stops being finite ends there, and its record has no more to tell.

    **Arguments:**

    - `decide(learner, key, observations) -> (actions, more)`: `more` is not what it was while
      acting but what it is for the whole rollout at once, which differs by rounding.
    - `rows_of(learner, rollout) -> rows`, `improve(learner, rollout, rows, key) -> (learner,
      Record)`: see `ppo`.
    """

    @jax.jit
    def choose(learner: Learner, world: World, key, observations):
        look = jax.vmap(lambda observation: seen(world, observation))
        return decide(learner, jax.random.wrap_key_data(key), look(observations))[0]

    def complete(learner: Learner, world: World, rollout: Rollout) -> Rollout:
        look = jax.vmap(jax.vmap(lambda observation: seen(world, observation)))
        observations, following = look(rollout.observations), look(rollout.following)
        unused = jax.random.key(0)
        decisions = jax.vmap(lambda rows: decide(learner, unused, rows)[1])(observations)
        return rollout._replace(observations=observations, following=following, decisions=decisions)

    @jax.jit
    def shuffled(learner: Learner, world: World, rollout: Rollout, key: PRNGKey) -> Batch:
        rows = rows_of(learner, complete(learner, world, rollout))
        order = jax.random.permutation(key, agent.seats * agent.rollout)
        return jax.tree.map(lambda array: array[order], rows)

    @jax.jit
    def learn(learner: Learner, world: World, rollout: Rollout, rows: Batch, key: PRNGKey):
        return improve(learner, complete(learner, world, rollout), rows, key)

    def take(world: World, key: PRNGKey) -> Seats:
        seeds = np.asarray(jax.random.bits(key, (agent.seats,), jnp.uint32))
        return Seats(environment, world.physics, seeds)

    def collect(learner: Learner, world: World, seats: Seats, key: PRNGKey) -> Rollout:
        keys = np.asarray(jax.random.key_data(jax.random.split(key, agent.rollout)))
        acts = learner._replace(opt_state=(), penalties=(), interventions=())  # less to hand over
        act = lambda step, observations: choose(acts, world, keys[step], observations)
        return seats.act(act, agent.rollout)

    def opening(learner: Learner, world: World, key: PRNGKey) -> Batch:
        sit, move, mix = jax.random.split(key, 3)
        with take(world, sit) as seats:
            rollout = collect(learner, world, seats, move)
        return shuffled(learner, world, rollout, mix)

    def live(learner: Learner, world: World, rows: Batch, key: PRNGKey):
        sit, key = jax.random.split(key)
        told: list[Record] = []
        with take(world, sit) as seats:
            for number in range(agent.iterations):
                own = jax.random.fold_in(key, number)
                rollout = collect(learner, world, seats, jax.random.fold_in(own, 0))
                learner, record = learn(learner, world, rollout, rows, jax.random.fold_in(own, 1))
                told.append(jax.tree.map(np.asarray, record))
                if told[-1].diverged_step >= 0:
                    break
        told += [_nothing(told[0])] * (agent.iterations - len(told))
        return learner, jax.tree.map(lambda *entries: jnp.asarray(np.stack(entries)), *told)

    chosen = jax.jit(lambda learner, key, observations: decide(learner, key, observations)[0])
    return Programs(chosen, opening, live)


def _nothing(like: Record) -> Record:
    """The record of an iteration that was not lived."""
    unknown = {name: np.full_like(getattr(like, name), np.nan) for name in _NUMBERS}
    none, never = np.zeros_like(like.episodes), np.full_like(like.diverged_step, -1)
    return like._replace(episodes=none, diverged_step=never, **unknown)

"""What an agent's configuration compiles to: the functions that its runs share, whatever the seed.

A task is one compiled program: acting in all seats and learning from it, so many times over. Its
updates are those of `training.trainer`, the same as on data, with the rollout for a data set; so
penalties, interventions and methods are the same as well.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from neoteny import measuring, methods, networks, probes
from neoteny.config import AgentConfig, NetworkConfig, ProbesConfig, RunConfig, Setting
from neoteny.errors import UserError
from neoteny.machine import network_of, optimiser_of, refuse_idle, rehearse
from neoteny.measuring import Observer
from neoteny.methods import Method
from neoteny.rl.algorithm import Algorithm, Record
from neoteny.rl.dqn import dqn
from neoteny.rl.host import AnyEnvironment
from neoteny.rl.normaliser import at_task_change, normalised
from neoteny.rl.ppo import ppo
from neoteny.rl.registry import constructor, make_environment, make_worlds
from neoteny.rl.worlds import Worlds
from neoteny.training import Trainer, trainer
from neoteny.types import Batch, Learner, Network

ALGORITHMS: dict[str, Callable[[AnyEnvironment, AgentConfig], Algorithm]] = {
    "ppo": ppo,
    "dqn": dqn,
}
"""By the name of `agent.kind`."""


class AgentMachine(NamedTuple):
    """An agent with what trains it and what watches it.

    - `choose(learner, key, observations) -> actions`: as it acts once it has learnt.
    - `opening(learner, world, key) -> rows`: a rollout from new episodes, in random order, as it
      would be learnt from.
    - `live(learner, world, rows, key) -> (learner, Record)`: one task, whose opening rows these
      are.
    - `loss`: of each row, from the network's outputs and what is known of the act.
    - `steps`: of gradient in a task; `opening_rows`: that `opening` gives.
    """

    network: Network
    loss: Callable
    trainer: Trainer
    observer: Observer
    choose: Callable[..., Any]
    opening: Callable[..., Batch]
    live: Callable[..., tuple[Learner, Record]]
    steps: int
    opening_rows: int


def prepare(config: RunConfig) -> tuple[Worlds, AgentMachine]:
    """Everything a run needs, built and checked but not yet compiled."""
    setting = config.setting
    name = setting.stream.environment or ""
    environment = make_environment(name)
    worlds = make_worlds(setting.stream.rule, environment, setting.stream.options)
    return worlds, _machine(
        setting.model_dump_json(),
        config.method,
        methods.METHODS.get(config.method),
        tuple(sorted(config.hyperparameters.items())),
        constructor(name),
        tuple(probes.PROBES.items()),
    )


@lru_cache(maxsize=64)
def _machine(
    setting_json: str,
    method_name: str,
    recipe: Callable[..., Method] | None,
    hyperparameters: tuple[tuple[str, Any], ...],
    constructor: Callable[[], AnyEnvironment],
    known_probes: tuple,
) -> AgentMachine:
    del recipe  # a redefined method must not meet the old one's machine
    setting = Setting.model_validate_json(setting_json)
    training, agent = setting.training, _agent(setting)
    environment = constructor()
    algorithm = ALGORITHMS[agent.kind](environment, agent)
    _refuse(setting, algorithm.rows)
    method = methods.make(method_name, dict(hyperparameters))
    an_update = algorithm.rows // training.batch * training.epochs
    steps = an_update * agent.iterations
    network, observer = _observed(
        setting.network.model_dump_json(),
        tuple(sorted(method.network.items())),
        agent.model_dump_json(),
        setting.probes.model_dump_json(),
        constructor,
        training.learning_rate,
        steps,
        known_probes,
    )
    optimiser = optimiser_of(training, method)
    penalties = method.penalties(network)
    interventions = method.interventions(network, optimiser)
    refuse_idle(method_name, interventions, an_update)
    shown = lambda count: Batch(jnp.zeros((count, *environment.observation_shape)), None)  # pyright: ignore[reportArgumentType]
    rehearse(network, optimiser, penalties, interventions, shown, training.batch)
    parts = trainer(
        network,
        algorithm.loss,
        optimiser,
        penalties,
        interventions,
        batch=training.batch,
        epochs=training.epochs,
        reset_optimiser=training.optimiser_state == "reset",
        shuffle=training.order == "shuffled",
        right=lambda outputs, labels: 0,
        attack=method.attack,
    )
    programs = algorithm.programs(network, parts)

    @jax.jit
    def begin(learner: Learner, rows: Batch, key) -> Learner:
        return parts.begin(at_task_change(learner, agent.normaliser), rows, key)

    compiled = Trainer(parts.initialise, begin, parts.learn)
    return AgentMachine(
        network, algorithm.loss, compiled, observer, *programs, steps, algorithm.opening_rows
    )


@lru_cache(maxsize=64)
def _observed(
    network_json: str,
    options: tuple[tuple[str, Any], ...],
    agent_json: str,
    probes_json: str,
    constructor: Callable[[], AnyEnvironment],
    learning_rate: float,
    steps: int,
    known_probes: tuple,
) -> tuple[Network, Observer]:
    """A network and its compiled measurements, shared by all methods that use it as it is."""
    del known_probes  # nor must a redefined probe meet the old one
    config = NetworkConfig.model_validate_json(network_json)
    agent = AgentConfig.model_validate_json(agent_json)
    environment = constructor()
    algorithm = ALGORITHMS[agent.kind](environment, agent)
    parts = {
        name: network_of(config, dict(options), environment.observation_shape, outputs)
        for name, outputs in algorithm.outputs.items()
    }
    network = networks.side_by_side(parts, log_std=algorithm.log_std, deviation=agent.deviation)
    if agent.normaliser != "none":
        network = normalised(network, environment.observation_shape)
    network = network._replace(init=jax.jit(network.init))
    return network, measuring.observer(
        network,
        algorithm.loss,
        ProbesConfig.model_validate_json(probes_json),
        learning_rate=learning_rate,
        steps=steps,
        of_any_loss=True,
    )


def _agent(setting: Setting) -> AgentConfig:
    assert setting.agent is not None
    return setting.agent


def _refuse(setting: Setting, rows: int) -> None:
    training, agent = setting.training, _agent(setting)
    most = min(rows, agent.replay) if agent.kind == "dqn" else rows
    if training.batch > most:
        raise UserError(
            f"`training.batch` is {training.batch}, but {_source(agent, rows)}. Pass `--set "
            f"training.batch={max(1, most // 4)}` or any number up to {most}."
        )
    if agent.kind == "dqn" and training.epochs != 1:
        raise UserError(
            f"`training.epochs` is {training.epochs}, but `dqn` draws the rows that it learns from "
            "anew each time. Pass `--set training.epochs=1`, and to learn more from each act "
            f"`--set agent.reuse={agent.reuse * training.epochs}`."
        )
    if training.head != "shared" or training.augmentation != "none":
        raise UserError(
            f"`training.head` is {training.head} and `training.augmentation` "
            f"{training.augmentation}, which an agent has not. Pass `--set training.head=shared` "
            "and `--set training.augmentation=none`."
        )
    if setting.stream.shrink != 1 or setting.stream.rows is not None:
        raise UserError(
            "`stream.rows` and `stream.shrink` are of data sets, and an agent has none. Leave "
            "them out."
        )


def _source(agent: AgentConfig, rows: int) -> str:
    """What an agent's mini-batches are taken from, in words."""
    if agent.kind == "dqn":
        return (
            f"an agent learns from {rows} rows at a time, `agent.reuse` for each act, of a replay "
            f"that holds {agent.replay}"
        )
    return f"an agent learns from {rows} rows at a time: `agent.seats` times `agent.rollout`"

"""What a configuration compiles to: the functions that its runs share, whatever their seed."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

from neoteny import measuring, methods, networks, probes, streams
from neoteny.config import NetworkConfig, ProbesConfig, RunConfig, Setting, TrainingConfig
from neoteny.errors import UserError, unknown
from neoteny.interventions import MASKED, Intervention, Penalty, elementwise_adam, renew_head
from neoteny.losses import LOSSES
from neoteny.measuring import Observer
from neoteny.methods import Method
from neoteny.training import Trainer, trainer
from neoteny.types import Batch, Learner, Network, Stream


class Machine(NamedTuple):
    """A network with what trains it and what watches it.

    `steps` are those of one whole task, `num_classes` the outputs, `head` what becomes of them
    when the task changes.
    """

    network: Network
    trainer: Trainer
    observer: Observer
    steps: int
    num_classes: int
    head: str = "shared"

    @property
    def masked(self) -> bool:
        """Whether only the outputs of a task's classes count."""
        return self.head in MASKED


def prepare(config: RunConfig, data: Path | str | None = None) -> tuple[Stream, Machine]:
    """Everything a run needs, built and checked but not yet compiled."""
    setting = config.setting
    dataset = _dataset(setting.stream.dataset, setting.stream.rows, str(data) if data else None)
    stream = streams.make(setting.stream.rule, dataset)
    rows = len(dataset.train.labels)
    if setting.training.batch > rows:
        raise UserError(
            f"`training.batch` is {setting.training.batch}, but a task of `{config.stream}` has "
            f"{rows} training rows. Pass `--set training.batch={min(rows, 16)}` or any number up "
            f"to {rows}."
        )
    visits = rows // setting.training.batch * setting.training.batch * setting.training.epochs
    if visits >= 2**31:
        raise UserError(
            f"`training.epochs` is {setting.training.epochs}, which visits {visits:,} rows in one "
            "task; a task holds its order in memory and may have up to 2**31. Use more tasks."
        )
    return stream, _machine(
        setting.model_dump_json(),
        config.method,
        methods.METHODS.get(config.method),
        tuple(sorted(config.hyperparameters.items())),
        dataset.train.inputs[0].size,
        dataset.num_classes,
        rows,
        tuple(probes.PROBES.items()),
    )


@lru_cache(maxsize=8)
def _dataset(name: str, rows: int | None, folder: str | None):
    dataset = streams.load(name, folder=folder)
    return dataset if rows is None else streams.subset(dataset, rows)


@lru_cache(maxsize=64)
def _machine(
    setting_json: str,
    method_name: str,
    recipe: Callable[..., Method] | None,
    hyperparameters: tuple[tuple[str, Any], ...],
    num_inputs: int,
    num_classes: int,
    rows: int,
    known_probes: tuple,
) -> Machine:
    del recipe  # a redefined method must not meet the old one's machine
    setting = Setting.model_validate_json(setting_json)
    training = setting.training
    method = methods.make(method_name, dict(hyperparameters))
    steps = rows // training.batch * training.epochs
    network, observer = _observed(
        setting.network.model_dump_json(),
        tuple(sorted(method.network.items())),
        training.loss,
        setting.probes.model_dump_json(),
        num_inputs,
        num_classes,
        training.learning_rate,
        steps,
        known_probes,
    )
    optimiser = _optimiser(training, method)
    penalties = method.penalties(network)
    interventions = method.interventions(network, optimiser)
    _refuse_idle(method_name, interventions, steps)
    _rehearse(network, optimiser, penalties, interventions, num_inputs, training.batch)
    parts = trainer(
        network,
        LOSSES[training.loss],
        optimiser,
        penalties,
        interventions,
        batch=training.batch,
        epochs=training.epochs,
        reset_optimiser=training.optimiser_state == "reset",
        head=renew_head(network, optimiser, training.head),
        augment=None,
    )
    compiled = Trainer(parts.initialise, jax.jit(parts.begin), jax.jit(parts.learn))
    return Machine(network, compiled, observer, steps, num_classes, training.head)


@lru_cache(maxsize=64)
def _observed(
    network_json: str,
    options: tuple[tuple[str, Any], ...],
    loss: str,
    probes_json: str,
    num_inputs: int,
    num_classes: int,
    learning_rate: float,
    steps: int,
    known_probes: tuple,
) -> tuple[Network, Observer]:
    """A network and its compiled measurements, shared by all methods that use it as it is."""
    del known_probes  # nor must a redefined probe meet the old one
    config = NetworkConfig.model_validate_json(network_json)
    network = _network(config, dict(options), num_inputs, num_classes)
    plan = ProbesConfig.model_validate_json(probes_json)
    return network, measuring.observer(
        network, LOSSES[loss], plan, learning_rate=learning_rate, steps=steps
    )


def _refuse_idle(method: str, interventions: Sequence[Intervention], steps: int) -> None:
    """An intervention that never falls due would make its method plain backprop in silence."""
    late = max((part.period for part in interventions), default=0)
    if late > steps:
        raise UserError(
            f"`{method}` acts every {late} mini-batches, but a task has {steps}. Act sooner, "
            f"as with `--set hyperparameters.{method}.every={steps}`, or give a task more of them."
        )


def _rehearse(
    network: Network,
    optimiser: optax.GradientTransformation,
    penalties: Sequence[Penalty],
    interventions: Sequence[Intervention],
    num_inputs: int,
    batch: int,
) -> None:
    """Show each part of a method the shapes it will meet, so that what it refuses is said now."""

    def trace(key):
        learner = Learner(params := network.init(key), optimiser.init(params))
        for part in penalties:
            inputs = jax.numpy.zeros((batch, num_inputs))
            part.apply(params, network.apply(params, inputs)[1], part.init(params))
        for part in interventions:
            size = batch * max(1, part.period)
            labels = jax.numpy.zeros(size, jax.numpy.int32)
            rows = Batch(jax.numpy.zeros((size, num_inputs)), labels)
            features = network.apply(params, rows.inputs)[1]
            part.apply(learner, part.init(params), key=key, batch=rows, features=features)

    jax.eval_shape(trace, jax.random.key(0))


def _network(config: NetworkConfig, changes: dict[str, Any], inputs: int, classes: int) -> Network:
    if config.kind not in networks.NETWORKS:
        raise unknown("network", config.kind, networks.NETWORKS)
    options = {
        "widths": config.widths,
        "activation": config.activation,
        "layer_norm": config.layer_norm,
        "initialiser": config.initialiser,
    }
    network = networks.NETWORKS[config.kind]((inputs,), classes, **(options | changes))
    return network._replace(init=jax.jit(network.init))  # one compilation, not one per draw


def _optimiser(config: TrainingConfig, method: Method) -> optax.GradientTransformation:
    rate = config.learning_rate
    if config.optimiser == "sgd":
        base = optax.sgd(rate)
    elif config.optimiser == "momentum":
        base = optax.sgd(rate, momentum=config.momentum)
    elif method.surgery:
        base = elementwise_adam(rate, beta1=config.beta1, beta2=config.beta2)
    else:
        base = optax.adam(rate, b1=config.beta1, b2=config.beta2)
    if config.optimiser == "adamw":
        # after Adam's rescaling, so the decay is not rescaled with it
        base = optax.chain(base, optax.add_decayed_weights(-rate * config.decoupled_decay))
    return base if method.gradient is None else optax.chain(method.gradient, base)

"""What a configuration compiles to: the functions that its runs share, whatever their seed."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

from neoteny import measuring, methods, networks, probes, streams
from neoteny.config import (
    NetworkConfig,
    ProbesConfig,
    RunConfig,
    Setting,
    StreamConfig,
    TrainingConfig,
)
from neoteny.errors import UserError
from neoteny.interventions import MASKED, Intervention, Penalty, elementwise_adam, renew_head
from neoteny.losses import LOSSES
from neoteny.measuring import Observer
from neoteny.methods import Method
from neoteny.training import Trainer, trainer
from neoteny.types import Batch, Learner, Network, Stream, Task, forward


class Machine(NamedTuple):
    """A network with what trains it and what watches it.

    `steps` are those of one whole task, `num_classes` the outputs, `head` what becomes of them
    when the task changes, `numeric` whether labels are numbers, of which no accuracy is to be had.
    """

    network: Network
    trainer: Trainer
    observer: Observer
    steps: int
    num_classes: int
    head: str = "shared"
    numeric: bool = False

    @property
    def masked(self) -> bool:
        """Whether only the outputs of a task's classes count."""
        return self.head in MASKED


def prepare(config: RunConfig, data: Path | str | None = None) -> tuple[Stream, Machine]:
    """Everything a run needs, built and checked but not yet compiled."""
    setting = config.setting
    source = setting.stream
    dataset = _dataset(source.dataset, source.rows, source.shrink, str(data) if data else None)
    stream, task, smallest = _stream(
        source.model_dump_json(),
        str(data) if data else None,
        streams.STREAMS.get(source.rule),
        min(config.tasks, _LOOKED_AT),
    )
    rows, count = task.train, len(task.train.labels)
    if setting.training.batch > count:
        raise UserError(
            f"`training.batch` is {setting.training.batch}, but a task of `{config.stream}` has "
            f"{count} training rows. Pass `--set training.batch={min(count, 16)}` or any number up "
            f"to {count}."
        )
    if setting.training.batch > smallest:
        raise UserError(
            f"`training.batch` is {setting.training.batch}, but the smallest task of "
            f"`{config.stream}` has {smallest} training rows, and would be learnt in no step. Pass "
            f"`--set training.batch={min(smallest, 16)}` or any number up to {smallest}."
        )
    if setting.training.head in MASKED and task.classes is None:
        raise UserError(
            f"`training.head` is {setting.training.head}, but `{setting.stream.rule}` does not "
            "tell which outputs count in a task. Pass `--set training.head=shared`, `zeroed` or "
            "`fresh`."
        )
    visits = count // setting.training.batch * setting.training.batch * setting.training.epochs
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
        Rows(count, rows.inputs.shape[1:], str(rows.inputs.dtype), str(rows.labels.dtype)),
        _image_shape(dataset.image_shape, rows.inputs.shape[1:]),
        dataset.num_classes if task.classes is None else len(task.classes),
        tuple(probes.PROBES.items()),
        smallest // setting.training.batch * setting.training.epochs,
    )


_LOOKED_AT = 20  # tasks, for the smallest: streams that grow begin small


@lru_cache(maxsize=16)
def _stream(
    source_json: str, folder: str | None, rule: Callable[..., Stream] | None, tasks: int
) -> tuple[Stream, Task, int]:
    """A stream, the shapes of its tasks, and the training rows of the smallest of the first."""
    del rule  # a redefined rule must not meet the old one's stream
    source = StreamConfig.model_validate_json(source_json)
    dataset = _dataset(source.dataset, source.rows, source.shrink, folder)
    stream = streams.make(source.rule, dataset, source.options)
    task = streams.shapes(stream)
    if task.prefix is None:
        return stream, task, len(task.train.labels)
    told = jax.jit(lambda key, index: stream(key, index).prefix)
    prefixes = [told(jax.random.key(0), index) for index in range(tasks)]
    return stream, task, min(int(prefix.train) for prefix in prefixes)


def _image_shape(
    of_dataset: tuple[int, int, int] | None, of_row: tuple[int, ...]
) -> tuple[int, int, int] | None:
    """That of the data set's images, where a task's rows still are such images."""
    fits = of_dataset is not None and prod(of_dataset) == prod(of_row)
    return of_dataset if fits else None


class Rows(NamedTuple):
    """The rows of a task: how many, of what shape, and of what types."""

    count: int
    shape: tuple[int, ...]
    inputs: str
    labels: str

    def batch(self, size: int) -> Batch:
        """So many rows of zeros, to show what shapes there will be."""
        return Batch(
            jax.numpy.zeros((size, *self.shape), self.inputs),
            jax.numpy.zeros(size, self.labels),
        )

    @property
    def numeric(self) -> bool:
        """Whether labels are numbers to come near to, rather than classes."""
        return self.labels.startswith("float")


@lru_cache(maxsize=8)
def _dataset(name: str, rows: int | None, shrink: int, folder: str | None):
    dataset = streams.load(name, folder=folder)
    dataset = dataset if rows is None else streams.subset(dataset, rows)
    return dataset if shrink == 1 else streams.shrunk(dataset, shrink)


@lru_cache(maxsize=64)
def _machine(
    setting_json: str,
    method_name: str,
    recipe: Callable[..., Method] | None,
    hyperparameters: tuple[tuple[str, Any], ...],
    rows: Rows,
    image_shape: tuple[int, int, int] | None,
    num_classes: int,
    known_probes: tuple,
    fewest_steps: int,
) -> Machine:
    del recipe  # a redefined method must not meet the old one's machine
    setting = Setting.model_validate_json(setting_json)
    training = setting.training
    method = methods.make(method_name, dict(hyperparameters))
    _refuse_loss(training.loss, rows, training.head)
    steps = rows.count // training.batch * training.epochs
    network, observer = _observed(
        setting.network.model_dump_json(),
        tuple(sorted(method.network.items())),
        training.loss,
        setting.probes.model_dump_json(),
        image_shape or rows.shape,
        num_classes,
        training.learning_rate,
        steps,
        known_probes,
    )
    _refuse_uncounted(setting, method_name, method)
    optimiser = optimiser_of(training, method)
    penalties = method.penalties(network)
    interventions = method.interventions(network, optimiser)
    refuse_idle(method_name, interventions, fewest_steps)
    _refuse_lone_rows(network, training)
    rehearse(network, optimiser, penalties, interventions, rows.batch, training.batch)
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
        augment=_augmentation(training.augmentation, rows.shape, image_shape),
        shuffle=training.order == "shuffled",
        attack=method.attack,
    )
    compiled = Trainer(parts.initialise, jax.jit(parts.begin), jax.jit(parts.learn))
    return Machine(network, compiled, observer, steps, num_classes, training.head, rows.numeric)


@lru_cache(maxsize=64)
def _observed(
    network_json: str,
    options: tuple[tuple[str, Any], ...],
    loss: str,
    probes_json: str,
    shape: tuple[int, ...],
    num_classes: int,
    learning_rate: float,
    steps: int,
    known_probes: tuple,
) -> tuple[Network, Observer]:
    """A network and its compiled measurements, shared by all methods that use it as it is."""
    del known_probes  # nor must a redefined probe meet the old one
    config = NetworkConfig.model_validate_json(network_json)
    network = network_of(config, dict(options), shape, num_classes)
    plan = ProbesConfig.model_validate_json(probes_json)
    return network, measuring.observer(
        network, LOSSES[loss], plan, learning_rate=learning_rate, steps=steps
    )


def refuse_idle(method: str, interventions: Sequence[Intervention], steps: int) -> None:
    """An intervention that never falls due would make its method plain backprop in silence."""
    late = max((part.period for part in interventions), default=0)
    if late > steps:
        raise UserError(
            f"`{method}` acts every {late} mini-batches, but a task has {steps}. Act sooner, "
            f"as with `--set hyperparameters.{method}.every={steps}`, or give a task more of them."
        )


def rehearse(
    network: Network,
    optimiser: optax.GradientTransformation,
    penalties: Sequence[Penalty],
    interventions: Sequence[Intervention],
    shown: Callable[[int], Batch],
    batch: int,
) -> None:
    """Show each part of a method the shapes it will meet, so that what it refuses is said now."""

    def seen(params, batch: Batch, key):
        outputs, features, _ = forward(network, params, batch.inputs, network.state, key)
        return outputs, features

    def trace(key):
        params = network.init(key)
        learner = Learner(params, optimiser.init(params), network_state=network.state)
        for part in penalties:
            rows = shown(batch)
            outputs, features = seen(params, rows, key)
            signals = {"outputs": outputs, "batch": rows, "reference": rows}
            signals |= {"loss": outputs.mean(), "network_state": network.state}
            part.apply(params, features, part.init(params), **signals)
        for part in interventions:
            rows = shown(batch * max(1, part.period))
            signals = {"key": key, "batch": rows, "features": seen(params, rows, key)[1]}
            _, state = part.apply(learner, part.init(params), **signals)
            if part.begin is not None:
                part.begin(learner, state, **signals)
        if not (penalties or interventions):
            seen(params, shown(batch), key)

    jax.eval_shape(trace, jax.random.key(0))


def _refuse_lone_rows(network: Network, training: TrainingConfig) -> None:
    normalises = any(place.path[-1] == "var" for one in network.units for place in one.statistics)
    if network.train is not None and normalises and training.batch == 1:
        raise UserError(
            "`training.batch` is 1, but this network normalises each unit over its mini-batch, "
            "of which one row says nothing. Pass `--set training.batch=16`, or another norm "
            "(`--set network.options.norm=group`)."
        )


def _refuse_uncounted(setting: Setting, name: str, method: Method) -> None:
    """Dropout by counts that nobody moves on would drop nothing, in silence."""
    if setting.network.options.get("dropout") and not method.network.get("dropout"):
        raise UserError(
            f"`network.options.dropout` goes by how often units won in past tasks, which `{name}` "
            "does not count. Use the method `heterogeneous_dropout`, or `gpm` with "
            "`--set hyperparameters.gpm.dropout=0.5`."
        )


def _refuse_loss(loss: str, rows: Rows, head: str) -> None:
    if rows.numeric and loss != "squared-error":
        raise UserError(
            f"`training.loss` is {loss}, but the labels of this stream are numbers. Pass "
            "`--set training.loss=squared-error`."
        )
    if head in MASKED and loss != "cross-entropy":
        raise UserError(
            f"`training.head` is {head}, which leaves outputs out of a softmax, but "
            f"`training.loss` is {loss}. Pass `--set training.loss=cross-entropy`, or another head."
        )


def _augmentation(name: str, shape: tuple[int, ...], image_shape) -> Callable | None:
    if name == "none":
        return None
    if image_shape is None:
        raise UserError(
            f"`training.augmentation` is {name}, but rows of {shape} are not known to be images. "
            "Pass `--set training.augmentation=none`, or a data set of images."
        )

    def augment(key, inputs):
        return streams.crop_and_flip(key, inputs.reshape(-1, *image_shape)).reshape(inputs.shape)

    return augment


def network_of(
    config: NetworkConfig, changes: dict[str, Any], shape: tuple[int, ...], classes: int
) -> Network:
    """The network of a configuration, with the options that a method changes."""
    own = {"widths": config.widths, "activation": config.activation}
    own |= {"initialiser": config.initialiser}
    options = {name: value for name, value in own.items() if value is not None}
    options |= {"layer_norm": config.layer_norm} | config.options | changes
    network = networks.make(config.kind, shape, classes, options)
    return network._replace(init=jax.jit(network.init))  # one compilation, not one per draw


def optimiser_of(config: TrainingConfig, method: Method) -> optax.GradientTransformation:
    """The optimiser of a configuration, with what the method does to gradients ahead of it."""
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
    if method.gradient is not None:
        base = optax.chain(method.gradient, base)
    if config.gradient_clip:  # of the loss alone, before any decay
        base = optax.chain(optax.clip_by_global_norm(config.gradient_clip), base)
    return base

"""The words every part shares: what a network, a task, a learner and a snapshot are."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, Num, PRNGKeyArray, PyTree, Scalar

Params = PyTree[Float[Array, "..."]]
"""Any pytree of floating-point arrays: a dict, a list of layers, an Equinox module's arrays."""

PRNGKey = PRNGKeyArray
Loss = Callable[[Params], Scalar]
"""Parameters to a scalar; the data are closed over."""

State = PyTree
Features = tuple[Float[Array, "_ _"], ...]
"""What the next layers read of each hidden layer, first layer first: one column for each unit.

Rows are those of the batch; where units are channels or act on tokens, each place in the image or
sequence is a row of its own, and after a pooling each place that it leaves.
"""


class Batch(NamedTuple):
    """Rows of a classification problem; or of regression, where labels are floats.

    Inputs are floats, in [0, 1] for images, or bytes, which every network reads as 255ths.
    """

    inputs: Num[Array, "rows *shape"]
    labels: Num[Array, " rows"]


def as_floats(inputs: Num[Array, "rows *shape"]) -> Float[Array, "rows *shape"]:
    """Inputs as numbers to compute with: bytes become 255ths, floats stay as they are."""
    return inputs.astype(jnp.float32) / 255 if inputs.dtype == jnp.uint8 else inputs


class Prefix(NamedTuple):
    """How many rows of a task's arrays are in it, the first ones; so that a growing task keeps
    its shape, and what is compiled for it fits all.

    `newest` is the first training row of what this task has and the one before had not.
    """

    train: Int[Array, ""] | int
    heldout: Int[Array, ""] | int
    newest: Int[Array, ""] | int


class Task(NamedTuple):
    """What there is to learn before the stream changes.

    - `heldout`: `None` where unseen rows cannot be predicted, as with random labels.
    - `classes`: which outputs count, in loss and accuracy; `None` for all. Its length is the
      number of outputs that the network needs, otherwise as many as the data set has classes.
    - `prefix`: which rows count; `None` for all.
    """

    train: Batch
    heldout: Batch | None
    classes: Bool[Array, " outputs"] | None = None
    prefix: Prefix | None = None


class Dataset(NamedTuple):
    """A fixed problem, from which a stream makes its tasks.

    `image_shape` is (height, width, channels) where a row of inputs is an image, flattened or not.
    `groups` says of each class which group of classes it is of, counted from 0, such as the
    alphabet of a letter; `None` where classes form none. Inputs of a data set that is large beside
    this machine's memory are a NumPy array mapped from a file: index them, never copy them whole.
    """

    name: str
    train: Batch
    heldout: Batch
    num_classes: int
    image_shape: tuple[int, int, int] | None = None
    groups: tuple[int, ...] | None = None


Stream = Callable[[PRNGKey, int | Integer[Array, ""]], Task]
"""`(key, index) -> Task`: pure and random-access, so task 700 needs no task 0..699."""


class UnitGroup(NamedTuple):
    """Where the units of one hidden layer live in the parameters.

    Surgery on units reads only this, and so knows no architecture. A place is the path of
    an array in the parameter tree (the keys and indices that lead to it) and the axis that
    counts the units.

    - `incoming`: arrays of which a slice belongs to one unit; re-initialising the unit
      draws that slice anew (kernel, bias, and scale and offset of a norm).
    - `outgoing`: arrays through which the next layers read the unit; zeroed with it.
    - `next_biases`: for each array of `outgoing`, the bias its product is added to.
    - `shift`: the array added to the unit just before its activation.
    - `statistics`: arrays of the network's state (running means) of which an entry belongs to one
      unit; a replaced unit's return to their first value.
    """

    name: str
    size: int
    incoming: tuple["Place", ...]
    outgoing: tuple["Place", ...]
    next_biases: tuple[tuple[str | int, ...], ...]
    shift: tuple[str | int, ...]
    statistics: tuple["Place", ...] = ()


class Place(NamedTuple):
    """One array of the parameters and the axis of it that counts a layer's units.

    Where the axis is that of a flattened image, all units come again for each of its `places`:
    row, column, then channel, as images lie here, so the unit is the fastest.
    """

    path: tuple[str | int, ...]
    axis: int
    places: int = 1


class Network(NamedTuple):
    """An architecture as pure functions, and a map of its units.

    - `init(key) -> params`
    - `apply(params, inputs) -> (outputs, features)`: outputs are logits `(rows, classes)`;
      `features` has one matrix for each entry of `units`, in the same order. A network that has
      a `state` takes it as a third argument, and without it goes by the first: see `bound`.
    - `head`: the path of the output layer, a sub-tree of the parameters.
    - `state`: the first value of what the network remembers and no gradient reaches, such as
      running statistics of batches; `()` for most. Decay, penalties and curvature leave it alone.
    - `train(params, inputs, state, key) -> (outputs, features, state)`: while learning, where that
      is another function than `apply`; `None` where it is not.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[..., tuple[Float[Array, "rows outputs"], Features]]
    units: tuple[UnitGroup, ...]
    head: tuple[str | int, ...] = ()
    state: State = ()
    train: Callable[..., tuple[Float[Array, "rows outputs"], Features, State]] | None = None


def forward(
    network: Network, params: Params, inputs: Num[Array, "rows *shape"], state: State, key: PRNGKey
) -> tuple[Float[Array, "rows outputs"], Features, State]:
    """Outputs and features as while learning, and the network's state after it."""
    if network.train is None:
        return *network.apply(params, inputs), state
    return network.train(params, inputs, state, key)


class View(NamedTuple):
    """What else than parameters decides a network's outputs: its state, and which outputs count."""

    state: State = ()
    classes: Bool[Array, " outputs"] | None = None


def bound(network: Network, view: View) -> Network:
    """`network` as this view has it: `apply` of parameters and inputs alone, for measuring."""
    apply = network.apply
    if network.train is not None:
        apply = lambda params, inputs: network.apply(params, inputs, view.state)
    if view.classes is None:
        return network._replace(apply=apply, train=None)

    def apply_masked(params, inputs):
        outputs, features = apply(params, inputs)
        return masked(outputs, view.classes), features

    return network._replace(apply=apply_masked, train=None)


def masked(
    outputs: Float[Array, "rows outputs"], classes: Bool[Array, " outputs"] | None
) -> Float[Array, "rows outputs"]:
    """Logits of which those that do not count have no share in any softmax, nor a gradient."""
    return outputs if classes is None else jnp.where(classes[None], outputs, -1e9)


class Learner(NamedTuple):
    """Everything that training changes; what a checkpoint holds.

    `penalties` and `interventions` are the states of the method's parts, in order;
    `network_state` is the network's own.
    """

    params: Params
    opt_state: State
    penalties: tuple[State, ...] = ()
    interventions: tuple[State, ...] = ()
    network_state: State = ()


class Snapshot(NamedTuple):
    """What a probe may look at: one instant of a run, with fixed rows to look through.

    - `batch`: the probe's rows, of the task the snapshot belongs to.
    - `params`: the parameters now; `start`: those at the start of this task.
    - `loss`: maps parameters to the mean task loss on `batch`, without any penalty.
    - `key`: the probe's own randomness; nothing of it touches training.
    - `learning_rate`, `steps`: the budget that a task is learnt with; NaN and 0 if unknown.
    - `classes`: which outputs count; `None` for all. The `network` masks the others already.
    """

    network: Network
    batch: Batch
    params: Params
    start: Params
    loss: Loss
    key: PRNGKey
    learning_rate: float = float("nan")
    steps: int = 0
    classes: Bool[Array, " outputs"] | None = None


Probe = Callable[[Snapshot], Any]
"""`snapshot -> NamedTuple` of scalars, or of vectors with one entry for each hidden layer."""

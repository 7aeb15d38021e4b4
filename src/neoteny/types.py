"""The words every part shares: what a network, a task, a learner and a snapshot are."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Scalar

Params = PyTree[Float[Array, "..."]]
"""Any pytree of floating-point arrays: a dict, a list of layers, an Equinox module's arrays."""

PRNGKey = PRNGKeyArray
Loss = Callable[[Params], Scalar]
"""Parameters to a scalar; the data are closed over."""

State = PyTree
Features = tuple[Float[Array, "rows _"], ...]
"""Post-activation matrices of the hidden layers, first layer first."""


class Batch(NamedTuple):
    """Rows of a classification problem; inputs are floats, in [0, 1] for images."""

    inputs: Float[Array, "rows *shape"]
    labels: Int[Array, " rows"]


class Task(NamedTuple):
    """What there is to learn before the stream changes.

    `heldout` is `None` where unseen rows cannot be predicted, as with random labels.
    """

    train: Batch
    heldout: Batch | None


class Dataset(NamedTuple):
    """A fixed problem, from which a stream makes its tasks."""

    name: str
    train: Batch
    heldout: Batch
    num_classes: int


Stream = Callable[[PRNGKey, int], Task]
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
    """

    name: str
    size: int
    incoming: tuple["Place", ...]
    outgoing: tuple["Place", ...]
    next_biases: tuple[tuple[str | int, ...], ...]
    shift: tuple[str | int, ...]


class Place(NamedTuple):
    """One array of the parameters and the axis of it that counts a layer's units."""

    path: tuple[str | int, ...]
    axis: int


class Network(NamedTuple):
    """An architecture as two pure functions, and a map of its units.

    - `init(key) -> params`
    - `apply(params, inputs) -> (outputs, features)`: outputs are logits `(rows, classes)`;
      `features` has one matrix for each entry of `units`, in the same order.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[
        [Params, Float[Array, "rows *shape"]], tuple[Float[Array, "rows outputs"], Features]
    ]
    units: tuple[UnitGroup, ...]


class Learner(NamedTuple):
    """Everything that training changes; what a checkpoint holds.

    `penalties` and `interventions` are the states of the method's parts, in order.
    """

    params: Params
    opt_state: State
    penalties: tuple[State, ...] = ()
    interventions: tuple[State, ...] = ()


class Snapshot(NamedTuple):
    """What a probe may look at: one instant of a run, with fixed rows to look through.

    - `batch`: the probe's rows, of the task the snapshot belongs to.
    - `params`: the parameters now; `start`: those at the start of this task.
    - `loss`: maps parameters to the mean task loss on `batch`, without any penalty.
    - `key`: the probe's own randomness; nothing of it touches training.
    - `learning_rate`, `steps`: the budget that a task is learnt with; NaN and 0 if unknown.
    """

    network: Network
    batch: Batch
    params: Params
    start: Params
    loss: Loss
    key: PRNGKey
    learning_rate: float = float("nan")
    steps: int = 0


Probe = Callable[[Snapshot], Any]
"""`snapshot -> NamedTuple` of scalars, or of vectors with one entry for each hidden layer."""

"""What a method may do to a learner: penalties on the loss, interventions between steps."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxtyping import Scalar

from neoteny.errors import UserError
from neoteny.types import Features, Params, PRNGKey, State

TASK_START = 0
"""The period of what acts at the start of each task."""


class Penalty(NamedTuple):
    """A pair of pure functions that adds a term to the task loss.

    - `init(params) -> state`, from the parameters before the first update;
    - `apply(params, features, state, *, outputs, batch, reference, loss, network_state) ->
      (value, state)`, differentiated with respect to `params`; `features`, `outputs` and the task's
      `loss` are those of the mini-batch `batch`, `network_state` is the network's before it.
      `reference` is as many rows of the task again, drawn by themselves.
    """

    init: Callable[[Params], State]
    apply: Callable[..., tuple[Scalar, State]]


Attack = Callable[[Callable[[Any], Scalar], Any, PRNGKey], Any]
"""`(loss, inputs, key) -> inputs`: the rows a network learns from in place of `inputs`, where
`loss(inputs)` is its mean task loss on them now; of the shape of `inputs`."""


class Intervention(NamedTuple):
    """A pair of pure functions that changes a learner between gradient steps.

    - `init(params) -> state`;
    - `apply(learner, state, *, key, batch, features) -> (learner, state)`. `batch` holds the
      rows of the mini-batches since the last call (at a task's start, the new task's rows) and
      `features` the hidden layers on them; both cost nothing where they are not used.
    - `period`: mini-batches from one call to the next, counted from the task's start;
      `TASK_START` for one call at the start of every task but the first.
    - `begin`: of the form of `apply`, called at the start of every task but the first besides, for
      what remembers a task; `None` for most.
    """

    init: Callable[[Params], State]
    apply: Callable[..., tuple[Any, State]]
    period: int = 1
    begin: Callable[..., tuple[Any, State]] | None = None


def refuse_no_hidden_layers(layers: Sequence, what: str) -> None:
    """Say that `what` has nothing to act on; `layers` are a network's unit groups or features."""
    if not layers:
        raise UserError(
            f"{what} acts on hidden layers, but this network has none. Give it some, as with "
            "`--set network.widths=[100,100]`."
        )


def stateless_penalty(value: Callable[[Params, Features], Scalar]) -> Penalty:
    """A penalty of parameters and features that remembers nothing."""
    return Penalty(
        lambda params: (),
        lambda params, features, state, **others: (value(params, features), state),
    )


def every(period: int, intervention: Intervention) -> Intervention:
    """Call `intervention` after every `period` mini-batches of a task.

    The count starts anew with each task, and a shorter rest at a task's end brings no call.
    """
    if period < 1:
        raise UserError(
            f"`period` is {period}, but an intervention acts every 1, 2, ... mini-batches."
        )
    return intervention._replace(period=period)


def at_task_start(intervention: Intervention) -> Intervention:
    """Call `intervention` once at the start of every task but the first."""
    return intervention._replace(period=TASK_START)


def chain(*interventions: Intervention) -> Intervention:
    """Apply several interventions, one after the other, whenever the first one is due.

    **Raises:** `UserError` if they differ in when they act; list them separately instead.
    """
    import jax

    periods = {intervention.period for intervention in interventions}
    if len(periods) != 1:
        raise UserError(
            f"`chain` was given interventions with periods {sorted(periods)}, but it calls all of "
            "them together: put those of one period in one `chain`, or give the method several."
        )

    def init(params):
        return tuple(intervention.init(params) for intervention in interventions)

    def in_turn(acts, learner, state, key, signals):
        states = []
        for index, (act, old) in enumerate(zip(acts, state, strict=True)):
            key_of = jax.random.fold_in(key, index)
            learner, new = act(learner, old, key=key_of, **signals) if act else (learner, old)
            states.append(new)
        return learner, tuple(states)

    def apply(learner, state, *, key, **signals):
        return in_turn([each.apply for each in interventions], learner, state, key, signals)

    def begin(learner, state, *, key, **signals):
        return in_turn([each.begin for each in interventions], learner, state, key, signals)

    remembers = any(each.begin for each in interventions)
    return Intervention(init, apply, periods.pop(), begin if remembers else None)

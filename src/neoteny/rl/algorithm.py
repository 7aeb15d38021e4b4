"""What an agent's algorithm has to say: its network's outputs, its loss, how a task is lived."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, Num

from neoteny.training import Trainer
from neoteny.types import Batch, Learner, Network, View, bound


class Record(NamedTuple):
    """What a task leaves, one entry for each iteration.

    - `returns`: the sum of the returns of episodes that ended in it; `episodes`: how many did.
    - `entropy`: of the policy as it acted, in nats, mean over the rows; of DQN that of
      `epsilon_greedy`.
    - `policy_churn`: how far the update moved the policy on the rows that the task opened with,
      which it did not learn from: Kullback-Leibler divergence, in nats, mean over the rows; of DQN
      the share of rows whose greedy action changed. `value_churn`: mean absolute change of the
      value there; of DQN that of the largest action's.
    - `loss`: mean over the mini-batches, before their steps; NaN where nothing was learnt, as when
      a replay does not hold enough. `diverged_step`: the first step of the update whose loss was
      not finite, or -1.
    """

    returns: Float[Array, " iterations"]
    episodes: Int[Array, " iterations"]
    entropy: Float[Array, " iterations"]
    policy_churn: Float[Array, " iterations"]
    value_churn: Float[Array, " iterations"]
    loss: Float[Array, " iterations"]
    diverged_step: Int[Array, " iterations"]


class Programs(NamedTuple):
    """How an agent acts and learns, compiled for one network and one trainer.

    - `choose(learner, key, observations) -> actions`: as it acts once it has learnt.
    - `opening(learner, world, key) -> rows`: what the agent does from new episodes, in random
      order, as it would be learnt from.
    - `live(learner, world, rows, key) -> (learner, Record)`: one task, whose opening rows these
      are.
    """

    choose: Callable[..., Any]
    opening: Callable[..., Batch]
    live: Callable[..., tuple[Learner, Record]]


class Algorithm(NamedTuple):
    """One way to learn from acting, in one environment.

    - `outputs`: of each network that it asks for, by name; `log_std`: see `side_by_side`.
    - `loss(outputs, labels) -> loss` of each row; what labels are is the algorithm's own affair.
    - `rows`: that it learns from in an iteration, as a data set of `training`; `opening_rows`: so
      many has the rollout that a task opens with.
    - `programs(network, trainer) -> Programs`.
    """

    outputs: Mapping[str, int]
    log_std: int
    loss: Callable
    rows: int
    opening_rows: int
    programs: Callable[[Network, Trainer], Programs]


def outputs_of(
    network: Network, learner: Learner, inputs: Num[Array, "rows *shape"]
) -> Float[Array, "rows outputs"]:
    """What the learner's network says, by its state as by its parameters."""
    return bound(network, View(learner.network_state)).apply(learner.params, inputs)[0]

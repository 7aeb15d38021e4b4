"""What a network with heterogeneous dropout is told of the task's change."""

import jax

from neoteny.errors import UserError
from neoteny.interventions.base import Intervention, at_task_start
from neoteny.types import Network


def count_tasks(network: Network) -> Intervention:
    """At a task's start, add how often each unit won in the last one to its counts of the past.

    **Raises:** `UserError` for a network that counts nothing: one without dropout.
    """
    if not isinstance(network.state, dict) or network.state.keys() != {"past", "task"}:
        raise UserError(
            "Heterogeneous dropout goes by counts that this network does not keep. Pass `--set "
            "network.kind=mlp` and a positive `dropout`."
        )

    def apply(learner, state, *, key, batch, features):
        del key, batch, features
        counts = learner.network_state
        past = jax.tree.map(lambda old, new: old + new, counts["past"], counts["task"])
        task = jax.tree.map(lambda new: new * 0, counts["task"])
        return learner._replace(network_state={"past": past, "task": task}), state

    return at_task_start(Intervention(lambda params: (), apply))

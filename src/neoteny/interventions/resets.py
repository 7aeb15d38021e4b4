"""Starting over, in whole or in part."""

import jax
import optax

from neoteny.interventions.base import Intervention
from neoteny.types import Network


def shrink_and_perturb(network: Network, *, shrink: float, perturb: float) -> Intervention:
    """Shrink the parameters, then add a scaled fresh initialisation.

    `params <- shrink * params + perturb * network.init(key)`. `at_task_start(...)` is the
    original; `every(1, ...)` with `shrink` just below one is the online form, weight decay and
    noise at each step.

    **Source:** Ash & Adams (2020). A fresh draw stands in for their Gaussian noise so that
    each layer is perturbed at its own scale.
    """

    def init(params):
        del params
        return ()

    def apply(learner, state, *, key, batch, features):
        del batch, features
        params = jax.tree.map(
            lambda old, new: shrink * old + perturb * new, learner.params, network.init(key)
        )
        return learner._replace(params=params), state

    return Intervention(init, apply)


def reset(network: Network, optimiser: optax.GradientTransformation) -> Intervention:
    """Draw all parameters anew and forget all that was remembered: learning from scratch.

    That is the optimiser's state and the network's own, such as running statistics.
    """

    def init(params):
        del params
        return ()

    def apply(learner, state, *, key, batch, features):
        del batch, features
        params = network.init(key)
        fresh = learner._replace(
            params=params, opt_state=optimiser.init(params), network_state=network.state
        )
        return fresh, state

    return Intervention(init, apply)

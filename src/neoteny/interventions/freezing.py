"""Learning with some of the parameters alone."""

import jax

from neoteny.errors import UserError
from neoteny.interventions.base import Intervention
from neoteny.interventions.surgery import names
from neoteny.types import Network


def freeze_hidden(network: Network) -> Intervention:
    """After each step, put all parameters but those of the output layer back where they began.

    What is left is a linear model on fixed random features, the kernel limit of the network: with
    a logistic loss it goes to the maximum margin of a Hilbert space of functions. Remembers a copy
    of the parameters before the first update.

    **Raises:** `UserError` for a network that names no output layer.

    **Source:** the control of Chizat & Bach (2020), there called training the output layer.
    """
    if not network.head:
        raise UserError(
            "Only the output layer is to learn, but this network does not say which of its "
            "parameters that is. Give it a `head`, the path of that sub-tree."
        )

    def apply(learner, first, *, key, batch, features):
        del key, batch, features

        def put_back(path, now, then):
            return now if names(path)[: len(network.head)] == tuple(network.head) else then

        params = jax.tree_util.tree_map_with_path(put_back, learner.params, first)
        return learner._replace(params=params), first

    return Intervention(lambda params: params, apply)

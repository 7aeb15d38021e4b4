"""Networks beside one another: an actor and a critic, seen as one network."""

from collections.abc import Mapping
from math import log

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from neoteny.errors import UserError
from neoteny.types import Features, Network, Params, PRNGKey, UnitGroup


def side_by_side(
    networks: Mapping[str, Network], *, log_std: int = 0, deviation: float = 1.0
) -> Network:
    """One network whose outputs are those of several, in order, on the same inputs.

    Parameters are a dict of each network's own, under its name; so are the names of the hidden
    layers, as `actor.layer_1`. What acts on a network acts on all of them at once.

    **Arguments:**

    - `networks`: by name, as `{"actor": ..., "critic": ...}`.
    - `log_std`: so many more outputs that are parameters themselves, the same for every row: the
      logarithms of a Gaussian policy's standard deviations, each of them `deviation` at first.

    **Raises:** `UserError` for a network that remembers its batches (BatchNorm): what an agent
    sees follows from what it does, so that its statistics are none of a task.
    """
    for name, network in networks.items():
        if network.train is not None:
            raise UserError(
                f"The {name} learns by another function than it acts by (batch norm or dropout), "
                "which an agent's network cannot. Pass another norm, as `--set "
                "network.options.norm=layer`, and no dropout."
            )

    def init(key: PRNGKey) -> Params:
        params = {
            name: network.init(jax.random.fold_in(key, place))
            for place, (name, network) in enumerate(networks.items())
        }
        return params | ({"log_std": jnp.full(log_std, log(deviation))} if log_std else {})

    def apply(
        params: Params, inputs: Num[Array, "rows *shape"]
    ) -> tuple[Float[Array, "rows outputs"], Features]:
        parts = [network.apply(params[name], inputs) for name, network in networks.items()]
        outputs = [outputs for outputs, _ in parts]
        if log_std:
            outputs.append(jnp.broadcast_to(params["log_std"][None], (len(inputs), log_std)))
        features = tuple(layer for _, features in parts for layer in features)
        return jnp.concatenate(outputs, axis=1), features

    units = tuple(_below(name, group) for name, net in networks.items() for group in net.units)
    return Network(init, apply, units)


def _below(name: str, group: UnitGroup) -> UnitGroup:
    """The same units, where their network's parameters are one entry of a dict."""
    moved = lambda places: tuple(place._replace(path=(name, *place.path)) for place in places)
    return group._replace(
        name=f"{name}.{group.name}",
        incoming=moved(group.incoming),
        outgoing=moved(group.outgoing),
        next_biases=tuple((name, *path) for path in group.next_biases),
        shift=(name, *group.shift),
    )

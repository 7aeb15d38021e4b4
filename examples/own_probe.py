"""A probe of your own in one file: how sure the network is of its answers.

    neoteny run spectral-collapse-digits --plugin examples/own_probe.py \
        --set 'probes.names=["units", "confidence"]' --methods bp,l2_er
"""

from typing import NamedTuple

import jax

from neoteny.probes import PROBES


class Confidence(NamedTuple):
    """Mean probability of the chosen class, and the largest absolute output."""

    confidence: jax.Array
    largest_output: jax.Array


def confidence(snapshot) -> Confidence:
    """Mean probability of the class the network chooses, and its largest output."""
    outputs, _ = snapshot.network.apply(snapshot.params, snapshot.batch.inputs)
    return Confidence(jax.nn.softmax(outputs).max(1).mean(), abs(outputs).max())


PROBES["confidence"] = confidence

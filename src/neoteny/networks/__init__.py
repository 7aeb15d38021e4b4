"""Networks: `init` and `apply` as pure functions, with a map of their hidden units."""

from neoteny.networks.choices import ACTIVATIONS, INITIALISERS
from neoteny.networks.mlp import mlp

NETWORKS = {"mlp": mlp}
"""Constructors by name, each `(widths, **options) -> Network`; add your own under a new name."""

__all__ = ["ACTIVATIONS", "INITIALISERS", "NETWORKS", "mlp"]

"""What the studies with several sizes share: their names, methods and first seed."""

from typing import Literal, get_args

from neoteny.errors import unknown

Scale = Literal["smoke", "desk", "paper"]
Protocol = Literal["corrected", "published"]

SCALES: tuple[str, ...] = get_args(Scale)
PROTOCOLS: tuple[str, ...] = get_args(Protocol)


def named(base: str, scale: str, protocol: str) -> str:
    """The name of one size of a study: that of the study itself at desk size, corrected."""
    parts = [base]
    parts += [scale] if scale != "desk" else []
    parts += [protocol] if protocol != "corrected" else []
    return "-".join(parts)


FIRST_SEED = 1
"""The first seed that is reported: what was searched for was searched on seed 0."""


def methods(scale: str, protocol: str) -> tuple[str, ...]:
    """What the main paper compares, but for `reset`, which it runs on one benchmark.

    Its own protocol has its own continual backprop; what is over in seconds has fewer methods.
    """
    cbp = "published_cbp" if protocol == "published" else "cbp"
    if scale == "smoke":
        return ("bp", "l2_er", cbp)
    return ("bp", "l2", "er", "l2_er", cbp, "layernorm_l2", "spectral")


def check(scale: str, protocol: str) -> None:
    """Refuse a size or a protocol that there is not.

    **Raises:** `UserError`.
    """
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)

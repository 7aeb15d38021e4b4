"""Training on rows that are moved against the network."""

from neoteny.errors import UserError, unknown
from neoteny.interventions.base import Attack
from neoteny.probes import ascended

NORMS = ("l2", "linf")


def gradient_attack(radius: float, *, steps: int = 1, norm: str = "l2") -> Attack:
    """Move each row within `radius` to where the loss is larger.

    With one step, the fast gradient method: by `radius` along the row's gradient, or in `linf`
    along its sign. With more, projected gradient ascent from the row itself, in steps of
    `2.5 * radius / steps`. Rows without a gradient stay, and rows may leave [0, 1]. Costs a
    forward and backward pass a step.

    The direction is as good as the loss's gradient: in single precision that of cross-entropy is
    rounded away on rows of a margin beyond 16, which `probes.log_odds_against` has not.

    **Source:** Goodfellow et al. (2015); Madry et al. (2018), without their random start.
    """
    if not 0 < radius < float("inf"):
        raise UserError(f"`radius` is {radius}, but rows are moved by a positive distance.")
    if steps < 1:
        raise UserError(f"`steps` is {steps}, but an attack takes one at least.")
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)

    def attack(loss, inputs, key):
        del key
        return ascended(loss, inputs, radius, steps=steps, norm=norm)

    return attack

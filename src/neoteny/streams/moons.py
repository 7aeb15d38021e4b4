"""Two moons that a line can tell apart, or nearly: an easy feature beside a hard one."""

import numpy as np


def two_moons(
    random: np.random.RandomState, *, rows: int = 300, gap: float = 0.1, noise: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Draw points (rows, 2) of two interleaved half circles, and labels 0 and 1.

    The first coordinate alone tells the classes apart where `gap` is positive: each point is put
    on its class's side of zero, and moved `gap` further; with a negative one the two overlap by
    that much on either side. The second coordinate helps along the shape of the moons.

    **Source:** Pezeshki et al. (2021), who take a gap of 0.1 and of -0.1 for 300 points.
    """
    angles = np.linspace(0, np.pi, rows // 2), np.linspace(0, np.pi, rows - rows // 2)
    outer = np.stack([np.cos(angles[0]), np.sin(angles[0])], 1)
    inner = np.stack([1 - np.cos(angles[1]), 0.5 - np.sin(angles[1])], 1)
    labels = np.repeat([0, 1], [len(outer), len(inner)])
    along, across = (np.concatenate([outer, inner]) + noise * random.randn(rows, 2)).T
    sides = 1 - 2 * labels
    across = across + 0.3 * sides
    across = np.abs(across - across.mean()) * sides + gap * sides
    order = random.permutation(rows)
    return np.stack([across, along - 0.5], 1)[order], labels[order]

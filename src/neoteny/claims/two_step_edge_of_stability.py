"""Beyond the edge of stability: orbits of two steps, and the balance of layers that they bring.

A step of gradient descent above two over the sharpness need not diverge. In one dimension, close to
a minimum, it settles on two points in turn if `3 f'''^2 > f'' f''''`. For a product of factors that
is `f = (x^2 - 1)^2 / 4` in every oscillating direction: with a step `K`, where the edge is `K = 1`,
the orbit has `x1 x2 = 1 / K` and `x1^2 + x2^2 = 1 + 1 / K`, attracts up to `K = sqrt(5) - 1`, and
takes the difference of two factors down by `3 - 2 K` every two steps.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from neoteny import streams
from neoteny.claims.base import Claim, Part, Size
from neoteny.claims.drawing import curve, figure, panel
from neoteny.claims.rows import Rows, slope
from neoteny.claims.verdicts import Finding, within
from neoteny.curvature import extreme_eigenpairs, hessian_vector_product
from neoteny.networks import mlp
from neoteny.probes import along_top, imbalance

ORBIT = 1e-6
"""How far iterates may be from the orbit that is derived, and sharpness from its closed form."""
SAME = 1e-9
"""Iterates that are so close are one point of an orbit."""
RANGE = 1e-4
"""Error of the steps at which the orbit's multiplier is 0 and -1."""
CONTRACTION = 0.005
"""Error of the factor by which the difference of two factors shrinks in two steps."""
NEURON = 0.01
"""The same of a neuron, whose weights still turn while it is measured."""
GONE = 1e-10
"""An imbalance that has vanished."""
AMPLITUDE = (0.95, 1.05)
"""Amplitude of an orbit near its onset over that of the law."""
ROOT = (0.47, 0.53)
"""Exponent of the amplitude in the excess of the step."""
KEPT = 0.9
"""Share of an imbalance that is left where it is said to stay."""
SETTLED = 1e-4
"""How far the singular values that do not oscillate may be from their roots."""
HOVER = (0.9, 1.15)
"""Learning rate times sharpness over two, in the second half of a network's training."""
LESS = 0.9
"""Imbalance that a large step leaves, over that of a small step, at most."""
NEAR = 0.5
"""An iterate further from the minimum than this has left its neighbourhood."""


def orbit(k: float) -> tuple[float, float]:
    """The two points, the smaller first; for `k` above 1."""
    outer, inner = np.sqrt(1 + 3 / k), np.sqrt(1 - 1 / k)
    return (outer - inner) / 2, (outer + inner) / 2


def sharpest(loss: Callable, params, *data) -> float:
    """The largest eigenvalue of the Hessian of `loss(params, *data)`, in float64.

    By Lanczos, in as many steps as there are parameters.
    """
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (params, data))
        return float(_sharpest(loss, *wide))


@partial(jax.jit, static_argnames="loss")
def _sharpest(loss, params, data):
    operator = hessian_vector_product(lambda params: loss(params, *data), params)
    pairs = extreme_eigenpairs(operator, jax.random.key(0), num_steps=operator.size)
    return pairs.eigenvalues[0]


def _quartic(x):
    return jnp.sum((x**2 - 1) ** 2) / 4


def scalar_orbit(
    seed: int,
    *,
    rates: Sequence[float] = (0.95, 1.02, 1.05, 1.1, 1.121, 1.2, 1.235, 1.2375, 1.25, 1.3, 1.4),
    starts: int = 200,
    steps: int = 20_000,
) -> list[dict]:
    """Gradient descent on `(x^2 - 1)^2 / 4` from random starts, and the periods that it ends in.

    A row for each step size: the share of starts of each period, 8 standing for longer ones; where
    all have period two, the largest distance from the derived orbit, the orbit's multiplier as
    derivatives give it, and the step that the paper's formula gives for its points.
    """
    k = np.array(rates)[:, None]
    x = np.broadcast_to(
        np.random.default_rng(seed).uniform(0.05, 1.3, starts), (len(rates), starts)
    )
    for _ in range(steps):
        x = x - k * (x * x - 1) * x
    path = [x]
    for _ in range(4):
        path.append(path[-1] - k * (path[-1] ** 2 - 1) * path[-1])
    repeats = {p: np.abs(path[p] - path[0]) < SAME for p in (1, 2, 4)}
    period = np.where(repeats[1], 1, np.where(repeats[2], 2, np.where(repeats[4], 4, 8)))
    sharpness = sharpest(_quartic, np.ones(1))
    found = []
    for place, rate in enumerate(rates):
        row = {"k": rate, "edge": rate * sharpness / 2}
        row |= {f"period_{p}": float((period[place] == p).mean()) for p in (1, 2, 4, 8)}
        row |= _of_orbit(rate, path[0][place], path[1][place]) if row["period_2"] == 1 else {}
        found.append(row)
    return found


def _of_orbit(k: float, one: np.ndarray, other: np.ndarray) -> dict:
    low, high = np.minimum(one, other), np.maximum(one, other)
    errors = [np.abs(low - orbit(k)[0]).max(), np.abs(high - orbit(k)[1]).max()]
    slopes = (1 - k * (3 * low**2 - 1)) * (1 - k * (3 * high**2 - 1))
    published = 1 / (high**2 * (np.sqrt(1 / high**2 - 0.75) + 0.5))
    return {
        "low": float(low[0]),
        "high": float(high[0]),
        "error": float(max(errors)),
        "multiplier": float(slopes[0]),
        "published_error": float(np.abs(published - k).max()),
    }


def stable_range(seed: int) -> list[dict]:
    """The steps at which the orbit's multiplier is 0 and -1, found by bisection.

    The orbit is where Newton's method finds two steps to come back; nothing of it is assumed.
    """
    del seed
    derived = {0.0: np.sqrt(4.5) - 1, -1.0: np.sqrt(5) - 1}
    return [
        {"multiplier": level, "k": _crossing(level), "derived": float(exact)}
        for level, exact in derived.items()
    ]


def _crossing(level: float, low: float = 1.05, high: float = 1.3) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _multiplier(middle) > level else (low, middle)
    return (low + high) / 2


def _multiplier(k: float) -> float:
    step = lambda x: x - k * (x * x - 1) * x
    slope_at = lambda x: 1 - k * (3 * x * x - 1)
    x = 0.65
    for _ in range(100):
        product = slope_at(x) * slope_at(step(x))
        x = x - (step(step(x)) - x) / (product - 1)
    return slope_at(x) * slope_at(step(x))


def two_factors(
    seed: int,
    *,
    rates: Sequence[float] = (1.05, 1.1, 1.2, 1.3, 1.4, 1.5),
    steps: int = 4000,
) -> list[dict]:
    """Gradient descent on `(x y - 1)^2 / 2` from (1.05, 0.95), and below the edge from (2, 0.3).

    A row has the factor by which `x - y` shrinks in two steps, while it is between 1e-6 and 1e-12;
    what is left of it at last; the sharpness at the mean of the last two iterates, and that at the
    minimum where a small step then ends.
    """
    del seed
    found = []
    for rate, start in [*((rate, (1.05, 0.95)) for rate in rates), (0.05, (2.0, 0.3))]:
        path = _factors(start, rate, steps)
        apart = np.abs(path[:, 0] - path[:, 1])
        last, before = path[-1], path[-2]
        settled = _factors(last, 0.05, 2000)[-1]
        found.append(
            {"k": rate, "factor": _factor(apart), "apart": float(apart[-1]),
             "edge_at_mean": rate * sharpest(_product_loss, (last + before) / 2) / 2,
             "x": float(settled[0]), "y": float(settled[1]),
             "sharpness": sharpest(_product_loss, settled),
             "conserved": float(abs(path[-1, 0]**2 - path[-1, 1]**2)
                                / abs(path[0, 0]**2 - path[0, 1]**2))}
        )  # fmt: skip
    return found


def _product_loss(point):
    return (point[0] * point[1] - 1) ** 2 / 2


def _factors(start, rate: float, steps: int) -> np.ndarray:
    path = [np.array(start, float)]
    for _ in range(steps):
        x, y = path[-1]
        path.append(path[-1] - rate * (x * y - 1) * np.array([y, x]))
    return np.array(path)


def _factor(sizes: np.ndarray, low: float = 1e-12, high: float = 1e-6) -> float | None:
    """By which sizes shrink every two steps, while they are between these."""
    even = sizes[::2]
    below = np.flatnonzero(even < high)
    if not len(below):
        return None
    after = even[below[0] :]
    ends = np.flatnonzero(after < low)
    after = after[: ends[0]] if len(ends) else after
    if len(after) < 3:
        return None
    return float(np.exp(slope(np.arange(len(after)), np.log(after))))


CASES = ((0.0, -1.0), (1.0, 2.0), (2.0, 5.0), (1.0, 3.1), (1.0, 4.0), (0.0, 1.0))


def condition(
    seed: int,
    *,
    excesses: Sequence[float] = (0.001, 0.002, 0.005),
    steps: int = 20_000,
) -> list[dict]:
    """Gradient descent on `x^2 / 2 + a x^3 / 6 + b x^4 / 24` with steps just above 2, from 0.02.

    A row for each polynomial and excess of the step: whether it settles on two points, their
    distance, that of the law `12 * excess * f''^2 / (3 f'''^2 - f'' f'''')`, squared; the farther
    end of the paper's range of steps, `2 / (f'' - eps f''')`, for the nearer point at `eps`. The
    last case has a second direction `w`, with `c x^2 w / 2 + m w^2 / 2`, which lowers the fourth
    derivative by `3 c^2 / m` where `x` goes back and forth.
    """
    del seed
    found = []
    cases = [(a, b, 0.0) for a, b in CASES] + [(0.0, 1.0, 1.0)]
    for a, b, c in cases:
        with jax.enable_x64(True):
            measured = float(_along(*map(jnp.float64, (a, b, c))).flip_condition)
        corrected = measured + 3 * c**2 / SIDE
        for excess in excesses:
            points = _two_points(a, b, c, 2 + excess, steps)
            law = np.sqrt(12 * excess / corrected) if corrected > 0 else None
            row = {
                "a": a, "b": b, "c": c, "excess": excess, "condition": measured, "law": law,
                "corrected": corrected, "settles": int(points is not None),
            }  # fmt: skip
            if points is not None:
                nearer = np.abs(points).min()
                row |= {
                    "amplitude": float(abs(points[0] - points[1])),
                    "range_end": float(2 / (1 - nearer * abs(a))) if a else None,
                }
            found.append(row)
    return found


SIDE = 0.5
"""Curvature of the second direction."""


@jax.jit
def _along(a, b, c):
    return along_top(partial(_polynomial, a, b, c), jnp.zeros(2), jax.random.key(0))


def _polynomial(a, b, c, point):
    x, w = point
    return x**2 / 2 + a * x**3 / 6 + b * x**4 / 24 + c * x**2 * w / 2 + SIDE * w**2 / 2


def _two_points(a: float, b: float, c: float, rate: float, steps: int) -> np.ndarray | None:
    x, w, path = 0.02, 0.0, []
    for step in range(steps):
        slope_x = x + a * x**2 / 2 + b * x**3 / 6 + c * x * w
        x, w = x - rate * slope_x, w - rate * (SIDE * w + c * x**2 / 2)
        if abs(x) > NEAR:
            return None
        if step >= steps - 4:
            path.append(x)
    settled = abs(path[0] - path[2]) < 1e-6 and abs(path[1] - path[3]) < 1e-6
    return np.array(path[:2]) if settled and abs(path[0] - path[1]) > 1e-3 else None


def matrices(
    seed: int,
    *,
    rates: Sequence[float] = (0.9, 1.05, 1.1, 1.2),
    scales: Sequence[float] = (1.0, 2.0),
    steps: int = 5000,
) -> list[dict]:
    """Factors of a diagonal matrix, `|X X^T - C|^2 / 4` and `|X Y^T - C|^2 / 2`, from small ones.

    `C = scale * diag(1, 0.5, 0.2)`, of which the first alone is beyond the edge, by `k`. A row has
    for the symmetric problem the error of the top singular value in two successive steps against
    the scalar orbit, and of the others against their roots; for the other one the imbalance in the
    top direction at first, half-way and at the end; and the sharpness of both at a minimum beside
    its closed form.
    """
    found = []
    for scale in scales:
        target = scale * np.array([1.0, 0.5, 0.2])
        for k in rates:
            row = {"k": k, "scale": scale}
            row |= _symmetric(seed, target, k, steps) | _asymmetric(seed, target, k, steps)
            found.append(row)
    return found


def _symmetric(seed: int, target: np.ndarray, k: float, steps: int) -> dict:
    root, rate = np.sqrt(target), k / target[0]
    x = 0.1 * np.random.default_rng(seed).normal(size=(3, 3))
    for _ in range(steps):
        before, x = x, x - rate * (x @ x.T - np.diag(target)) @ x
    values = [np.linalg.svd(one, compute_uv=False) for one in (before, x)]
    tops = sorted(float(one[0]) for one in values)
    exact = root[0] * np.array(orbit(k) if k > 1 else (1, 1))
    return {
        "top_low": tops[0],
        "top_high": tops[1],
        "top_error": float(np.abs(tops - exact).max()),
        "others_error": float(max(np.abs(one[1:] - root[1:]).max() for one in values)),
        "sharpness": sharpest(_one_matrix, np.diag(root), target),
        "sharpness_derived": float(2 * target[0]),
    }


def _one_matrix(x, target):
    return jnp.sum((x @ x.T - jnp.diag(target)) ** 2) / 4


def _two_matrices(both, target):
    return jnp.sum((both[0] @ both[1].T - jnp.diag(target)) ** 2) / 2


def _asymmetric(seed: int, target: np.ndarray, k: float, steps: int) -> dict:
    rng, rate = np.random.default_rng(seed), k / target[0]
    x = 0.1 * rng.normal(size=(3, 3))
    y = x + 0.01 * rng.normal(size=(3, 3))
    tilt = lambda: abs(float(np.sum(x[0] ** 2) - np.sum(y[0] ** 2)))
    row = {"tilt_at_first": tilt()}
    for step in range(steps):
        if step == steps // 2:
            row["tilt_half_way"] = tilt()
        rest = x @ y.T - np.diag(target)
        x, y = x - rate * rest @ y, y - rate * rest.T @ x
    row["tilt"] = tilt()
    if k < 1:
        row["sharpness_two"] = sharpest(_two_matrices, (x, y), target)
        row["sharpness_two_derived"] = float(np.linalg.norm(x, 2) ** 2 + np.linalg.norm(y, 2) ** 2)
    return row


def neuron(
    seed: int,
    *,
    rates: Sequence[float] = (0.8, 1.05, 1.1),
    dimensions: Sequence[int] = (2, 10),
    steps: int = 2000,
    angles: int = 4000,
) -> list[dict]:
    """A student `v relu(w.x)` of the teacher `relu(x_1)`, for `x` uniform on the sphere.

    Half the mean squared error, with a step of `2 * dimension * k`. In two dimensions also by
    quadrature over angles. A row has the factors by which `v - w_1` shrinks in two steps and, on
    the orbit, the part of `w` across the teacher's direction; where the pair ends; and the
    sharpness at the teacher, which is `1 / dimension`.
    """
    del seed
    found = []
    for dimension in dimensions:
        ways = {"closed form": partial(_expected_slope, dimension)}
        if dimension == 2:
            ways["quadrature"] = partial(_averaged_slope, _circle(angles))
        for way, slope_of in ways.items():
            for k in rates:
                found.append(
                    {"dimension": dimension, "way": way, "k": k}
                    | _taught(slope_of, dimension, k, steps)
                )
    sharpness = sharpest(_neuron_loss, np.array([1.0, 0.0, 1.0]), _circle(angles))
    return [row | ({"sharpness": sharpness} if row["dimension"] == 2 else {}) for row in found]


def _circle(angles: int) -> np.ndarray:
    turn = 2 * np.pi * (np.arange(angles) + 0.5) / angles
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


def _neuron_loss(both, points):
    student = both[2] * jax.nn.relu(points @ both[:2])
    return jnp.mean((student - jax.nn.relu(points[:, 0])) ** 2) / 2


def _averaged_slope(points: np.ndarray, w: np.ndarray, v: float):
    active = np.maximum(points @ w, 0)
    rest = v * active - np.maximum(points[:, 0], 0)
    return v * (rest * (active > 0)) @ points / len(points), float((rest * active).mean())


def _expected_slope(dimension: int, w: np.ndarray, v: float):
    """Means over the sphere: of two rectified projections at an angle, and of its gradient."""
    length = np.linalg.norm(w)
    angle = np.arccos(np.clip(w[0] / length, -1, 1))
    teacher = np.eye(len(w))[0]
    toward = (np.sin(angle) * w / length + (np.pi - angle) * teacher) / (2 * np.pi * dimension)
    slope_w = v * v * w / (2 * dimension) - v * toward
    return slope_w, float(v * length**2 / (2 * dimension) - toward @ w)


def _taught(slope_of: Callable, dimension: int, k: float, steps: int) -> dict:
    first, second, across = _student(slope_of, dimension, k, steps, (0.9, 0.15), 1.1)
    row = {
        "factor": _factor(np.abs(second - first)),
        "across": float(across[-1]),
        "w": float(first[-1]),
        "v": float(second[-1]),
    }
    if k > 1:
        point = orbit(k)[0]
        _, _, near = _student(slope_of, dimension, k, 40, (point, 1e-3), point)
        row["across_factor"] = _factor(near, 1e-14, 1e-3)
        row["orbit_error"] = float(np.abs(np.sort(first[-2:]) - orbit(k)).max())
    return row


def _student(slope_of: Callable, dimension: int, k: float, steps: int, start, v: float):
    """The weight along the teacher, the outer weight, and the size of what is across, by step."""
    w, rate, path = np.zeros(dimension), 2 * dimension * k, []
    w[:2] = start
    for _ in range(steps):
        path.append((w[0], v, np.linalg.norm(w[1:])))
        slope_w, slope_v = slope_of(w, v)
        w, v = w - rate * slope_w, v - rate * slope_v
    return np.array(path).T


NETWORKS = {
    "ten outputs": ((64, 32, 32, 10), 1.0),
    "one output": ((64, 32, 1), 1.0),
    "one output, large outer layer": ((64, 32, 1), 4.0),
}
"""Widths, and how many times larger the last kernel starts, and the first smaller."""
LARGE_OUTER = "one output, large outer layer"


def network(
    seed: int,
    *,
    factors: Sequence[float] = (0.3, 1.5),
    cases: Sequence[str] = ("one output", LARGE_OUTER),
    rows: int = 200,
    looks: int = 50,
    every: int = 20,
) -> list[dict]:
    """Small tanh networks on digits by full-batch gradient descent on half the squared error.

    Pixels are centred; ten outputs are to be one-hot, one tells digits below five. The step is
    `factor` times two over the sharpness at the start; a smaller one takes more steps, so that all
    learn for the same time. Every so many of the largest's steps a row has the loss, the sharpness
    times the step over two, and the imbalance of layers over that at the start.
    """
    found, largest = [], max(factors)
    for case in cases:
        for factor in factors:
            span = round(every * largest / factor)
            told = _descent(jax.random.key(seed), factor, span, case, rows, looks)
            for look, values in enumerate(np.array(told).T.tolist()):
                row = {"case": case, "factor": factor, "step": look * every}
                found.append(row | dict(zip(("loss", "edge", "imbalance"), values, strict=True)))
    return found


@partial(jax.jit, static_argnames=("case", "rows", "looks"))
def _descent(key, factor, every, case: str, rows: int, looks: int):
    widths, outer = NETWORKS[case]
    made, train = mlp(widths, activation="tanh"), streams.load("digits").train
    inputs, labels = train.inputs[:rows], train.labels[:rows]
    inputs = inputs - inputs.mean(0)[None]
    one = jnp.where(labels < 5, 1.0, -1.0)[:, None]
    targets = one if widths[-1] == 1 else jax.nn.one_hot(labels, widths[-1])

    def loss(params):
        return jnp.mean(jnp.sum((made.apply(params, inputs)[0] - targets) ** 2, axis=1)) / 2

    def sharpness(params):
        operator = hessian_vector_product(loss, params)
        return extreme_eigenpairs(operator, key, num_steps=24).eigenvalues[0]

    def tilt(params):
        kernels = [layer["kernel"] for layer in params]
        return jnp.linalg.norm(jnp.stack([imbalance(*pair) for pair in pairwise(kernels)]))

    first, *middle, last = made.init(key)
    first, last = (
        layer | {"kernel": layer["kernel"] * by}
        for layer, by in ((first, 1 / outer), (last, outer))
    )
    start = (first, *middle, last)
    rate, whole = factor * 2 / sharpness(start), tilt(start)

    def look(params, _):
        step = lambda _, p: jax.tree.map(lambda a, g: a - rate * g, p, jax.grad(loss)(p))
        told = loss(params), rate * sharpness(params) / 2, tilt(params) / whole
        return jax.lax.fori_loop(0, every, step, params), told

    return jax.lax.scan(look, start, None, looks)[1]


def judge(rows: Mapping[str, Rows]) -> list[Finding]:
    return [
        *_scalar(rows["scalar-orbit"], rows["stable-range"]),
        *_two(rows["two-factors"]),
        *_condition(rows["condition"]),
        *_matrices(rows["matrices"]),
        *_neuron(rows["neuron"]),
        *_network(rows["network"]),
    ]


def _largest(values: np.ndarray) -> float:
    """Of those that there are; NaN of none."""
    there = values[np.isfinite(values)]
    return float(there.max()) if len(there) else np.nan


def _furthest(values: np.ndarray, middle: float) -> float:
    """The value that is furthest from the middle; NaN of none."""
    return float(values[np.argmax(np.abs(values - middle))]) if len(values) else np.nan


def _scalar(rows: Rows, crossings: Rows) -> list[Finding]:
    beyond = Rows(row for row in rows if 1 < row["k"] < np.sqrt(5) - 1)
    below, above = (Rows(row for row in rows if row["k"] < 1), rows.where(k=1.25))
    multipliers = np.abs(beyond["multiplier"] - (9 - 2 * (1 + beyond["k"]) ** 2))
    ranges = np.abs(crossings["k"] - crossings["derived"])
    share = lambda part, k: part.where(k=k)["period_2"].mean()
    return [
        within("scalar-orbit", "beyond the edge, up to 1.236 of it, all starts end in period two",
               "share of starts", float(beyond["period_2"].min()), low=1.0,
               evidence=f"{share(rows, 1.2375):.2f} at 1.2375"),
        within("scalar-orbit", "below the edge all of them converge", "share of starts",
               float(below["period_1"].min()), low=1.0),
        within("scalar-orbit", "further on the period is four", "share of starts at 1.25",
               float(above["period_4"].min()), low=1.0),
        within("scalar-orbit", "the orbit is the derived one", "largest distance",
               float(np.max(beyond["error"])), high=ORBIT),
        within("scalar-orbit", "it solves the published equation for the step", "largest error",
               float(np.max(beyond["published_error"])), high=ORBIT),
        within("scalar-orbit", "its multiplier is 9 - 2 (1 + K)^2", "largest error",
               float(np.max(multipliers)), high=ORBIT),
        within("scalar-orbit", "step times measured sharpness is twice K", "largest error",
               float(np.abs(rows["edge"] - rows["k"]).max()), high=ORBIT),
        within("stable-range", "it attracts without turning over up to 1.1213, at all to 1.2361",
               "largest error of the two steps", float(ranges.max()), high=RANGE,
               evidence=", ".join(f"{k:.5f}" for k in crossings["k"])),
    ]  # fmt: skip


def _two(rows: Rows) -> list[Finding]:
    beyond = Rows(row for row in rows if row["k"] > 1)
    stable = Rows(row for row in beyond if row["k"] < np.sqrt(5) - 1)
    control = Rows(row for row in rows if row["k"] < 1)
    errors = np.abs(stable["factor"] - (3 - 2 * stable["k"]))
    mean_edge = np.abs(stable["edge_at_mean"] - (9 - stable["k"]) / 8)
    closed = np.abs(rows["sharpness"] - rows["x"] ** 2 - rows["y"] ** 2)
    wild = Rows(row for row in beyond if row["k"] > np.sqrt(5) - 1)
    told = ", ".join(f"{row['apart']:.1e} at {row['k']:g}" for row in wild)
    return [
        within("two-factors", "the difference of two factors shrinks by 3 - 2K in two steps",
               "largest error of the factor", float(np.max(errors)), high=CONTRACTION,
               evidence=", ".join(f"{f:.4f} at {k:g}" for f, k in
                                  zip(stable["factor"], stable["k"], strict=True))),
        within("two-factors", "it vanishes wherever the orbit attracts", "difference that is left",
               float(np.max(stable["apart"])), high=GONE),
        within("two-factors", "it vanishes up to K = 1.5 too", "difference that is left",
               float(np.max(wild["apart"])) if len(wild) else [], high=GONE, evidence=told),
        within("two-factors", "a small step keeps the difference of squares", "share that is left",
               float(control["conserved"].min()), low=KEPT,
               evidence=f"it ends at sharpness {control['sharpness'].max():.3f}"),
        within("two-factors", "so a small step then ends at the flattest minimum, of sharpness 2",
               "sharpness at the end", float(np.max(stable["sharpness"])), low=2 - ORBIT,
               high=2 + ORBIT),
        within("two-factors", "measured sharpness at minima is x^2 + y^2", "largest error",
               float(closed.max()), high=ORBIT),
        within("two-factors", "half-way between two steps, sharpness is just below the edge",
               "largest error of step times sharpness over two, against (9 - K) / 8",
               float(np.max(mean_edge)), high=ORBIT),
    ]  # fmt: skip


def _condition(rows: Rows) -> list[Finding]:
    line, coupled = rows.where(c=0.0), rows.where(c=1.0)
    as_said = (line["condition"] > 0) == (line["settles"] == 1)
    formula = np.abs(line["condition"] - (3 * line["a"] ** 2 - line["b"]))
    orbits = line.where(settles=1)
    ratio = orbits["amplitude"] / orbits["law"]
    roots = []
    for a, b in CASES:
        own = orbits.where(a=a, b=b)
        roots += [slope(np.log(own["excess"]), np.log(own["amplitude"]))] if len(own) > 1 else []
    bounded = Rows(row for row in orbits if row.get("range_end") is not None)
    inside = 2 + bounded["excess"] < bounded["range_end"]
    both = coupled["amplitude"] / coupled["law"]
    return [
        within("condition", "an orbit of two steps attracts if and only if 3 f'''^2 > f'' f''''",
               "share of cases", float(as_said.mean()), low=1.0),
        within("condition", "nested derivatives along the top eigenvector give that condition",
               "largest error", float(formula.max()), high=ORBIT),
        within("condition", "its amplitude is that of the law", "ratio furthest from one",
               _furthest(ratio, 1.0), low=AMPLITUDE[0], high=AMPLITUDE[1]),
        within("condition", "it grows as the root of the excess", "exponent furthest from a half",
               _furthest(np.array(roots), 0.5), low=ROOT[0], high=ROOT[1]),
        within("condition", "the step lies in the published range", "share of orbits",
               float(inside.mean()) if len(inside) else [], low=1.0),
        within("condition", "a second direction lowers the fourth derivative by 3 c^2 / m, so the "
               "condition along one is sufficient alone", "ratio of amplitude to that law",
               _furthest(both, 1.0), low=AMPLITUDE[0], high=AMPLITUDE[1],
               evidence=f"along the top eigenvector it is {coupled['condition'].min():.2f}"),
    ]  # fmt: skip


def _matrices(rows: Rows) -> list[Finding]:
    beyond = Rows(row for row in rows if row["k"] > 1)
    below = Rows(row for row in rows if row["k"] < 1)
    kept = below["tilt"] / below["tilt_half_way"]
    closed = np.abs(rows["sharpness"] / rows["sharpness_derived"] - 1)
    two = np.abs(below["sharpness_two"] / below["sharpness_two_derived"] - 1)
    return [
        within("matrices", "the leading singular value takes the two values of the scalar orbit",
               "largest error", _largest(beyond["top_error"]), high=ORBIT),
        within("matrices", "the others converge", "largest error",
               _largest(beyond["others_error"]), high=SETTLED),
        within("matrices", "two factors become balanced in the top direction",
               "largest imbalance that is left", _largest(beyond["tilt"]), high=GONE),
        within("matrices", "below the edge they stay as unbalanced as their growth has left them",
               "least share of the imbalance half-way", float(kept.min()), low=KEPT,
               evidence=f"it is {below['tilt'].min():.1e} or more"),
        within("matrices", "measured sharpness at minima is that of the top singular values",
               "largest relative error", max(_largest(closed), _largest(two)), high=ORBIT),
    ]  # fmt: skip


def _neuron(rows: Rows) -> list[Finding]:
    beyond = Rows(row for row in rows if row["k"] > 1)
    below = Rows(row for row in rows if row["k"] < 1)
    errors = np.abs(beyond["factor"] - (3 - 2 * beyond["k"]))
    across = np.abs(beyond["across_factor"] - (beyond["k"] - 1))
    circle = Rows(row for row in rows if row["dimension"] == 2)
    return [
        within("neuron", "a neuron and its weight end on the orbit of two steps",
               "largest distance", _largest(beyond["orbit_error"]), high=ORBIT),
        within("neuron", "their difference shrinks by 3 - 2K in two steps",
               "largest error of the factor", float(np.max(errors)), high=NEURON,
               evidence=", ".join(f"{row['factor']:.4f} at {row['k']:g}" for row in beyond)),
        within("neuron", "on it, what is across the teacher's direction shrinks by K - 1",
               "largest error of the factor", float(np.max(across)), high=NEURON,
               evidence=", ".join(f"{row['across_factor']:.4f} at {row['k']:g}" for row in beyond)),
        within("neuron", "below the edge they stay unequal", "least difference at the end",
               float(np.abs(below["v"] - below["w"]).min()), low=0.01),
        within("neuron", "measured sharpness at the teacher is one over the dimension",
               "relative error", float(np.abs(2 * circle["sharpness"] - 1).max()), high=1e-4),
    ]  # fmt: skip


def _network(rows: Rows) -> list[Finding]:
    found = []
    for case in rows.values("case"):
        own = rows.where(case=case)
        slow, fast = (own.where(factor=pick(own.values("factor"))) for pick in (min, max))
        end = max(own["step"])
        late = [Rows(row for row in part if row["step"] >= end / 2) for part in (slow, fast)]
        last = [part.where(step=int(end)) for part in (slow, fast)]
        small, large = (part.by_seed("imbalance") for part in last)
        losses = [f"{part['loss'].mean():.4f}" for part in last]
        if case != LARGE_OUTER:
            found.append(
                within("network", f"sharpness comes to hover at two over the step, {case}",
                       "learning rate times sharpness over two", late[1].by_seed("edge"),
                       low=HOVER[0], high=HOVER[1],
                       evidence=f"{late[0]['edge'].mean():.2f} with a small step")
            )  # fmt: skip
        found.append(
            within("network", f"the large step leaves less imbalance, {case}",
                   "logarithm of its ratio to the small step's", np.log(large / small),
                   high=float(np.log(LESS)),
                   evidence=f"{large.mean():.3f} of the start's against {small.mean():.3f}; loss "
                   f"{losses[1]} against {losses[0]}")
        )  # fmt: skip
    return found


def figures(rows: Mapping[str, Rows]) -> list:
    scalar, factors, cases = rows["scalar-orbit"], rows["two-factors"], rows["condition"]
    orbits = Rows(row for row in scalar if row.get("low") is not None)
    steps = np.linspace(1.0001, np.sqrt(5) - 1, 100)
    low, high = np.array([orbit(k) for k in steps]).T
    beyond = Rows(row for row in factors if 1 < row["k"] < np.sqrt(5) - 1)
    settled = cases.where(settles=1)
    first = [
        panel("The orbit of two steps", "step over the edge, K", "x",
              [curve("measured", orbits["k"], orbits["low"], points=True),
               curve("measured", orbits["k"], orbits["high"], points=True),
               curve("derived", steps, low, dashed=True),
               curve("derived", steps, high, dashed=True)]),
        panel("Difference of two factors", "step over the edge, K", "factor in two steps",
              [curve("measured", beyond["k"], beyond["factor"], points=True),
               curve("derived", steps, 3 - 2 * steps, dashed=True)]),
        panel("Amplitude near the onset", "amplitude of the law", "measured amplitude",
              [curve("measured", settled["law"], settled["amplitude"], points=True),
               curve("derived", settled["law"], settled["law"], dashed=True)], log="xy"),
    ]  # fmt: skip
    return [
        figure("orbits", "Orbits of two steps", "Lines are derived.", first),
        *(_drawn(rows["network"], case) for case in rows["network"].values("case")),
    ]


def _drawn(rows: Rows, case: str):
    own = rows.where(case=case, seed=0)
    names = {factor: f"{factor:g} of the first edge" for factor in own.values("factor")}
    panels = [
        panel(title, "time, in steps of the largest rate", axis,
              [curve(name, path["step"], path[column])
               for path, name in ((own.where(factor=f), name) for f, name in names.items())],
              levels=levels, log=log)
        for title, axis, column, levels, log in (
            ("Sharpness", "learning rate x sharpness / 2", "edge", (1.0,), ""),
            ("Loss", "half the squared error", "loss", (), "y"),
            ("Imbalance of layers", "over that at the start", "imbalance", (), ""),
        )
    ]  # fmt: skip
    name = case.replace(",", "").replace(" ", "-")
    return figure(name, f"A tanh network on digits, {case}", "The first seed.", panels)


CLAIM = Claim(
    name="two-step-edge-of-stability",
    title="Two-step orbits beyond the edge of stability",
    sentence=(
        "Gradient descent with a step above two over the sharpness settles on an orbit of two "
        "steps where third and fourth derivatives allow, and there evens out the layers, so that "
        "it ends at the flattest minima."
    ),
    source="Chen & Bruna (2023), Beyond the edge of stability via two-step gradient updates, "
    "arXiv 2206.04172",
    parts=(
        Part(
            "network", network, Size(3),
            Size(5, {"factors": [0.1, 0.5, 1.0, 1.5], "cases": [*NETWORKS], "rows": 500,
                     "looks": 60, "every": 50}),
        ),
        Part("scalar-orbit", scalar_orbit, Size(2, {"steps": 10_000}), Size(5)),
        Part("stable-range", stable_range),
        Part("two-factors", two_factors),
        Part("condition", condition),
        Part("matrices", matrices, Size(2, {"rates": [0.9, 1.1], "steps": 2000}), Size(5)),
        Part("neuron", neuron),
    ),
    judge=judge,
    figures=figures,
    notes=(
        "Derived here and then measured: the orbit's multiplier, the amplitude near the onset, the "
        "sharpness half-way between two steps, that a neuron's weights across the teacher's "
        "direction shrink by K - 1 in two steps on the orbit, and that other directions lower the "
        "fourth derivative. In tanh networks on digits sharpness comes to hover at two over the "
        "step, but layers are evened out only where the outer one starts too large, by the first "
        "steps, after which no orbit is seen: from a usual "
        "start with one output a large step leaves more imbalance than a small one. The networks' "
        "cases, and how much less imbalance counts, were chosen after a first look. The sizes of "
        "the paper's own networks were not known."
    ),
)  # fmt: skip

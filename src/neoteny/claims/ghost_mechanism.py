"""The ghost mechanism: abrupt learning without a bifurcation, and the rate at which it fails.

Just past a saddle-node bifurcation a slow region is left, a ghost, where a state lingers. Where a
network has to wait, learning makes such a ghost and tunes it; the loss falls at once, and steps
that are too large throw the network to where nothing ever happens and no gradient is left.

The one-dimensional model is `dx/dt = r + x^2` from `x = 0`, whose output switches on when `x`
passes a threshold; with an output of full confidence and the task to switch at time `T`, the loss
is `|T - pi / (2 sqrt r)|` (over `T` where it is normalised), and 1 where the switch comes after
`2T`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import pi

import jax
import jax.numpy as jnp
import numpy as np

from neoteny.claims.base import Claim, Part, Size
from neoteny.claims.drawing import curve, figure, panel
from neoteny.claims.rows import Rows, slope
from neoteny.claims.verdicts import Finding, within

DWELL = (-0.51, -0.49)
EXPONENT = 0.05
"""How far the exponents of the critical rate may be from -5 and -4."""
OF_DERIVED = (0.95, 1.15)
"""The critical rate over the derived one; the grid's step is 6 %."""
GAP = 300
"""Epochs between the steepest drop and the ghost, at most."""
TIME_SCALE = (-3.0, -1.3)
"""Exponent of the recurrent network's critical rate, which is not derived."""
RATIO = 2.0
"""By which low confidence and a free rank raise the rate at which a network can still learn."""
LEARNT, DEAD = 0.1, 1e-6
"""A loss below the first is learnt; a gradient below the second at a high loss is dead."""


def dwell_time(
    seed: int, *, rates: int = 9, threshold: float = 10.0, step: float = 0.01
) -> list[dict]:
    """How long `x` takes from 0 to the threshold, by Euler's method, for `r` from 0.1 to 1e-5."""
    del seed

    def time(r: float) -> float:
        x, steps = 0.0, 0
        while x < threshold:
            x, steps = x + step * (r + x * x), steps + 1
        return steps * step

    return [{"r": r, "time": time(r)} for r in np.logspace(-1, -5, rates).tolist()]


def critical_rate(
    seed: int, *, horizons: Sequence[int] = (20, 40, 80, 160, 320), steps: int = 10_000
) -> list[dict]:
    """The smallest learning rate at which gradient descent leaves for the no-learning zone.

    Of 380 rates, 6 % apart, by the loss and by the loss over `T`. `derived` is what one step from
    the optimum allows: `3 pi^4 / (32 T^5)`, or `T^4`.
    """
    jitter = np.random.default_rng(seed).normal()
    rates = 10.0 ** np.arange(-13.5, -3.9, np.log10(1.06))
    found = []
    for horizon in horizons:
        for normalised in (False, True):
            failed = _leaves(rates, float(horizon), normalised, jitter, steps)
            first = rates[failed].min() if failed.any() else np.nan
            derived = 3 * pi**4 / (32 * horizon ** (4 if normalised else 5))
            found.append(
                {"horizon": horizon, "normalised": int(normalised), "rate": float(first),
                 "derived": derived, "ratio": float(first) / derived}
            )  # fmt: skip
    return found


def _leaves(rates, horizon: float, normalised: bool, jitter: float, steps: int) -> np.ndarray:
    """For which rates some step lands below the zone's edge, a quarter of the optimum."""
    best = pi**2 / (4 * horizon**2)
    r = np.full_like(rates, best * (10 + 0.1 * jitter))
    left = np.zeros(len(rates), bool)
    for _ in range(steps):
        slope = np.sign(r - best) * pi / (4 * np.maximum(r, best / 4) ** 1.5)
        r = np.where(left, r, r - rates * slope / (horizon if normalised else 1.0))
        left |= r < best / 4
    return left


def networks(
    seed: int,
    *,
    horizons: Sequence[int] = (20,),
    rates: Sequence[float] = (0.01,),
    gains: Sequence[float] = (10.0,),
    free_rank: Sequence[bool] = (False,),
    epochs: int = 20_000,
    units: int = 100,
    leak: float = 0.5,
) -> list[dict]:
    """Recurrent networks that learn to stay at 0 until `T` and at 1 from then to `2T`.

    `x' = (1 - leak) x + leak tanh(m kappa + b)` with `kappa = n.x`, read as `sigmoid(gain (kappa -
    1))`, from `x = -0.3`; with a free rank `m kappa` is `W x`, and `W = m n^T` only at first. Plain
    gradient descent through time on the squared error over `T`. The flow of `kappa` of a network of
    rank one is `F(kappa) = n.tanh(m kappa + b) - kappa`; where it is positive all the way from the
    start to 1 nothing blocks the way, and where that is barely so there is a ghost.

    A row for each network: its `loss` and `gradient` at the end, the `epochs` of its steepest drop
    and of the first positive `F`, looked at each hundred.
    """
    found = []
    for horizon in horizons:
        for gain in gains:
            for free in free_rank:
                told = _train(seed, horizon, gain, free, tuple(rates), epochs, units, leak)
                found += [
                    {"horizon": horizon, "gain": gain, "free_rank": int(free), "rate": rate}
                    | _told(*(array[place] for array in told))
                    for place, rate in enumerate(rates)
                ]
    return found


EVERY = 100


@partial(jax.jit, static_argnames=("horizon", "free", "epochs", "units"))
def _trained(key, rates, gain, leak, *, horizon: int, free: bool, epochs: int, units: int):
    keys = jax.random.split(key)
    m, n = (jax.random.normal(key, (units,)) / jnp.sqrt(units) for key in keys)
    params = {"n": n, "b": jnp.zeros(units)}
    params |= {"w": jnp.outer(m, n)} if free else {"m": m}
    target = (jnp.arange(2 * horizon) >= horizon).astype(n.dtype)
    start = jnp.full(units, -0.3, n.dtype)

    def kappas(params):
        def step(x, _):
            inner = params["w"] @ x if free else params["m"] * (params["n"] @ x)
            x = (1 - leak) * x + leak * jnp.tanh(inner + params["b"])
            return x, params["n"] @ x

        return jax.lax.scan(step, start, None, 2 * horizon)[1]

    def loss(params):
        return jnp.sum((jax.nn.sigmoid(gain * (kappas(params) - 1)) - target) ** 2) / horizon

    def least(params):
        if free:
            return jnp.nan
        points = jnp.linspace(params["n"] @ start, 1.0, 64)
        inner = params["m"][None] * points[:, None] + params["b"][None]
        return jnp.min(jnp.tanh(inner) @ params["n"] - points)

    def train(rate):
        def epoch(params, _):
            gradient = jax.grad(loss)(params)
            return jax.tree.map(lambda p, g: p - rate * g, params, gradient), None

        def look(params, _):
            value, gradient = jax.value_and_grad(loss)(params)
            size = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)))
            told = value, size, least(params)
            return jax.lax.scan(epoch, params, None, EVERY)[0], told

        params, told = jax.lax.scan(look, params_of, None, epochs // EVERY)
        return *told, look(params, None)[1]

    params_of = params
    return jax.vmap(train)(rates)


def _train(seed, horizon, gain, free, rates, epochs, units, leak):
    losses, sizes, least, last = _trained(
        jax.random.key(seed), jnp.array(rates, jnp.float32), gain, leak,
        horizon=horizon, free=free, epochs=epochs, units=units,
    )  # fmt: skip
    together = lambda path, end: np.concatenate([np.asarray(path), np.asarray(end)[:, None]], 1)
    return tuple(map(together, (losses, sizes, least), last))


def _told(losses: np.ndarray, sizes: np.ndarray, least: np.ndarray) -> dict:
    drops, open_way = losses[:-1] - losses[1:], np.flatnonzero(least > 0)
    learnt = losses[-1] < LEARNT
    return {
        "loss": float(losses[-1]),
        "gradient": float(sizes[-1]),
        "learnt": int(learnt),
        "dead": int(losses[-1] > 0.9 and sizes[-1] < DEAD),
        "drop_epoch": float(EVERY * (1 + np.argmax(drops))) if learnt else None,
        "drop": float(drops.max()),
        "ghost_epoch": float(EVERY * open_way[0]) if len(open_way) else None,
    }


def judge(rows: Mapping[str, Rows]) -> list[Finding]:
    return [
        *_one_dimension(rows["dwell-time"], rows["critical-rate"]),
        *_abrupt(rows["abrupt"]),
        *_time_scale(rows["time-scale"]),
        _wider(rows["confidence"], "confidence", "gain", 10.0, 2.0, "low output confidence"),
        _wider(rows["redundancy"], "redundancy", "free_rank", 0.0, 1.0, "a rank that is free"),
    ]


def _one_dimension(dwell: Rows, critical: Rows) -> list[Finding]:
    found = [
        within(
            "dwell-time", "a state dwells at the ghost for a time that goes as r^(-1/2)",
            "exponent", slope(np.log(dwell["r"]), np.log(dwell["time"])),
            low=DWELL[0], high=DWELL[1],
        )
    ]  # fmt: skip
    for normalised, exponent in ((0, -5.0), (1, -4.0)):
        own = critical.where(normalised=normalised)
        slopes = [
            slope(np.log(one["horizon"]), np.log(one["rate"]))
            for one in (own.where(seed=seed) for seed in own.values("seed"))
        ]
        which = "the loss over T" if normalised else "the loss"
        found.append(
            within(
                "critical-rate", f"the critical rate of {which} goes as T^({exponent:.0f})",
                "exponent", slopes, low=exponent - EXPONENT, high=exponent + EXPONENT,
            )
        )  # fmt: skip
    found.append(
        within(
            "critical-rate", "the critical rate is 3 pi^4 / (32 T^5), and T^4 of the loss over T",
            "ratio to it", critical.by_seed("ratio"), low=OF_DERIVED[0], high=OF_DERIVED[1],
        )
    )  # fmt: skip
    return found


def _abrupt(rows: Rows) -> list[Finding]:
    slow = rows.where(rate=min(rows.values("rate")))
    fast = rows.where(rate=max(rows.values("rate")))
    learnt = slow.where(learnt=1)
    gaps = np.abs(learnt["drop_epoch"] - learnt["ghost_epoch"])
    near = float(np.mean(gaps <= GAP)) if len(gaps) else np.nan
    return [
        within(
            "abrupt", f"networks of rank one learn at rate {min(rows.values('rate')):g}",
            "share that learns", float(slow["learnt"].mean()), low=0.8,
        ),
        within(
            "abrupt",
            f"at rate {max(rows.values('rate')):g} they end where the loss is high and no gradient "
            "is left",
            "share that is dead", float(fast["dead"].mean()), low=0.8,
        ),
        within(
            "abrupt", f"the loss drops within {GAP} epochs of when nothing blocks the way any more",
            "share of those that learn", near, low=0.8,
            evidence=f"median gap {np.median(gaps):.0f} epochs" if len(gaps) else "",
        ),
        within(
            "abrupt", "the loss drops at once: half of it within a hundred epochs or two",
            "steepest drop in 100 epochs", learnt.by_seed("drop") if len(learnt) else [],
            low=0.25,
        ),
    ]  # fmt: skip


def threshold(rows: Rows) -> float:
    """The rate between the largest that half of the networks survive and the next,
    geometrically."""
    rates = np.array(sorted(rows.values("rate")))
    dead = np.array([rows.where(rate=rate)["dead"].mean() for rate in rates])
    high = np.flatnonzero(dead >= 0.5)
    if not len(high) or high[0] == 0:
        return np.nan
    return float(np.sqrt(rates[high[0] - 1] * rates[high[0]]))


def _time_scale(rows: Rows) -> list[Finding]:
    horizons = sorted(rows.values("horizon"))
    rates = [threshold(rows.where(horizon=horizon)) for horizon in horizons]
    exponent = slope(np.log(horizons), np.log(rates)) if np.isfinite(rates).all() else np.nan
    told = ", ".join(f"{r:.3g} at T={h}" for h, r in zip(horizons, rates, strict=True))
    return [
        within(
            "time-scale", "the longer a network has to wait, the smaller the rate at which it dies",
            "exponent", exponent, low=TIME_SCALE[0], high=TIME_SCALE[1],
            evidence=f"half die at {told}",
        )
    ]  # fmt: skip


def _wider(rows: Rows, part: str, column: str, plain: float, remedy: float, what: str) -> Finding:
    usual, raised = (threshold(rows.where(**{column: value})) for value in (plain, remedy))
    lowest, best = min(rows.values("rate")), max(rows.values("rate"))
    dead = lambda rate: rows.where(**{column: remedy, "rate": rate})["dead"]
    beyond = not np.isfinite(raised) and not dead(best).any()
    raised = lowest if dead(lowest).mean() >= 0.5 else raised  # or lower still
    ratio = (best if beyond else raised) / usual
    least = "at least " if beyond else ""
    return within(
        part, f"{what} raises the rate at which networks die", "factor", ratio, low=RATIO,
        evidence=f"half die at {usual:.3g}, with it at {least}{best if beyond else raised:.3g}",
    )  # fmt: skip


def figures(rows: Mapping[str, Rows]) -> list:
    dwell, critical, abrupt = rows["dwell-time"], rows["critical-rate"], rows["abrupt"]
    first = [
        panel("Dwell time", "r", "time", [curve("measured", dwell["r"], dwell["time"], points=True),
              curve("pi / (2 sqrt r)", dwell["r"], pi / 2 / np.sqrt(dwell["r"]))], log="xy")
    ]  # fmt: skip
    for normalised, name in ((0, "Critical rate of the loss"), (1, "of the loss over T")):
        own = critical.where(normalised=normalised)
        first.append(
            panel(name, "T", "learning rate",
                  [curve("measured", own["horizon"], own["rate"], points=True),
                   curve("derived", own["horizon"], own["derived"])], log="xy")
        )  # fmt: skip
    learnt = abrupt.where(learnt=1)
    second = [
        panel("The drop and the way", "first epoch with nothing in the way", "epoch of the drop",
              [curve("networks", learnt["ghost_epoch"], learnt["drop_epoch"], points=True),
               curve("equal", learnt["ghost_epoch"], learnt["ghost_epoch"])])
    ]  # fmt: skip
    for part, column, names in (
        ("time-scale", "horizon", {h: f"T={h:g}" for h in rows["time-scale"].values("horizon")}),
        ("confidence", "gain", {10.0: "gain 10", 2.0: "gain 2"}),
        ("redundancy", "free_rank", {0: "rank one", 1: "free rank"}),
    ):
        second.append(
            panel(part.capitalize(), "learning rate", "share that is dead",
                  [_survival(rows[part].where(**{column: value}), name)
                   for value, name in names.items()], log="x")
        )  # fmt: skip
    said = "Points are seeds; lines are the derived laws."
    deaths = "Dead: a loss above 0.9 and a gradient below 1e-6 at the end."
    return [
        figure("one-dimension", "The one-dimensional model", said, first),
        figure("networks", "Recurrent networks", deaths, second),
    ]


def _survival(rows: Rows, name: str):
    rates = sorted(rows.values("rate"))
    return curve(name, rates, [rows.where(rate=rate)["dead"].mean() for rate in rates])


DESK_RATES = (0.005, 0.007, 0.01, 0.014, 0.02, 0.028, 0.04, 0.056, 0.08, 0.11, 0.16)
FEW_RATES = (0.01, 0.02, 0.04, 0.08, 0.16)

CLAIM = Claim(
    name="ghost-mechanism",
    title="Abrupt learning by a ghost",
    sentence=(
        "Learning to wait is abrupt without a bifurcation: a ghost appears and is tuned, and above "
        "a critical rate, a power law in the time scale, learning ends in a zone without gradient."
    ),
    source="Dinc et al. (2025), A ghost mechanism, arXiv 2501.02378",
    parts=(
        Part("dwell-time", dwell_time),
        Part("critical-rate", critical_rate, Size(3), Size(10)),
        Part(
            "abrupt", networks,
            Size(3, {"horizons": [10], "rates": [0.02, 0.3], "epochs": 10_000}),
            Size(6, {"rates": [0.01, 0.03, 0.1], "epochs": 20_000}),
            Size(10, {"rates": [0.003, 0.01, 0.03, 0.1], "epochs": 200_000}),
        ),
        Part(
            "time-scale", networks,
            Size(3, {"horizons": [10, 20], "rates": FEW_RATES, "epochs": 7_500}),
            Size(4, {"horizons": [10, 14, 20, 28], "rates": DESK_RATES, "epochs": 40_000}),
        ),
        Part(
            "confidence", networks,
            Size(3, {"horizons": [20], "rates": FEW_RATES, "gains": [10.0, 2.0], "epochs": 7_500}),
            Size(6, {"rates": DESK_RATES, "gains": [10.0, 2.0], "epochs": 40_000}),
        ),
        Part(
            "redundancy", networks,
            Size(3, {"horizons": [10], "rates": FEW_RATES, "free_rank": [False, True],
                     "epochs": 2_500}),
            Size(6, {"rates": DESK_RATES, "free_rank": [False, True], "epochs": 10_000}),
        ),
    ),
    judge=judge,
    figures=figures,
    notes=(
        "The exponent of the recurrent networks' critical rate is measured, not derived. A network "
        "counts as dead, not as failed, so that one that has not got there yet is no failure."
    ),
)  # fmt: skip

"""Implicit under-parameterisation: features lose rank where values are learnt from themselves.

Fitted Q-iteration with a kernel has a closed recursion, `M <- I + g P A M` with `A = K (c I +
K)^-1`, whose values are `A M r`. The networks learn the action values of a grid world by gradient
descent, on targets that they make themselves, renewed every so many steps, or on the true values,
with as many steps in all; with a penalty on the features' singular values, and with the effective
rank rewarded.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neoteny.claims.base import Claim, Part, Size
from neoteny.claims.drawing import curve, figure, over_seeds, panel
from neoteny.claims.rows import Rows, slope
from neoteny.claims.verdicts import Finding, within
from neoteny.interventions import effective_rank_penalty, singular_value_penalty
from neoteny.networks import mlp
from neoteny.probes import srank

LEFT = 0.8
"""Of the kernel's first rank, at most, after the last round."""
SIDE = 12
"""States along the grid world's side."""


def kernel(
    seed: int,
    *,
    rounds: Sequence[int] = (1, 2, 5, 10, 20, 50, 100),
    discounts: Sequence[float] = (0.99, 0.0),
    width: float = 0.15,
    ridge: float = 0.1,
) -> list[dict]:
    """The rank of `A M` after rounds of kernel regression, under the uniformly random policy."""
    del seed
    places = np.array([(x, y) for x in range(SIDE) for y in range(SIDE)]) / (SIDE - 1)
    apart = ((places[:, None] - places[None]) ** 2).sum(-1)
    gram = np.exp(-apart / (2 * width**2))
    smoother = np.linalg.solve(ridge * np.eye(len(gram)) + gram, gram)
    chain = np.zeros_like(gram)
    for action in range(4):
        chain[np.arange(SIDE**2), _grid()[0][:, action]] += 0.25
    found = []
    for discount in discounts:
        matrix, done = np.eye(len(gram)), 1
        for count in rounds:
            for _ in range(done, count):
                matrix = np.eye(len(gram)) + discount * chain @ smoother @ matrix
            done = count
            values = np.linalg.svd(smoother @ matrix, compute_uv=False)
            held = np.cumsum(values) / values.sum()
            found.append(
                {"discount": discount, "round": count, "srank": int(1 + np.sum(held < 0.99))}
            )
    return found


@lru_cache(maxsize=1)
def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each state and action where it leads to, what it brings, and its true value."""
    after = np.zeros((SIDE**2, 4), int)
    for state in range(SIDE**2):
        x, y = divmod(state, SIDE)
        for action, (dx, dy) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
            moved = np.clip(x + dx, 0, SIDE - 1), np.clip(y + dy, 0, SIDE - 1)
            after[state, action] = moved[0] * SIDE + moved[1]
    gains = np.zeros(SIDE**2)
    gains[[SIDE**2 - 1, SIDE - 1, SIDE * (SIDE // 2)]] = 1.0, 0.5, 0.25
    rewards = gains[after]
    values = np.zeros((SIDE**2, 4))
    for _ in range(2000):
        values = rewards + DISCOUNT * values.max(1)[after]
    return after, rewards, values


DISCOUNT = 0.95
"""Of the networks' grid world."""


class Learning(NamedTuple):
    """How a network learns: targets of its own or the true ones, and what is added to the loss."""

    bootstrapped: bool
    inner: int
    rate: float
    penalty: str
    strength: float


def fitted_q(
    seed: int,
    *,
    inner: Sequence[int] = (10,),
    true_targets: bool = True,
    rate: float = 3e-3,
    penalties: Mapping[str, Sequence[float]] = {},
    steps: int = 20_000,
    looks: int = 8,
) -> list[dict]:
    """Networks of 64 units on 128 random Fourier features of the place, full batch, by Adam.

    A row for each way to learn and each look: `srank` of the last features, and the mean squared
    `error` of the action values. `penalties`: their strengths by name, `srank` or `er`, tried with
    the first of `inner`.
    """
    ways = [Learning(True, count, rate, "none", 0.0) for count in inner]
    ways += [Learning(False, 1, rate, "none", 0.0)] if true_targets else []
    ways += [
        Learning(True, inner[0], rate, name, strength)
        for name, strengths in penalties.items()
        for strength in strengths
    ]
    found = []
    for way in ways:
        ranks, errors = _iterated(
            jax.random.key(seed),
            way.strength,
            bootstrapped=way.bootstrapped,
            inner=way.inner,
            rate=way.rate,
            penalty=way.penalty,
            steps=steps,
            looks=looks,
        )
        for look, (rank, error) in enumerate(zip(ranks.tolist(), errors.tolist(), strict=True)):
            found.append(
                {"targets": "own" if way.bootstrapped else "true", "inner": way.inner,
                 "penalty": way.penalty, "strength": way.strength, "step": look * steps // looks,
                 "srank": rank, "error": error}
            )  # fmt: skip
    return found


NETWORK = mlp((128, 64, 64, 4), initialiser="he-normal")
PENALTIES = {"srank": singular_value_penalty, "er": effective_rank_penalty}


@partial(jax.jit, static_argnames=("bootstrapped", "inner", "rate", "penalty", "steps", "looks"))
def _iterated(key, strength, *, bootstrapped, inner, rate, penalty, steps, looks):
    """The rank of the features and the error at the start and at each look."""
    after, rewards, true = (jnp.asarray(array) for array in _grid())
    rewards, true = rewards.astype(jnp.float32), true.astype(jnp.float32)
    inputs = _features(jax.random.fold_in(key, 1))
    added = PENALTIES[penalty](1.0) if penalty != "none" else None
    adam = optax.adam(rate)

    def objective(params, targets):
        outputs, features = NETWORK.apply(params, inputs)
        loss = jnp.mean((outputs - targets) ** 2)
        return loss + (strength * added.apply(params, features, ())[0] if added else 0.0)

    def targets_of(params):
        if not bootstrapped:
            return true
        return rewards + DISCOUNT * NETWORK.apply(params, inputs)[0].max(1)[after]

    def iterate(carry, _):
        params, moments = carry
        targets = targets_of(params)

        def step(carry, _):
            params, moments = carry
            gradient = jax.grad(objective)(params, targets)
            updates, moments = adam.update(gradient, moments)
            return (optax.apply_updates(params, updates), moments), None

        return jax.lax.scan(step, (params, moments), None, inner)[0], None

    def told(params):
        outputs, features = NETWORK.apply(params, inputs)
        return srank(features[-1]), jnp.mean((outputs - true) ** 2)

    def look(carry, _):
        carry = jax.lax.scan(iterate, carry, None, steps // looks // inner)[0]
        return carry, told(carry[0])

    params = NETWORK.init(jax.random.fold_in(key, 0))
    _, later = jax.lax.scan(look, (params, adam.init(params)), None, looks)
    return tuple(
        jnp.concatenate([jnp.asarray(first)[None], rest])
        for first, rest in zip(told(params), later, strict=True)
    )


def _features(key):
    places = jnp.array([(x, y) for x in range(SIDE) for y in range(SIDE)], jnp.float32)
    draw, turn = jax.random.split(key)
    ways = 3.0 * jax.random.normal(draw, (2, 128))
    shift = jax.random.uniform(turn, (128,), maxval=2 * jnp.pi)
    return jnp.cos(places / (SIDE - 1) @ ways + shift[None])


def judge(rows: Mapping[str, Rows]) -> list[Finding]:
    return [
        *_kernel(rows["kernel"]),
        *_networks(rows["fitted-q"], rows["rounds"]),
        *_penalties(rows["penalties"]),
    ]


def _kernel(rows: Rows) -> list[Finding]:
    ranks = rows.where(discount=0.99)["srank"]
    still = rows.where(discount=0.0)["srank"]
    rises = float(np.maximum(np.diff(ranks), 0).sum())
    return [
        within(
            "kernel", "by kernel regression the rank never rises from round to round",
            "sum of rises", rises, high=0.0,
        ),
        within(
            "kernel", "and falls over the rounds", "last rank over first",
            float(ranks[-1] / ranks[0]), high=LEFT,
        ),
        within(
            "kernel", "without bootstrapping it stays", "last rank over first",
            float(still[-1] / still[0]), low=1.0, high=1.0,
        ),
    ]  # fmt: skip


def _last(rows: Rows, **which) -> np.ndarray:
    """The rank at the end, seed by seed."""
    mine = rows.where(**which)
    return mine.where(step=max(mine.values("step"))).by_seed("srank")


def _networks(rows: Rows, rounds: Rows) -> list[Finding]:
    own, true = _last(rows, targets="own"), _last(rows, targets="true")
    counts = sorted(rounds.values("inner"))
    ends = [_last(rounds, targets="own", inner=count) for count in counts]
    slopes = [slope(np.log(counts), [end[place] for end in ends]) for place in range(len(ends[0]))]
    worst = max(rows["error"][rows["step"] == max(rows.values("step"))], default=np.nan)
    return [
        within(
            "fitted-q", "networks that learn from their own values end with fewer directions than "
            "ones that learn the true values", "rank, own minus true", own - true, high=0.0,
            evidence=f"{own.mean():.1f} and {true.mean():.1f}; largest mean squared error of any "
            f"at the end {worst:.2g}",
        ),
        within(
            "rounds", "the more rounds in as many steps, the fewer directions",
            "rank per factor e of steps in a round", slopes, low=0.0,
            evidence=", ".join(f"{end.mean():.1f} at {count:g}"
                               for count, end in zip(counts, ends, strict=True)),
        ),
    ]  # fmt: skip


def _penalties(rows: Rows) -> list[Finding]:
    plain = _last(rows, penalty="none")
    found = []
    for name, what in (("srank", "the singular-value penalty"), ("er", "rewarded effective rank")):
        strengths = sorted(rows.where(penalty=name).values("strength"))
        gains = [_last(rows, penalty=name, strength=strength) - plain for strength in strengths]
        best = int(np.argmax([gain.mean() for gain in gains])) if gains else 0
        told = ", ".join(f"{gain.mean():+.1f} at {strength:g}"
                         for strength, gain in zip(strengths, gains, strict=True))  # fmt: skip
        found.append(
            within(
                "penalties", f"{what} keeps directions, at one strength at least",
                "rank gained at the best", gains[best] if gains else [], low=0.0, evidence=told,
            )
        )  # fmt: skip
    return found


def figures(rows: Mapping[str, Rows]) -> list:
    exact, fitted, rounds, helped = (rows[part] for part in PARTS)
    learnt = [
        over_seeds(name, fitted.where(targets=which), "step", "srank")
        for which, name in (("own", "own targets"), ("true", "true values"))
    ]
    often = [
        over_seeds(f"every {count:g} steps", rounds.where(inner=count), "step", "srank")
        for count in sorted(rounds.values("inner"))
    ]
    kept = [
        over_seeds(
            f"{name} {strength:g}" if strength else "none",
            helped.where(penalty=name, strength=strength), "step", "srank",
        )
        for name in helped.values("penalty")
        for strength in sorted(helped.where(penalty=name).values("strength"))
    ]  # fmt: skip
    regression = [
        curve(f"discount {discount:g}", own["round"], own["srank"])
        for discount in exact.values("discount")
        for own in [exact.where(discount=discount)]
    ]
    said = "Lines are means over seeds, bands reach from the lowest to the highest seed."
    return [
        figure(
            "rank", "Directions of the features", said,
            [panel("Kernel regression", "round", "rank", regression, log="x"),
             panel("Networks", "step", "rank", learnt),
             panel("Renewed targets", "step", "rank", often),
             panel("Penalties", "step", "rank", kept)],
        )
    ]  # fmt: skip


PARTS = ("kernel", "fitted-q", "rounds", "penalties")
STRENGTHS = {"srank": [1e-4, 5e-4, 1e-3], "er": [1e-4, 1e-3, 1e-2]}

CLAIM = Claim(
    name="implicit-underparameterization",
    title="Implicit under-parameterisation",
    sentence=(
        "Values learnt by gradient descent from targets that the network makes itself lose rank in "
        "their features, the more so the more often the targets are renewed; a penalty keeps it."
    ),
    source="Kumar et al. (2021), Implicit under-parameterization, arXiv 2010.14498",
    parts=(
        Part("kernel", kernel),
        Part("fitted-q", fitted_q, Size(3, {"steps": 4_000}), Size(5)),
        Part(
            "rounds", fitted_q,
            Size(3, {"inner": [100, 10], "true_targets": False, "steps": 4_000}),
            Size(5, {"inner": [100, 10, 1], "true_targets": False}),
        ),
        Part(
            "penalties", fitted_q,
            Size(3, {"true_targets": False, "steps": 4_000,
                     "penalties": {"srank": [5e-4], "er": [1e-2]}}),
            Size(5, {"true_targets": False, "penalties": STRENGTHS}),
        ),
    ),
    judge=judge,
    figures=figures,
    notes=(
        "A small grid world in place of Atari. Whether fewer directions do harm is not judged; the "
        "evidence has the largest error of any network. Online learning with more or fewer updates "
        "a step is not measured."
    ),
)  # fmt: skip

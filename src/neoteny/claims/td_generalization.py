"""Temporal differences and generalisation: what is learnt first, and how far a step reaches.

In the eigenbasis of a reversible chain the error of an exact learner decays as `(1 - a (1 - g
l))^k` by temporal differences, with `l` the eigenvalue, and as `(1 - a)^k` from Monte-Carlo
returns: the smooth directions, of `l` near 1, come last, though they are most of the value
function. The networks learn the values of one fixed policy on a mountain car by either target, or
the policy itself; how far a gradient step on one state moves the others is the rank of their update
matrix. Last, a network that acts on values is distilled into a fresh one.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neoteny.claims.base import Claim, Part, Size
from neoteny.claims.drawing import figure, over_seeds, panel
from neoteny.claims.rows import Rows
from neoteny.claims.verdicts import Finding, within
from neoteny.networks import mlp
from neoteny.probes import srank, update_matrix, update_spread
from neoteny.types import Network, Params

LATE = 20
"""The step at which the tabular fractions are compared."""
RATIO = 4.0
"""Of rough over smooth directions fitted by then, at least, by temporal differences."""
EXACT = 1e-6
"""Between the simulation and the closed form, and between smooth and rough by Monte Carlo."""


def tabular(
    seed: int, *, states: int = 40, discount: float = 0.95, rate: float = 0.1
) -> list[dict]:
    """Expected updates on a lazy random walk on a ring, with Gaussian rewards.

    The share of the value function that is fitted, of the ten smoothest and the ten roughest
    eigenvectors, and the largest distance of any from the closed form.
    """
    shift = np.roll(np.eye(states), 1, axis=1)
    chain = 0.5 * np.eye(states) + 0.25 * (shift + shift.T)
    reward = np.random.default_rng(seed).normal(size=states)
    value = np.linalg.solve(np.eye(states) - discount * chain, reward)
    eigenvalues, basis = np.linalg.eigh(chain)
    wanted = basis.T @ value
    learnt = {"td": np.zeros(states), "mc": np.zeros(states)}
    decay = {"td": 1 - rate * (1 - discount * eigenvalues), "mc": np.full(states, 1 - rate)}
    found = []
    for step in range(1, 61):
        learnt["td"] += rate * (reward + discount * chain @ learnt["td"] - learnt["td"])
        learnt["mc"] += rate * (value - learnt["mc"])
        for target, values in learnt.items():
            fitted = basis.T @ values / wanted
            found.append(
                {
                    "target": target,
                    "step": step,
                    "smooth": float(fitted[-10:].mean()),
                    "rough": float(fitted[:10].mean()),
                    "error": float(np.abs(fitted - (1 - decay[target] ** step)).max()),
                }
            )
    return found


class Walks(NamedTuple):
    """Transitions of one policy, each with the discounted return that came after it."""

    states: jax.Array
    actions: jax.Array
    rewards: jax.Array
    after: jax.Array
    going: jax.Array
    returns: jax.Array


DISCOUNT = 0.98


@partial(jax.jit, static_argnames=("walks", "length"))
def mountain_car(key, walks: int, length: int) -> Walks:
    """A car that pumps energy, and acts at random in 30 % of the steps; it is rewarded for
    height."""
    place_key, act_key = jax.random.split(key)
    place = jax.random.uniform(place_key, (walks,), minval=-0.9, maxval=0.3)

    def step(carry, key):
        place, speed, going = carry
        pump = jnp.where(speed >= 0, 2, 0)
        kinds = jax.random.split(key)
        chance = jax.random.bernoulli(kinds[0], 0.3, (walks,))
        action = jnp.where(chance, jax.random.randint(kinds[1], (walks,), 0, 3), pump)
        faster = jnp.clip(speed + 0.001 * (action - 1) - 0.0025 * jnp.cos(3 * place), -0.07, 0.07)
        moved = jnp.clip(place + faster, -1.2, 0.6)
        faster = jnp.where((moved <= -1.2) & (faster < 0), 0.0, faster)
        arrived = moved >= 0.5
        reward = 0.5 * (1 + jnp.sin(3 * moved)) + 5.0 * arrived
        row = (_scaled(place, speed), action, reward, _scaled(moved, faster), ~arrived, going)
        return (moved, faster, going & ~arrived), row

    start = (place, jnp.zeros(walks), jnp.ones(walks, bool))
    rows = jax.lax.scan(step, start, jax.random.split(act_key, length))[1]
    states, actions, rewards, after, still, live = rows

    def back(total, row):
        reward, going = row
        total = reward + DISCOUNT * total * going
        return total, total

    # where the walk is cut off, its last reward goes on
    tail = rewards[-1] / (1 - DISCOUNT) * still[-1]
    returns = jax.lax.scan(back, tail, (rewards, still), reverse=True)[1]
    del live  # rows after the goal go on from there, as from any other state
    flat = lambda array: array.reshape(-1, *array.shape[2:])
    return Walks(*map(flat, (states, actions, rewards, after, still, returns)))


def _scaled(place, speed):
    return jnp.stack([(place + 0.3) / 0.5, speed / 0.035], axis=-1)


def generalisation(
    seed: int, *, width: int = 256, looks: Sequence[int] = (0, 500, 8000)
) -> list[dict]:
    """Networks that learn values by either target or the policy, and their update matrices.

    A row for each target and look: the update matrix's rank and spread on 100 states.
    """
    key = jax.random.key(seed)
    walks = mountain_car(key, 64, 120)
    walks = walks._replace(
        returns=walks.returns * (1 - DISCOUNT), rewards=walks.rewards * (1 - DISCOUNT)
    )
    found = []
    for target in ("td", "mc", "policy"):
        network = mlp((2, width, width, 3 if target == "policy" else 1))
        params = network.init(jax.random.fold_in(key, 1))
        state = (params, params, optax.adam(1e-3).init(params))
        done = 0
        for look in looks:
            if look > done:
                keys = jax.random.split(jax.random.fold_in(key, look), look - done)
                state = _learnt(state, walks, keys, done, network=_Fixed(network), target=target)
                done = look
            matrix = _looked_at(state[0], walks, network=_Fixed(network), target=target)
            found.append(
                {"target": target, "step": look, "update_rank": float(srank(matrix)),
                 "update_spread": float(update_spread(matrix))}
            )  # fmt: skip
    return found


class _Fixed:
    """A network as an argument that a compiled function is specialised to."""

    def __init__(self, network: Network):
        self.apply = network.apply


def _losses(params: Params, stale: Params, rows: Walks, apply, target: str):
    outputs = apply(params, rows.states)[0]
    if target == "policy":
        return optax.softmax_cross_entropy_with_integer_labels(outputs, rows.actions)
    if target == "mc":
        return (outputs[:, 0] - rows.returns) ** 2
    later = apply(stale, rows.after)[0].max(1)  # of one output, that one
    wanted = rows.rewards + DISCOUNT * later * rows.going
    values = outputs[:, 0]
    if target == "actions":
        values = outputs[jnp.arange(len(outputs)), rows.actions]
    return (values - jax.lax.stop_gradient(wanted)) ** 2


@partial(jax.jit, static_argnames=("network", "target"))
def _learnt(state, walks: Walks, keys, done, *, network: _Fixed, target: str):
    """After a step of Adam for each key; the copy that targets come from is renewed each
    hundred."""

    def step(carry, key):
        params, stale, moments, number = carry
        rows = jax.random.randint(key, (128,), 0, len(walks.states))
        batch = jax.tree.map(lambda array: array[rows], walks)
        loss = lambda params: _losses(params, stale, batch, network.apply, target).mean()
        updates, moments = optax.adam(1e-3).update(jax.grad(loss)(params), moments)
        params = optax.apply_updates(params, updates)
        renew = number % 100 == 99
        stale = jax.tree.map(lambda old, new: jnp.where(renew, new, old), stale, params)
        return (params, stale, moments, number + 1), None

    return jax.lax.scan(step, (*state, done), keys)[0][:3]


@partial(jax.jit, static_argnames=("network", "target"))
def _looked_at(params, walks: Walks, *, network: _Fixed, target: str):
    """The update matrix on 100 states that lie evenly among the rows."""
    rows = jnp.linspace(0, len(walks.states) - 1, 100).astype(int)
    batch = jax.tree.map(lambda array: array[rows], walks)

    def outputs(params):
        found = network.apply(params, batch.states)[0]
        if target != "policy":
            return found[:, 0]
        return jax.nn.log_softmax(found)[jnp.arange(100), batch.actions]

    losses = lambda now: _losses(now, params, batch, network.apply, target)
    return update_matrix(outputs, losses, params, 1e-3)


def distillation(
    seed: int, *, steps: int = 8000, width: int = 256, noises: Sequence[float] = (0.1, 0.2, 0.3)
) -> list[dict]:
    """The greedy policy of a network of action values, distilled into a fresh one.

    Of each, how often it acts on noisy states as on the clean ones; `agreement` is how often the
    fresh one acts as the old one does on clean states.
    """
    key = jax.random.key(seed)
    walks = mountain_car(key, 64, 120)
    walks = walks._replace(rewards=walks.rewards * (1 - DISCOUNT))
    network = _Fixed(mlp((2, width, width, 3)))
    first = lambda place: mlp((2, width, width, 3)).init(jax.random.fold_in(key, place))
    keys = jax.random.split(jax.random.fold_in(key, 5), steps)

    def learnt(params, walks: Walks, target: str) -> Params:
        state = (params, params, optax.adam(1e-3).init(params))
        return _learnt(state, walks, keys, 0, network=network, target=target)[0]

    teacher = learnt(first(1), walks, "actions")
    chosen = jnp.argmax(network.apply(teacher, walks.states)[0], axis=1)
    student = learnt(first(2), walks._replace(actions=chosen), "policy")
    agreement = jnp.mean(jnp.argmax(network.apply(student, walks.states)[0], 1) == chosen)
    found = []
    for noise in noises:
        draw = jax.random.normal(jax.random.fold_in(key, 9), walks.states.shape)
        moved = walks.states + noise * draw
        row = {"noise": noise, "agreement": float(agreement)}
        for name, params in (("teacher", teacher), ("student", student)):
            clean, noisy = (
                jnp.argmax(network.apply(params, s)[0], 1) for s in (walks.states, moved)
            )
            row[name] = float(jnp.mean(clean == noisy))
        found.append(row)
    return found


def judge(rows: Mapping[str, Rows]) -> list[Finding]:
    return [
        *_tabular(rows["tabular"]),
        *_ranks(rows["generalisation"]),
        *_distilled(rows["distillation"]),
    ]


def _tabular(rows: Rows) -> list[Finding]:
    late = {target: rows.where(target=target, step=LATE) for target in ("td", "mc")}
    ratios = late["td"]["rough"] / late["td"]["smooth"]
    even = np.abs(late["mc"]["rough"] - late["mc"]["smooth"]).max()
    return [
        within(
            "tabular", "temporal differences fit rough directions before smooth ones",
            f"rough over smooth after {LATE} steps", ratios, low=RATIO,
        ),
        within(
            "tabular", "Monte-Carlo targets fit all directions alike", "largest difference",
            float(even), high=EXACT,
        ),
        within(
            "tabular", "each direction is fitted as the closed form has it", "largest error",
            float(rows["error"].max()), high=EXACT,
        ),
    ]  # fmt: skip


def _ranks(rows: Rows) -> list[Finding]:
    steps = sorted(rows.values("step"))
    rank = lambda target, step: rows.where(target=target, step=step).by_seed("update_rank")
    trained, early = steps[-1], steps[1]
    policy = rank("policy", trained)
    return [
        within(
            "generalisation", "a network trained by temporal differences generalises less than a "
            "fresh one", "update rank, trained minus fresh",
            rank("td", trained) - rank("td", steps[0]), low=0.0,
            evidence=f"{rank('td', steps[0]).mean():.1f} fresh, {rank('td', trained).mean():.1f} "
            "trained",
        ),
        within(
            "generalisation", "a policy trained on the same states generalises more",
            "update rank, values minus policy", rank("td", trained) - policy, low=0.0,
            evidence=f"{policy.mean():.1f} of the policy",
        ),
        within(
            "generalisation", f"early, at step {early:g}, temporal differences generalise less "
            "than Monte Carlo", "update rank, differences minus returns",
            rank("td", early) - rank("mc", early), low=0.0,
        ),
        within(
            "generalisation", f"and late, at step {trained:g}",
            "update rank, differences minus returns",
            rank("td", trained) - rank("mc", trained), low=0.0,
        ),
    ]  # fmt: skip


def _distilled(rows: Rows) -> list[Finding]:
    gains = rows.by_seed("student") - rows.by_seed("teacher")
    return [
        within(
            "distillation", "a fresh network that learns the policy acts more steadily under noise",
            "share of states on which it acts alike, student minus teacher", gains, low=0.0,
            evidence=f"the student acts as the teacher on {rows['agreement'].mean():.0%} of states",
        )
    ]  # fmt: skip


def figures(rows: Mapping[str, Rows]) -> list:
    table, nets, distilled = (rows[part] for part in ("tabular", "generalisation", "distillation"))
    names = {"td": "temporal differences", "mc": "Monte Carlo", "policy": "policy"}
    fitted = [
        panel(
            f"{which.capitalize()} directions", "step", "share fitted",
            [over_seeds(names[target], table.where(target=target), "step", which)
             for target in ("td", "mc")],
        )
        for which in ("smooth", "rough")
    ]  # fmt: skip
    trained = [
        panel(
            title, "training step", title.lower(),
            [over_seeds(name, nets.where(target=target), "step", column)
             for target, name in names.items()],
        )
        for title, column in (("Update rank", "update_rank"), ("Update spread", "update_spread"))
    ]  # fmt: skip
    steady = [
        panel(
            "Acting under noise", "noise, in deviations", "acts alike",
            [over_seeds(name, distilled, "noise", name) for name in ("teacher", "student")],
        )
    ]  # fmt: skip
    said = "Lines are means over seeds, bands reach from the lowest to the highest seed."
    return [
        figure("fitted", "What is fitted when", said, fitted),
        figure("reach", "How far a step reaches", said, [*trained, *steady]),
    ]


CLAIM = Claim(
    name="td-generalization",
    title="Temporal differences and generalisation",
    sentence=(
        "Temporal-difference targets are learnt rough directions first, and value networks trained "
        "on them generalise less between states than fresh ones or than policies."
    ),
    source="Lyle et al. (2022), Learning dynamics and generalization in RL, arXiv 2206.02126",
    parts=(
        Part("tabular", tabular, Size(3), Size(5)),
        Part(
            "generalisation", generalisation,
            Size(3, {"width": 64, "looks": [0, 250, 1500]}),
            Size(5, {"looks": [0, 250, 500, 1000, 2000, 4000, 8000]}),
        ),
        Part("distillation", distillation, Size(3, {"steps": 1500, "width": 64}), Size(5)),
    ),
    judge=judge,
    figures=figures,
    notes=(
        "The paper's networks play Atari and ProcGen; here one fixed policy drives a mountain car. "
        "Distillation is judged by how steadily a policy acts under noise, not by unseen levels. "
        "The policy's update matrix is of the log-probability of the action that was taken; its "
        "rank is higher than the values' in a fresh network already."
    ),
)  # fmt: skip

"""The classic environments are those of Gymnasium, state by state."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import rl

gymnasium = pytest.importorskip("gymnasium")

ROUNDING = 1e-9  # both compute in float64
AGAIN = 100  # steps until both go on from the same state: the acrobot's motion is chaotic


class Twin(NamedTuple):
    """Gymnasium's name, a box of states that it may step from, its names of the physics."""

    name: str
    low: list[float]
    high: list[float]
    physics: dict[str, list[str]]


PI = np.pi
TWINS = {
    "cartpole": Twin(
        "CartPole-v1",
        [-2.4, -3, -0.21, -3],
        [2.4, 3, 0.21, 3],
        {
            "gravity": ["gravity"],
            "cart_mass": ["masscart"],
            "pole_mass": ["masspole"],
            "half_length": ["length"],
            "force": ["force_mag"],
        },
    ),
    "acrobot": Twin(
        "Acrobot-v1",
        [-PI, -PI, -4 * PI, -9 * PI],
        [PI, PI, 4 * PI, 9 * PI],
        {
            "first_mass": ["LINK_MASS_1"],
            "second_mass": ["LINK_MASS_2"],
            "length": ["LINK_LENGTH_1", "LINK_LENGTH_2"],
            "inertia": ["LINK_MOI"],
        },
    ),
    "mountain-car": Twin(
        "MountainCar-v0",
        [-1.2, -0.07],
        [0.499, 0.07],
        {"gravity": ["gravity"], "force": ["force"]},
    ),
    "pendulum": Twin(
        "Pendulum-v1",
        [-4 * PI, -8],
        [4 * PI, 8],
        {"gravity": ["g"], "mass": ["m"], "length": ["l"]},
    ),
}


@pytest.fixture(params=TWINS)
def pair(request):
    """Our environment, Gymnasium's, and how they correspond."""
    twin = TWINS[request.param]
    theirs = gymnasium.make(twin.name).unwrapped
    theirs.reset(seed=0)
    return rl.make_environment(request.param), theirs, twin


def place(theirs, state):
    theirs.state = np.array(state, np.float64)
    theirs.steps_beyond_terminated = None


def some_actions(random, actions, count):
    if isinstance(actions, rl.Discrete):
        return random.integers(actions.count, size=count)
    return random.uniform(1.5 * actions.low, 1.5 * actions.high, (count, actions.size))


def change(theirs, twin, random, physics):
    """Give both the same other physics."""
    for ours, names in twin.physics.items():
        physics[ours] *= random.uniform(0.6, 1.6)
        for name in names:
            setattr(theirs, name, physics[ours])
    if twin.name == "CartPole-v1":
        theirs.total_mass = theirs.masscart + theirs.masspole
        theirs.polemass_length = theirs.masspole * theirs.length
    if twin.name == "Acrobot-v1":
        theirs.LINK_COM_POS_1 = theirs.LINK_COM_POS_2 = physics["length"] / 2


@pytest.mark.parametrize("changed", [False, True], ids=["usual", "changed"])
def test_one_step_from_anywhere_is_the_same(pair, changed):
    ours, theirs, twin = pair
    random, physics = np.random.default_rng(1), dict(ours.physics)
    if changed:
        change(theirs, twin, random, physics)
    states = random.uniform(twin.low, twin.high, (500, len(twin.low)))
    actions = some_actions(random, ours.actions, 500)
    kind = type(ours.reset(jax.random.key(0), physics))
    step = partial(ours.step, jax.random.key(0), physics=physics)
    moved = jax.jit(jax.vmap(step))(kind(*jnp.asarray(states).T), jnp.asarray(actions))
    seen = jax.jit(jax.vmap(lambda state: ours.observe(state, physics)))(moved.state)

    ends = 0
    for row in range(500):
        place(theirs, states[row])
        observed, reward, terminated, *_ = theirs.step(actions[row])
        after = np.array([values[row] for values in moved.state])
        np.testing.assert_allclose(after, theirs.state, rtol=ROUNDING, atol=ROUNDING)
        np.testing.assert_allclose(moved.reward[row], reward, rtol=ROUNDING)
        np.testing.assert_allclose(seen[row], observed, rtol=1e-6, atol=1e-6)  # float32
        assert moved.terminated[row] == terminated
        ends += terminated
    assert ends > 5 or twin.name == "Pendulum-v1"


def test_whole_episodes_of_random_actions_are_the_same(pair, key):
    ours, theirs, _ = pair
    random = np.random.default_rng(2)

    @jax.jit
    def episode(start, actions):
        def step(state, action):
            moved = ours.step(key, state, action, ours.physics)
            return moved.state, moved

        return jax.lax.scan(step, start, actions)[1]

    for draw in jax.random.split(key, 15):
        start = ours.reset(draw, ours.physics)
        actions = some_actions(random, ours.actions, ours.horizon)
        moved = jax.device_get(episode(start, actions))
        state = start
        for index, action in enumerate(actions):
            if index % AGAIN == 0:
                place(theirs, state)
            _, reward, terminated, *_ = theirs.step(action)
            state = np.array([values[index] for values in moved.state])
            np.testing.assert_allclose(state, theirs.state, rtol=0, atol=ROUNDING)
            np.testing.assert_allclose(moved.reward[index], reward, rtol=0, atol=ROUNDING)
            assert moved.terminated[index] == terminated
            if terminated:
                break


def test_what_is_said_of_them_is_the_same(pair):
    ours, theirs, twin = pair
    spec = gymnasium.spec(twin.name)
    assert ours.horizon == spec.max_episode_steps
    assert ours.observation_shape == theirs.observation_space.shape
    threshold = np.nan if spec.reward_threshold is None else spec.reward_threshold
    np.testing.assert_equal(ours.threshold, threshold)
    if isinstance(ours.actions, rl.Discrete):
        assert ours.actions.count == theirs.action_space.n
    else:
        low, high = theirs.action_space.low, theirs.action_space.high
        assert (ours.actions.size, ours.actions.low, ours.actions.high) == (1, *low, *high)

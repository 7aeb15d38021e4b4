"""Every environment keeps the contract, starts where it says and is found by its name."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from tiny_worlds import TINY_WORLDS

from neoteny import rl
from neoteny.errors import UserError

WORLDS = {**rl.ENVIRONMENTS, **TINY_WORLDS}
CLASSIC = ["cartpole", "acrobot", "mountain-car", "pendulum"]


def make(name):
    if name.startswith("minatar"):
        pytest.importorskip("gymnax")
    return WORLDS[name]()


FURTHER = {name for name in rl.ENVIRONMENTS if name.startswith("minatar")} - {"minatar-breakout"}


@pytest.fixture(params=WORLDS)
def world(request):
    return make(request.param)


def any_action(key, actions):
    """At random; where actions are bounded, from three times the range that is allowed."""
    if isinstance(actions, rl.Discrete):
        return jax.random.randint(key, (), 0, actions.count)
    return jax.random.uniform(key, (actions.size,), minval=3 * actions.low, maxval=3 * actions.high)


def walk(world, key, steps):
    """Act at random, and begin anew where an episode ends."""

    def step(state, key):
        act, go, anew = jax.random.split(key, 3)
        moved = world.step(go, state, any_action(act, world.actions), world.physics)
        fresh = world.reset(anew, world.physics)
        state = jax.tree.map(partial(jnp.where, moved.terminated), fresh, moved.state)
        return state, (moved, world.observe(moved.state, world.physics))

    begin, keys = world.reset(key, world.physics), jax.random.split(key, steps)
    return jax.lax.scan(step, begin, keys)[1]


@pytest.mark.parametrize(
    "double",
    [
        pytest.param(False, id="float32"),
        pytest.param(True, id="float64", marks=pytest.mark.further),
    ],
)
def test_a_thousand_random_steps_keep_shapes_and_types_and_stay_finite(world, key, double):
    with jax.enable_x64(double):
        moved, seen = jax.jit(partial(walk, world, steps=1000))(key)
        float_type = jnp.result_type(float)
    assert seen.shape == (1000, *world.observation_shape)
    assert moved.reward.shape == moved.terminated.shape == (1000,)
    assert seen.dtype == moved.reward.dtype == float_type == ("float64" if double else "float32")
    assert moved.terminated.dtype == bool
    assert all(np.isfinite(values).all() for values in jax.tree.leaves((moved, seen)))


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
def test_a_step_keeps_the_structure_and_the_types_of_the_state(world, key, double):
    def types(state):
        leaves, structure = jax.tree.flatten(jax.eval_shape(state))
        return structure, [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in leaves]

    with jax.enable_x64(double):
        reset = lambda: world.reset(key, world.physics)
        action = any_action(key, world.actions)
        step = lambda: world.step(key, reset(), action, world.physics).state
        assert types(step) == types(reset)
        assert not any(weak for *_, weak in types(reset)[1])


@pytest.mark.parametrize(
    "name",
    [
        # games take long to compile, and one of them shows what all do
        pytest.param(name, marks=pytest.mark.further if name in FURTHER else ())
        for name in rl.ENVIRONMENTS
    ],
)
def test_many_at_once_are_what_each_is_alone(name, key):
    world = make(name)
    keys = jax.random.split(key, 8)
    scale = np.linspace(0.6, 1.9, 8)
    physics = {name: scale * value for name, value in world.physics.items()}

    def three_steps(key, physics):
        def step(state, draw):
            moved = world.step(draw, state, any_action(draw, world.actions), physics)
            return moved.state, (moved, world.observe(moved.state, physics))

        return jax.lax.scan(step, world.reset(key, physics), jax.random.split(key, 3))[1]

    together = jax.jit(jax.vmap(three_steps))(keys, physics)
    alone = jax.jit(three_steps)
    each = [alone(keys[row], {name: v[row] for name, v in physics.items()}) for row in range(8)]
    stacked = jax.tree.map(lambda *rows: np.stack(rows), *each)
    # a compiler may order a sum in another way in a loop over many
    same = partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-13)
    jax.tree.map(same, together, stacked)


@pytest.mark.parametrize("name", CLASSIC)
def test_other_physics_compile_nothing(name, key):
    world, traces = make(name), []

    @jax.jit
    def begin_and_step(key, physics):
        traces.append(None)
        state = world.reset(key, physics)
        return world.step(key, state, any_action(key, world.actions), physics)

    for factor in (1.0, 2.0, 0.5):
        begin_and_step(key, {name: factor * value for name, value in world.physics.items()})
    assert len(traces) == 1


@pytest.mark.parametrize("name", ["pendulum", "reach"])
def test_only_what_a_box_allows_is_done(name, key):
    world = WORLDS[name]()
    size, low, high = world.actions
    state = world.reset(key, world.physics)
    step = jax.jit(world.step)
    go = lambda value: step(key, state, jnp.full(size, value), world.physics)
    for asked, done in ((high + 5, high), (low - 5, low)):
        jax.tree.map(np.testing.assert_array_equal, go(asked), go(done))
    assert go(high).reward != go(0.9 * high).reward


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("cartpole", [-0.05] * 4, [0.05] * 4),
        ("acrobot", [-0.1] * 4, [0.1] * 4),
        ("mountain-car", [-0.6, 0], [-0.4, 0]),
        ("pendulum", [-np.pi, -1], [np.pi, 1]),
    ],
)
def test_an_episode_starts_uniformly_in_the_documented_range(name, low, high, key):
    world = rl.make_environment(name)
    many = jax.jit(jax.vmap(lambda k: world.reset(k, world.physics)))
    starts = jax.device_get(many(jax.random.split(key, 3000)))
    moving = []
    for values, least, most in zip(starts, low, high, strict=True):
        if least == most:
            assert (values == least).all()
        else:
            assert stats.kstest((values - least) / (most - least), "uniform").pvalue > 1e-3
            moving.append(values)
    # 1 / sqrt(3000) is 0.018: five such
    independent = np.atleast_2d(np.corrcoef(moving)) - np.eye(len(moving))
    assert np.abs(independent).max() < 0.09


@pytest.mark.parametrize("name", CLASSIC)
def test_every_number_of_the_physics_matters(name, key):
    world = rl.make_environment(name)

    @jax.jit
    def after(physics):
        state = world.reset(key, world.physics)
        for _ in range(2):
            action = 0 if isinstance(world.actions, rl.Discrete) else jnp.ones(1)
            state = world.step(key, state, action, physics).state
        return jnp.stack(state)

    usual = after(dict(world.physics))
    for number, value in world.physics.items():
        changed = after({**world.physics, number: 2 * value})
        assert np.abs(changed - usual).max() > 1e-6, number


def test_an_unknown_environment_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"no environment `cartpol`\. Did you mean `cartpole`\?"):
        rl.make_environment("cartpol")
    with pytest.raises(UserError, match="no game of MinAtar `pong`"):
        rl.minatar("pong")


def test_minatar_without_gymnax_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gymnax", None)
    with pytest.raises(UserError, match=r'pip install "neoteny\[rl\]"'):
        rl.make_environment("minatar-breakout")

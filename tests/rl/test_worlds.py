"""Streams for agents: any task at any time, and only what they say is changed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import rl
from neoteny.errors import UserError


@pytest.fixture(params=rl.WORLDS)
def worlds(request):
    plain = rl.make_environment("cartpole")
    own = {"friction": 1.0, "game": 0.0}  # for `slippery` and `minatar-sequence`
    environment = plain._replace(physics={**plain.physics, **own})
    return rl.make_worlds(request.param, environment)


def test_a_task_is_the_same_whenever_it_is_drawn_and_under_jit(worlds, key):
    seven = worlds(key, 7)
    for index in (0, 3):
        worlds(key, index)
    for again in (worlds(key, 7), jax.jit(worlds)(key, jnp.int32(7))):
        jax.tree.map(np.testing.assert_array_equal, seven, again)


def test_offsets_are_normal_of_their_scale_and_none_at_first(key):
    worlds = rl.make_worlds("offset-observations", rl.make_environment("cartpole"), {"scale": 3.0})
    assert not worlds(key, 0).offset.any()
    drawn = jax.vmap(lambda index: worlds(key, index).offset)(jnp.arange(1, 4001))
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.2)
    np.testing.assert_allclose(drawn.std(0), 3, rtol=0.05)
    assert abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.06
    np.testing.assert_array_equal(worlds(key, 5).order, range(4))


def test_every_order_of_entries_comes_equally_often(key):
    worlds = rl.make_worlds("permuted-observations", rl.make_environment("cartpole"))
    drawn = jax.vmap(lambda index: worlds(key, index).order)(jnp.arange(4000))
    for place in range(4):
        for entry in range(4):
            assert abs((drawn[:, place] == entry).mean() - 0.25) < 0.03
    assert not worlds(key, 3).offset.any()


def test_one_number_changes_by_a_factor_even_in_its_logarithm(key):
    environment = rl.make_environment("cartpole")
    options = {"number": "gravity", "low": 0.25, "high": 4.0}
    worlds = rl.make_worlds("changing-physics", environment, options)
    first = worlds(key, 0).physics
    assert {name: float(value) for name, value in first.items()} == pytest.approx(
        dict(environment.physics)
    )
    drawn = jax.vmap(lambda index: worlds(key, index).physics)(jnp.arange(1, 4001))
    factors = np.log(np.asarray(drawn["gravity"]) / 9.8) / np.log(4)
    assert -1 <= factors.min() < -0.99 and 0.99 < factors.max() <= 1
    np.testing.assert_allclose([factors.mean(), factors.std()], [0, 1 / np.sqrt(3)], atol=0.03)
    assert (drawn["force"] == drawn["force"][0]).all()


def test_what_is_seen_is_reordered_then_offset():
    world = rl.World(jnp.array([2, 0, 1, 3]), jnp.array([10.0, 0, 0, 0]), {})
    found = rl.seen(world, jnp.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(found, [[13, 1], [2, 4]])


@pytest.mark.parametrize(
    ("rule", "options", "words"),
    [
        ("offset-observation", {}, "offset-observations"),
        ("offset-observations", {"scal": 1.0}, "scale"),
        ("offset-observations", {"scale": -1.0}, "`scale` is -1.0"),
        ("offset-observations", {"scale": float("nan")}, "`scale` is nan"),
        ("permuted-observations", {"scale": 1.0}, "takes no options"),
        ("changing-physics", {"number": "gravty"}, "gravity"),
        ("changing-physics", {"low": 3.0}, "`low` is 3.0"),
        ("changing-physics", {"low": 0.0}, "`low` is 0.0"),
    ],
)
def test_what_cannot_be_is_said_with_what_can(rule, options, words):
    with pytest.raises(UserError, match=words):
        rl.make_worlds(rule, rl.make_environment("cartpole"), options)

"""An episode is acted to its end, and its moments are drawn as they were."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import rl
from neoteny.report.strip import strips


def counting(end=7, horizon=100, shape=(1,)):
    """A reward of 2 a step until `end` steps are taken; the observation is how many were."""
    return rl.Environment(
        reset=lambda key, physics: jnp.zeros((), jnp.int32),
        observe=lambda state, physics: jnp.full(shape, state, float),
        step=lambda key, state, action, physics: rl.Transition(
            state + 1, jnp.array(2.0), state + 1 == end
        ),
        observation_shape=shape,
        actions=rl.Discrete(2),
        physics={},
        horizon=horizon,
    )


def played(environment, key, **options):
    choose = lambda key, observations: np.zeros(1, int)
    return rl.play(environment, choose, rl.as_it_is(environment), key, **options)


def test_an_episode_has_its_steps_its_return_and_moments_evenly_spaced(key):
    episode = played(counting(), key, frames=3)
    assert (episode.steps, episode.total) == (7, 14.0)
    assert [frame.step for frame in episode.frames] == [0, 4, 7]
    assert [float(frame.lines[0][0, 1]) for frame in episode.frames] == [0, 4, 7]  # what was seen


def test_an_episode_is_cut_off_at_the_horizon(key):
    episode = played(counting(horizon=4), key)
    assert (episode.steps, len(episode.frames)) == (4, 5)


def test_of_a_board_the_last_channel_of_each_cell_is_shown(key):
    board = np.zeros((2, 2, 3))
    board[0, 1, 0], board[0, 1, 2], board[1, 0, 1] = 1, 1, 1
    world = counting(shape=board.shape)._replace(observe=lambda state, physics: jnp.asarray(board))
    np.testing.assert_array_equal(played(world, key).frames[0].board, [[0, 3], [2, 0]])


@pytest.mark.parametrize("name", ["cartpole", "acrobot", "mountain-car", "pendulum"])
def test_sketches_are_lines_in_a_plane(name, key):
    environment = rl.make_environment(name)
    state = environment.reset(key, environment.physics)
    for line in jax.jit(environment.sketch)(state, environment.physics):
        assert line.shape[1] == 2 and np.isfinite(line).all()


def test_what_leans_to_the_right_is_drawn_so():
    def end(name, *numbers):
        environment = rl.make_environment(name)
        blank = environment.reset(jax.random.key(0), environment.physics)
        state = type(blank)(*map(jnp.array, numbers))
        return environment.sketch(state, environment.physics)[-1][-1]

    np.testing.assert_allclose(end("cartpole", 1.0, 0.0, np.pi / 2, 0.0), [2.0, 0.25], atol=1e-9)
    np.testing.assert_allclose(end("pendulum", 0.0, 0.0), [0, 1], atol=1e-9)
    np.testing.assert_allclose(end("acrobot", 0.0, 0.0, 0.0, 0.0), [0, -2], atol=1e-9)
    np.testing.assert_allclose(end("acrobot", np.pi / 2, 0.0, 0.0, 0.0), [2, 0], atol=1e-9)


def test_an_ant_is_drawn_above_its_ground():
    pytest.importorskip("mujoco")
    ant = rl.make_environment("slippery-ant")
    copy = ant.make(ant.physics, 0)
    copy.reset()
    ground, *body = copy.sketch()
    assert len(body) == 13  # a torso, and three parts of each leg
    assert all(line[:, 1].min() > 0 for line in body)
    assert ground[0, 0] < body[0][:, 0].min() and body[0][:, 0].max() < ground[1, 0]


def test_a_strip_tells_what_came_of_it_and_trusts_no_name(key):
    episode = played(counting(), key)
    text = strips([SimpleNamespace(method="<b>", seed=1, task=2, episode=episode)])
    assert "&lt;b&gt;</b>, seed 1, task 2: return 14 in 7 steps" in text
    assert text.count("<polyline") == len(episode.frames)
    assert strips([]) == ""

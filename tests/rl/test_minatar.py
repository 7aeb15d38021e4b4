"""MinAtar's games are gymnax's, but go on past its limit of steps."""

import jax
import numpy as np
import pytest

from neoteny import rl
from neoteny.errors import UserError
from neoteny.rl.minatar import GAMES

gymnax = pytest.importorskip("gymnax")
pytestmark = pytest.mark.filterwarnings("ignore")  # JAX warns of gymnax's own conversions


FURTHER = ("freeway", "space-invaders")


@pytest.fixture(
    params=[
        pytest.param(game, marks=pytest.mark.further if game in FURTHER else ()) for game in GAMES
    ]
)
def pair(request):
    """Ours, and theirs with its settings, as gymnax makes it."""
    return rl.minatar(request.param), *gymnax.make(f"{GAMES[request.param]}-MinAtar")


def test_the_same_keys_and_actions_lead_to_the_same_boards_and_points(pair, key):
    ours, theirs, settings = pair
    step, observe = jax.jit(ours.step), jax.jit(ours.observe)
    their_step = jax.jit(theirs.step_env)
    rewards, ends = 0, 0
    state, their_state = ours.reset(key, {}), theirs.reset_env(key, settings)[1]
    for action, draw in zip(
        np.random.default_rng(1).integers(ours.actions.count, size=400),
        jax.random.split(key, 400),
        strict=True,
    ):
        moved = step(draw, state, action, {})
        seen, their_state, reward, done, _ = their_step(draw, their_state, action, settings)
        np.testing.assert_array_equal(observe(moved.state, {}), seen)
        assert (moved.reward, moved.terminated) == (reward, done)
        state, rewards, ends = moved.state, rewards + reward, ends + done
        if done:
            state, their_state = ours.reset(draw, {}), theirs.reset_env(draw, settings)[1]
    assert rewards > 0 or "Freeway" in theirs.name  # which no random player crosses in 400 steps
    assert ends > 0 or "Freeway" in theirs.name


def test_a_game_at_its_limit_of_steps_is_cut_off_but_has_not_ended(pair, key):
    ours, theirs, settings = pair
    assert ours.horizon == settings.max_steps_in_episode
    last = ours.reset(key, {})
    last = last.replace(time=last.time + ours.horizon - 1)
    assert theirs.step_env(key, last, 0, settings)[3]
    assert not ours.step(key, last, 0, {}).terminated


def test_each_game_of_all_games_is_itself_with_every_action_and_a_padded_board(key):
    every = rl.make_environment("minatar")
    assert every.observation_shape == (10, 10, 7)
    worlds = rl.make_worlds("minatar-sequence", every, {"games": ",".join(GAMES)})
    play = jax.jit(lambda world, key, state, action: every.step(key, state, action, world.physics))
    look = jax.jit(lambda world, state: every.observe(state, world.physics))
    for place, name in enumerate(GAMES):
        alone = rl.minatar(name, every_action=True)
        assert alone.actions == every.actions
        world = worlds(key, place)
        state, other = every.reset(key, world.physics), alone.reset(key, {})
        channels = alone.observation_shape[-1]
        step = jax.jit(alone.step)
        for action, draw in enumerate(jax.random.split(key, 12)):
            moved = play(world, draw, state, action % 6)
            expected = step(draw, other, action % 6, {})
            board = look(world, moved.state)
            np.testing.assert_array_equal(board[..., :channels], alone.observe(expected.state, {}))
            assert not board[..., channels:].any()
            assert (moved.reward, moved.terminated) == (expected.reward, expected.terminated)
            state, other = moved.state, expected.state


def test_games_follow_one_another_and_come_again(key):
    every = rl.make_environment("minatar")
    worlds = rl.make_worlds("minatar-sequence", every, {"games": "freeway, breakout"})
    games = [list(GAMES)[int(worlds(key, index).physics["game"])] for index in range(4)]
    assert games == ["freeway", "breakout"] * 2


def test_games_that_there_are_not_are_refused():
    every = rl.make_environment("minatar")
    with pytest.raises(UserError, match="no game of MinAtar `seaquest`"):
        rl.make_worlds("minatar-sequence", every, {"games": "seaquest"})
    with pytest.raises(UserError, match="this environment has only one"):
        rl.make_worlds("minatar-sequence", rl.make_environment("minatar-freeway"))

"""MinAtar's games are gymnax's, but go on past its limit of steps."""

import jax
import numpy as np
import pytest

from neoteny import rl
from neoteny.rl.minatar import GAMES

gymnax = pytest.importorskip("gymnax")
pytestmark = pytest.mark.filterwarnings("ignore")  # JAX warns of gymnax's own conversions


@pytest.fixture(params=GAMES)
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

"""Environments on the host: Gymnasium's own steps, real friction, and runs that repeat exactly."""

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import neoteny
import tiny
from neoteny import loop, rl, store
from neoteny.config import Study, validated
from neoteny.errors import UserError
from neoteny.sweep import expand

pytestmark = pytest.mark.usefixtures("compiled_once")


class Count:
    """Sees how many steps its episode has taken, and a number of its own; an action pays itself.

    It terminates after `last` steps, or is cut off after `cut`. From `broken` steps in all on, its
    rewards are NaN.
    """

    def __init__(self, seed, last=4, cut=99, broken=None, pay=1.0):
        self.own, self.last, self.broken, self.pay = seed % 1000 / 1000, last, broken, pay
        self.cut, self.taken = cut, 0

    def reset(self):
        self.steps = 0
        return np.array([self.steps, self.own])

    def step(self, action):
        self.steps, self.taken = self.steps + 1, self.taken + 1
        wrong = self.broken is not None and self.taken > self.broken
        reward = float("nan") if wrong else float(self.pay * action)
        ends = self.steps >= self.last, self.steps >= self.cut
        return np.array([self.steps, self.own]), reward, *ends

    def close(self):
        self.closed = True


def count(**options):
    """A `HostEnvironment` of such copies; of the shapes of Gymnasium's MountainCar."""
    make = lambda physics, seed: Count(seed, **options)
    return rl.HostEnvironment("count", make, (2,), rl.Discrete(3), {})


def broken():
    """One whose rewards are NaN from the seventh step on."""
    return count(broken=6)


def rich():
    """One whose rewards are so large that no loss of them is finite."""
    return count(pay=1e300)


class Lived(NamedTuple):
    """What Gymnasium's own loop gives, in the order of a `Rollout`'s fields."""

    observations: np.ndarray
    rewards: np.ndarray
    following: np.ndarray
    terminated: np.ndarray
    ended: np.ndarray


def lived(env, seed, act, steps):
    """Gymnasium as its manual steps it, one environment alone."""
    rows, (observation, _) = [], env.reset(seed=seed)
    for step in range(steps):
        following, reward, terminated, truncated, _ = env.step(act(step, observation))
        rows.append((observation, reward, following, terminated, terminated or truncated))
        observation = env.reset()[0] if terminated or truncated else following
    return Lived(*map(np.array, zip(*rows, strict=True)))


def agrees(environment, env_id, act, seeds, steps, **options):
    """Live in our seats, and see that as many environments of Gymnasium live the same."""
    gymnasium = pytest.importorskip("gymnasium")
    choose = lambda step, seen: np.array([act(step, each) for each in seen])
    with rl.Seats(environment, environment.physics, np.array(seeds)) as seats:
        found = seats.act(choose, steps)
    for place, seed in enumerate(seeds):
        theirs = lived(gymnasium.make(env_id, **options), seed, act, steps)
        for name, expected in theirs._asdict().items():
            found_here = getattr(found, name)[:, place]
            # sums of rewards may be taken in another order
            np.testing.assert_allclose(found_here, expected, 0, 1e-13, err_msg=name)
    return found


def steadying(step, observation):
    """Keeps a pole upright for as long as it is let."""
    return int(observation[2] + observation[3] > 0)


def test_cartpole_is_gymnasiums_until_it_is_cut_off():
    pytest.importorskip("gymnasium")
    environment = rl.make_environment("gymnasium:CartPole-v1")
    found = agrees(environment, "CartPole-v1", steadying, [3, 4], 600)
    cut = found.ended & ~found.terminated
    assert np.argwhere(cut[:, 0])[:, 0].tolist() == [499]
    assert found.totals[499, 0] == 500


def test_cartpole_is_gymnasiums_where_it_falls():
    pytest.importorskip("gymnasium")
    environment = rl.make_environment("gymnasium:CartPole-v1")
    found = agrees(environment, "CartPole-v1", lambda step, seen: step // 3 % 2, [0, 1], 200)
    assert found.terminated.sum() > 5
    assert (found.terminated == found.ended).all()


def test_pendulum_is_gymnasiums_with_actions_beyond_its_bounds():
    pytest.importorskip("gymnasium")
    environment = rl.make_environment("gymnasium:Pendulum-v1")
    assert (environment.actions, environment.horizon) == (rl.Box(1, -2.0, 2.0), 200)
    wide = lambda step, seen: np.array([np.sin(step) * 5], np.float32)
    agrees(environment, "Pendulum-v1", wide, [7], 250)


def limping(step, observation):
    return np.sin(step * np.arange(1, 9) / 3)


@pytest.fixture(scope="module")
def ant():
    pytest.importorskip("mujoco")
    pytest.importorskip("gymnasium")
    return rl.make_environment("slippery-ant")


@pytest.mark.parametrize("forces", [True, False])
def test_the_ant_is_gymnasiums_until_it_falls(forces):
    pytest.importorskip("mujoco")
    pytest.importorskip("imageio")
    ant = rl.make_environment("slippery-ant-v5" if forces else "slippery-ant")
    assert ant.observation_shape == ((105,) if forces else (27,))
    without = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}
    found = agrees(ant, "Ant-v5", limping, [0, 1], 200, **({} if forces else without))
    assert found.terminated.any()


def test_the_ant_is_gymnasiums_until_it_is_cut_off():
    pytest.importorskip("mujoco")
    pytest.importorskip("imageio")
    still, ant = lambda step, seen: np.zeros(8), rl.make_environment("slippery-ant-v5")
    found = agrees(ant._replace(horizon=50), "Ant-v5", still, [2], 120, max_episode_steps=50)
    assert np.argwhere(found.ended)[:, 0].tolist() == [49, 99]
    assert not found.terminated.any()
    assert ant.horizon == sys.modules["gymnasium"].spec("Ant-v5").max_episode_steps


def test_actions_beyond_the_bounds_of_the_ant_are_clipped_also_in_what_they_cost(ant):
    one, other = (ant.make(ant.physics, 5) for _ in range(2))
    one.reset(), other.reset()
    for sign in (1, -1, 1):
        wild, tame = one.step(np.full(8, 3.0 * sign)), other.step(np.full(8, 1.0 * sign))
        np.testing.assert_array_equal(wild[0], tame[0])
        assert wild[1:] == tame[1:]


def standing(ant, **physics):
    """An ant that has come to stand on the ground."""
    fallen = ant.make(ant.physics | physics, 0)
    fallen.reset()
    for _ in range(100):
        fallen.step(np.zeros(8))
    assert fallen.data.ncon >= 3
    return fallen


@pytest.mark.parametrize("friction", [0.05, 1.5])
def test_friction_is_that_of_every_contact(ant, friction):
    contacts = standing(ant, friction=friction).data.contact.friction[:, :2]
    np.testing.assert_array_equal(contacts, friction)


def test_one_ants_friction_is_no_others(ant):
    usual = ant.make(ant.physics, 0)
    ant.make(ant.physics | {"friction": 3.0}, 1)
    usual.reset()
    for _ in range(100):
        usual.step(np.zeros(8))
    np.testing.assert_array_equal(usual.data.contact.friction[:, 0], 1.0)


def test_gravity_is_what_the_ant_weighs():
    pytest.importorskip("mujoco")
    weights = []
    for gravity in (9.81, 3.0):
        still = standing(rl.make_environment("slippery-ant-v5"), gravity=gravity)
        mass = still.model.body_mass.sum()
        weights.append(np.sum(still.data.cfrc_ext[1:, 5]) / mass)
    np.testing.assert_allclose(weights, (9.81, 3.0), rtol=0.05)  # it has nearly come to rest


def test_a_simulation_that_falls_apart_has_terminated_and_goes_on_with_finite_numbers(
    ant, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log
    wrong = ant.make(ant.physics, 0)
    wrong.reset()
    wrong.step(np.zeros(8))
    wrong.data.qvel[3] = np.nan
    observation, reward, terminated, truncated = wrong.step(np.ones(8))
    assert np.isfinite(observation).all()
    assert (terminated, truncated) == (True, False)
    assert -5 < reward <= 0


def test_eulers_ant_is_another_one(ant):
    euler = rl.make_environment("slippery-ant-euler")
    ends = [standing(each).data.qpos.copy() for each in (ant, euler)]
    assert np.abs(ends[0] - ends[1]).max() > 1e-4
    assert euler.name == "slippery-ant-euler"


def test_threads_change_nothing(ant, monkeypatch):
    def walked(threads):
        monkeypatch.setattr("neoteny.rl.seats._cores", lambda: 3)
        with rl.Seats(ant._replace(threads=threads), ant.physics, np.arange(4)) as seats:
            assert (seats.pool is not None) == threads
            return seats.act(lambda step, seen: np.clip(seen[:, :8], -1, 1), 60)

    for one, other in zip(walked(False), walked(True), strict=True):
        np.testing.assert_array_equal(one, other)


def test_episodes_begin_anew_after_the_observation_that_ended_them():
    with rl.Seats(count(last=3)._replace(horizon=5), {}, np.array([8])) as seats:
        found = seats.act(lambda step, seen: np.ones(1), 7)
    assert found.observations[:, 0, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert found.following[:, 0, 0].tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert found.totals[:, 0].tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert np.argwhere(found.terminated[:, 0])[:, 0].tolist() == [2, 5]
    assert seats.copies[0].closed


@pytest.mark.parametrize("world", [count(last=9)._replace(horizon=2), count(last=9, cut=2)])
def test_a_horizon_or_the_environment_cuts_off_and_does_not_terminate(world):
    with rl.Seats(world, {}, np.array([8])) as seats:
        first, then = (seats.act(lambda step, seen: np.ones(1), 3) for _ in range(2))
    assert first.ended[:, 0].tolist() == [False, True, False]
    assert then.ended[:, 0].tolist() == [True, False, True]  # it went on where it stood
    assert not first.terminated.any()


def test_an_agent_gone_to_nan_does_nothing_and_the_world_stays_whole():
    with rl.Seats(count(), {}, np.array([8])) as seats:
        found = seats.act(lambda step, seen: np.array([np.nan]), 3)
    assert np.isnan(found.actions).all()
    assert (found.rewards == 0).all()


def test_nonsense_from_an_environment_is_told_with_its_step_and_seat():
    whole, wrong = count(), count(broken=6)
    make = lambda physics, seed: (wrong if seed == 5 else whole).make(physics, seed)
    with rl.Seats(whole._replace(make=make), {}, np.array([4, 5])) as seats:
        seats.act(lambda step, seen: np.ones(2), 4)
        with pytest.raises(UserError, match=r"`count` gave a reward .* step 6 .* seat 1"):
            seats.act(lambda step, seen: np.ones(2), 4)


def study(environment="count"):
    """A study of a small agent; one for all tests, so that it is compiled once."""
    setting = {
        "stream": {"rule": "offset-observations", "environment": environment},
        "tasks": 3,
        "metric": "online_return",
        "network": {"widths": [8]},
        "training": {"optimiser": "adam", "learning_rate": 0.03, "batch": 16, "epochs": 2},
        "agent": {
            "seats": 4,
            "rollout": 16,
            "iterations": 4,
            "discount": 0.5,
            "advantage_decay": 1.0,
        },
        "probes": {"names": [], "fresh_every": 0, "spectrum_every": 0},
    }
    whole = {"name": "tiny", "methods": ["bp"], "seeds": 1, "streams": {"counting": setting}}
    return validated(Study, whole)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    for make in (count, broken, rich):
        monkeypatch.setitem(rl.HOST_ENVIRONMENTS, make.__name__, make)


def born(asked, key):
    """The streams of worlds, the machine and a newborn agent of a study's first run."""
    worlds, machine = rl.prepare(expand(asked)[0])
    return worlds, machine, machine.trainer.initialise(machine.network.init(key))


def same(one, other):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(first, second) for first, second in leaves)


def test_a_life_depends_on_its_key_alone(key):
    worlds, machine, learner = born(study(), key)
    world, keys = worlds(key, 0), jax.random.split(key, 3)
    rows = machine.opening(learner, world, keys[0])
    assert same(rows, machine.opening(learner, world, keys[0]))
    assert not np.array_equal(rows.inputs, machine.opening(learner, world, keys[1]).inputs)
    by_sight = {}
    for sight, action in zip(np.asarray(rows.inputs), np.asarray(rows.labels.actions), strict=True):
        by_sight.setdefault(sight.tobytes(), set()).add(int(action))
    assert len(by_sight) == 16  # four steps of each seat, seen four times each
    assert any(len(actions) > 1 for actions in by_sight.values())
    one = machine.live(learner, world, rows, keys[0])
    assert same(one, machine.live(learner, world, rows, keys[0]))
    assert not same(one, machine.live(learner, world, rows, keys[2]))
    paid = one[1].returns / one[1].episodes
    assert paid.shape == (4,)
    assert (one[1].episodes == 16).all()  # 64 steps in episodes of 4
    assert paid[-1] > paid[0] + 0.5  # of 8 at best


def test_the_agent_sees_the_world_of_its_task(key):
    _, machine, learner = born(study(), key)
    plain = rl.as_it_is(count())
    other = plain._replace(order=jnp.array([1, 0]), offset=jnp.array([10.0, 20.0]))
    was, now = (machine.opening(learner, world, key).inputs for world in (plain, other))
    np.testing.assert_array_equal(now, was[:, ::-1] + other.offset[None])


def test_returns_and_advantages_are_those_of_a_rollout_by_hand(key):
    """With a critic of zeros, a discount of 1/2 and lambda 1, returns are discounted rewards."""
    _, machine, learner = born(study(), key)
    params = learner.params | {"critic": jax.tree.map(jnp.zeros_like, learner.params["critic"])}
    rows = machine.opening(learner._replace(params=params), rl.as_it_is(count()), key)
    rows = jax.tree.map(np.asarray, rows)
    by_step = {}
    for (step, _), action, worth in zip(
        rows.inputs, rows.labels.actions, rows.labels.returns, strict=True
    ):
        by_step.setdefault(int(step), []).append((float(action), float(worth)))
    assert all(worth == action for action, worth in by_step[3])  # the last step of an episode
    following = {worth for _, worth in by_step[3]}
    assert all(min(abs(w - a - 0.5 * f) for f in following) < 1e-12 for a, w in by_step[2])


@pytest.mark.parametrize("environment", ["count", "gymnasium:MountainCar-v0"])
def test_a_run_that_was_stopped_ends_with_the_same_bits(environment, tmp_path, monkeypatch):
    if environment.startswith(rl.PREFIX):
        pytest.importorskip("gymnasium")
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)
    asked = study(environment)
    neoteny.run(asked, out=tmp_path / "whole")

    def stop(config, done, value):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        neoteny.run(asked, out=tmp_path / "parts", on_task=stop)
    assert store.status(tmp_path / "parts")[0]["tasks_done"] == 2
    assert neoteny.run(asked, out=tmp_path / "parts").outcomes[0].status == "finished"
    assert tiny.contents(tmp_path / "parts") == tiny.contents(tmp_path / "whole")


def test_a_run_in_a_broken_environment_fails_and_says_where(tmp_path):
    outcome = neoteny.run(study("broken"), out=tmp_path).outcomes[0]
    assert outcome.status == "failed"
    assert "`broken`" not in outcome.reason  # it is the name that the environment gives itself
    assert "`count` gave a reward that is not a finite number, in step 6" in outcome.reason


def test_a_run_that_diverges_is_a_finding(tmp_path):
    results = neoteny.run(study("rich"), out=tmp_path)
    assert results.outcomes[0].status == "diverged"
    (row,) = results.query("SELECT diverged_step, episodes, online_loss FROM tasks").rows
    assert row == (0, 16, None)  # of four iterations of 16 episodes the first


def test_seeds_do_not_go_together(tmp_path):
    with pytest.raises(UserError, match=r"`count`, which no compiled program can step"):
        neoteny.run(study(), out=tmp_path, seeds=2, together=True)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="apart"):
        loop.run_together(expand(study()), [tmp_path / "run"])


def test_unknown_names_are_answered_with_the_nearest(monkeypatch):
    pytest.importorskip("gymnasium")
    with pytest.raises(UserError, match=r"no environment `CartPole-v7`.*`gymnasium:CartPole-v1`"):
        rl.make_environment("gymnasium:CartPole-v7")
    with pytest.raises(UserError, match=r"Did you mean `slippery-ant`\?.*gymnasium:CartPole-v1"):
        rl.make_environment("slipery-ant")


def test_what_does_not_fit_an_agent_is_refused():
    gymnasium = pytest.importorskip("gymnasium")
    with pytest.raises(UserError, match=r"observations of `FrozenLake-v1` are Discrete\(16\)"):
        rl.make_environment("gymnasium:FrozenLake-v1")

    class Many(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(0, 1, (2,))
        action_space = gymnasium.spaces.MultiDiscrete([2, 3])

    gymnasium.register("Many-v0", Many)
    try:
        with pytest.raises(UserError, match=r"actions of `Many-v0` are MultiDiscrete\(\[2 3\]\)"):
            rl.make_environment("gymnasium:Many-v0")
    finally:
        del gymnasium.registry["Many-v0"]


def test_bytes_are_seen_as_255ths_and_numbers_of_actions_may_start_anywhere():
    gymnasium = pytest.importorskip("gymnasium")

    class Odd(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(0, 255, (1, 2), np.uint8)
        action_space = gymnasium.spaces.Discrete(3, start=5)

        def reset(self, *, seed=None, options=None):
            return np.array([[0, 255]], np.uint8), {}

        def step(self, action):
            return np.array([[51, action]], np.uint8), action, False, False, {}

    gymnasium.register("Odd-v0", Odd)
    try:
        odd = rl.make_environment("gymnasium:Odd-v0").make({}, 0)
    finally:
        del gymnasium.registry["Odd-v0"]
    assert odd.reset().tolist() == [[0, 1]]
    assert odd.step(np.int64(2)) == (pytest.approx(np.array([[0.2, 7 / 255]])), 7.0, False, False)


def test_vectors_of_actions_are_clipped_each_to_its_own_bounds_and_shaped():
    gymnasium = pytest.importorskip("gymnasium")
    low, high = np.array([[-1.0], [0.0]]), np.array([[1.0], [3.0]])

    class Wide(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-9, 9, (2, 1), np.float64)
        action_space = gymnasium.spaces.Box(low, high, dtype=np.float64)

        def step(self, action):
            return action, 0.0, False, False, {}

    gymnasium.register("Wide-v0", Wide, order_enforce=False)
    try:
        wide = rl.make_environment("gymnasium:Wide-v0")
        copy = wide.make({}, 0)
    finally:
        del gymnasium.registry["Wide-v0"]
    assert wide.actions == rl.Box(2, -1.0, 3.0)
    assert copy.step(np.array([2.0, 2.0]))[0].tolist() == [[1], [2]]
    assert copy.step(np.array([-2.0, -2.0]))[0].tolist() == [[-1], [0]]


@pytest.mark.parametrize("name", ["gymnasium:CartPole-v1", "slippery-ant"])
def test_a_missing_package_is_told_with_what_installs_it(name, monkeypatch):
    for package in ("gymnasium", "mujoco"):
        monkeypatch.setitem(sys.modules, package, None)
    sys.modules["neoteny.rl.ant"]._model.cache_clear()
    with pytest.raises(UserError, match=rf'`{name}` needs .*pip install "neoteny\[rl\]"'):
        rl.make_environment(name)


def test_slippery_has_the_published_frictions_and_then_its_own(key):
    plain = count()._replace(physics={"friction": 1.0, "gravity": 9.81})
    frictions = lambda **options: np.array(
        [rl.slippery(plain, **options)(key, index).physics["friction"] for index in range(8)]
    )
    published, drawn = frictions(), frictions(schedule="drawn")
    np.testing.assert_array_equal(published[:5], [0.2961, 0.2399, 0.0387, 0.3528, 0.0829])
    np.testing.assert_array_equal(published[5:], drawn[5:])
    assert len({*drawn, *published}) == 13
    assert rl.slippery(plain)(key, 3).physics["gravity"] == 9.81


def test_frictions_are_drawn_evenly_in_their_logarithm(key):
    plain = count()._replace(physics={"friction": 1.0})
    world = rl.slippery(plain, schedule="drawn")
    drawn = jax.jit(jax.vmap(lambda index: world(key, index).physics["friction"]))(jnp.arange(500))
    place = np.log(np.asarray(drawn) / 0.02) / np.log(100)
    assert stats.kstest(place, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    "options, words",
    [
        ({"schedule": "publshed"}, "Did you mean `published`"),
        ({"low": 0.0}, "`low` is 0.0"),
        ({"low": 3.0}, "`high` 2.0"),
    ],
)
def test_impossible_schedules_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        rl.slippery(count()._replace(physics={"friction": 1.0}), **options)


def test_slippery_needs_a_friction():
    with pytest.raises(UserError, match=r"no number of this environment.*slippery-ant"):
        rl.make_worlds("slippery", rl.make_environment("cartpole"))


def test_an_unknown_integrator_is_refused():
    with pytest.raises(UserError, match="Did you mean `euler`"):
        rl.ant(integrator="eular")

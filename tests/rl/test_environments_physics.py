"""Bodies move as their energies say, under whatever physics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from neoteny import rl
from neoteny.rl.acrobot import Acrobot
from neoteny.rl.cartpole import CartPole
from neoteny.rl.pendulum import Pendulum

ROUNDING = 1e-9  # of a difference of speeds over a step of 0.02 s


def accelerations(kinetic, potential, places, speeds, force):
    """Lagrange's equations, by differentiating the energies of a body."""
    momentum = jax.grad(kinetic, argnums=1)
    masses = jax.jacobian(momentum, argnums=1)(places, speeds)
    drift = jax.jvp(lambda q: momentum(q, speeds), (places,), (speeds,))[1]
    pull = jax.grad(lambda q: kinetic(q, speeds) - potential(q))(places)
    return jnp.linalg.solve(masses, force + pull - drift)


def speed_of(where, places, speeds):
    """How fast the point `where(places)` moves, squared."""
    return jnp.sum(jax.jvp(where, (places,), (speeds,))[1] ** 2)


def cartpole_energies(physics):
    cart, pole, arm = physics["cart_mass"], physics["pole_mass"], physics["half_length"]
    middle = lambda q: jnp.stack([q[0] + arm * jnp.sin(q[1]), arm * jnp.cos(q[1])])

    def kinetic(q, v):
        turning = pole * (2 * arm) ** 2 / 12 * v[1] ** 2
        return 0.5 * (cart * v[0] ** 2 + pole * speed_of(middle, q, v) + turning)

    return kinetic, lambda q: pole * physics["gravity"] * middle(q)[1]


def acrobot_energies(physics):
    length, inertia, gravity = physics["length"], physics["inertia"], physics["gravity"]
    down = lambda angle: jnp.stack([jnp.sin(angle), -jnp.cos(angle)])
    first = lambda q: length / 2 * down(q[0])
    second = lambda q: length * down(q[0]) + length / 2 * down(q[0] + q[1])

    def kinetic(q, v):
        moving = physics["first_mass"] * speed_of(first, q, v)
        moving += physics["second_mass"] * speed_of(second, q, v)
        return 0.5 * (moving + inertia * (v[0] ** 2 + (v[0] + v[1]) ** 2))

    def potential(q):
        heights = physics["first_mass"] * first(q)[1] + physics["second_mass"] * second(q)[1]
        return gravity * heights

    return kinetic, potential


def other_physics(world, random, count):
    return {name: value * random.uniform(0.5, 2, count) for name, value in world.physics.items()}


def test_the_cart_and_the_pole_obey_lagrange(key):
    random, world = np.random.default_rng(1), rl.cartpole()
    physics, states = other_physics(world, random, 50), random.uniform(-1, 1, (50, 4))

    def both(state, action, physics):
        after = world.step(key, CartPole(*state), action, physics).state
        found = jnp.stack([after.speed - state[1], after.turning - state[3]]) / 0.02
        force = jnp.stack([jnp.where(action == 1, 1, -1) * physics["force"], jnp.zeros(())])
        return found, accelerations(*cartpole_energies(physics), state[::2], state[1::2], force)

    found, expected = jax.jit(jax.vmap(both))(states, np.arange(50) % 2, physics)
    np.testing.assert_allclose(found, expected, rtol=ROUNDING)


def test_the_pendulum_is_a_uniform_rod(key):
    random, world = np.random.default_rng(1), rl.pendulum()
    physics, states = other_physics(world, random, 50), random.uniform(-1, 1, (50, 2))

    def both(state, torque, physics):
        mass, length = physics["mass"], physics["length"]
        after = world.step(key, Pendulum(*state), torque, physics).state
        kinetic = lambda q, v: 0.5 * mass * length**2 / 3 * v[0] ** 2
        potential = lambda q: mass * physics["gravity"] * length / 2 * jnp.cos(q[0])
        found = (after.turning - state[1:]) / 0.05
        return found, accelerations(kinetic, potential, state[:1], state[1:], torque)

    torques = random.uniform(-2, 2, (50, 1))
    found, expected = jax.jit(jax.vmap(both))(states, torques, physics)
    np.testing.assert_allclose(found, expected, rtol=ROUNDING)


@pytest.mark.parametrize("action", [0, 1, 2])
def test_the_acrobot_obeys_lagrange_up_to_an_error_of_fifth_order(action, key):
    """Slowing everything by a factor is a shorter step: Runge-Kutta errs by its fifth power."""
    world, random = rl.acrobot(), np.random.default_rng(action)
    usual = {name: values[0] for name, values in other_physics(world, random, 1).items()}
    places, speeds = random.uniform(-2, 2, 2), random.uniform(-2, 2, 2)
    step, rates = jax.jit(world.step), jax.jit(_acrobot_rates)
    errors, slower = [], np.array([1, 0.5, 0.25, 0.125])
    for factor in slower:
        slow = {name: usual[name] * factor**2 for name in ("gravity", "torque")}
        physics = {**usual, **slow}
        start = np.concatenate([places, factor * speeds])
        after = step(key, Acrobot(*jnp.asarray(start)), action, physics).state
        exact = _flow(rates, start, (action - 1) * physics["torque"], physics)
        errors.append(np.linalg.norm(np.array(after)[:2] - exact[:2]))
    order = np.polyfit(np.log(slower), np.log(errors), 1)[0]
    assert order == pytest.approx(5, abs=0.5)


def _acrobot_rates(state, torque, physics):
    force = jnp.stack([jnp.zeros(()), torque])
    faster = accelerations(*acrobot_energies(physics), state[:2], state[2:], force)
    return jnp.concatenate([state[2:], faster])


def _flow(rates, start, torque, physics):
    """Where Lagrange's equations lead in 0.2 s, to twelve digits."""
    slope = lambda time, state: np.asarray(rates(state, torque, physics))
    return solve_ivp(slope, (0, 0.2), start, "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]


@pytest.mark.parametrize("position", [-1.1, -0.7, -0.5, 0.2])
def test_a_coasting_car_is_pulled_down_its_valley(position, key):
    world = rl.mountain_car()
    start = world.reset(key, world.physics)._replace(position=jnp.asarray(position))
    slope = jax.grad(lambda x: jnp.sin(3 * x) / 3)(position)
    for gravity in (0.0025, 0.005):
        after = world.step(key, start, 1, {"gravity": gravity, "force": 0.001}).state
        np.testing.assert_allclose(after.speed, -gravity * slope, rtol=1e-12)

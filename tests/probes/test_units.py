import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.probes import activation_overlap, firing_rates, unit_health
from neoteny.types import Network, UnitGroup

ROWS, UNITS = 20, 4


def network(activation):
    """Two hidden layers whose units each read one number, and so are easy to set."""

    def apply(params, inputs):
        hidden = inputs
        features = []
        for layer in params["hidden"]:
            hidden = activation(hidden * layer["scale"][None, :] + layer["shift"][None, :])
            features.append(hidden)
        return hidden @ params["out"], tuple(features)

    groups = tuple(
        UnitGroup(f"hidden_{i}", UNITS, (), (), (), ("hidden", i, "shift")) for i in range(2)
    )
    return Network(lambda key: parameters(), apply, groups)


def parameters(scale=(1.0,) * UNITS, shift=(0.0,) * UNITS):
    plain = {"scale": jnp.ones(UNITS), "shift": jnp.zeros(UNITS)}
    chosen = {"scale": jnp.array(scale), "shift": jnp.array(shift)}
    return {"hidden": [chosen, plain], "out": jnp.ones((UNITS, 3))}


@pytest.fixture
def inputs(key):
    return jax.random.uniform(key, (ROWS, UNITS), minval=-1.0, maxval=1.0)


def first(health):
    return [float(field[0]) for field in health]


def test_relu_units_below_zero_on_every_row_are_dead_dormant_and_saturated(inputs):
    params = parameters(shift=(-2.0, -1.5, 0.0, 1.0))
    health = unit_health(network(jax.nn.relu), params, inputs)
    np.testing.assert_allclose(health, np.full((3, 2), 0.5))


def test_a_unit_that_speaks_on_one_row_is_not_dead(inputs):
    silent = inputs.at[:, 0].set(-1.0).at[:, 1:].set(1.0)
    relu = network(jax.nn.relu)
    assert unit_health(relu, parameters(), silent).dead[0] == 1 / UNITS
    assert unit_health(relu, parameters(), silent.at[3, 0].set(1e-9)).dead[0] == 0


@pytest.mark.parametrize("size, dormant", [(0.99, 0.25), (1.01, 0.0)])
def test_a_unit_is_dormant_up_to_tau_of_the_mean_of_its_layer(size, dormant):
    tau = 0.025
    weak = size * tau * 3 / (4 - tau)  # beside three units of size 1, `size=1` is the bound
    params, ones = parameters((weak, 1.0, -1.0, 1.0)), jnp.ones((ROWS, UNITS))
    linear = network(lambda z: z)
    assert first(unit_health(linear, params, ones)) == [0, dormant, 0]
    assert unit_health(linear, params, ones, tau=0.0).dormant[0] == 0


def test_tanh_units_far_from_zero_on_either_side_are_saturated_and_neither_dead_nor_dormant(
    inputs,
):
    params = parameters(shift=(5.0, -5.0, 6.0, 0.0))
    assert first(unit_health(network(jnp.tanh), params, inputs)) == [0, 0, 0.75]


@pytest.mark.parametrize("activation", [jax.nn.gelu, jax.nn.silu])
def test_smooth_units_stuck_on_their_flat_side_are_saturated_but_never_dead(activation, inputs):
    stuck = {jax.nn.gelu: -5.0, jax.nn.silu: -12.0}[activation]
    params = parameters(shift=(stuck, 0.0, 3.0, stuck))
    assert first(unit_health(network(activation), params, inputs)) == [0, 0.5, 0.5]


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("bound, share", [(0.0199, 0.0), (0.0201, 1.0)])
def test_the_slope_is_that_of_the_activation_in_its_own_layer(inputs, layer, bound, share):
    leaky = network(lambda z: jnp.where(z > 0, z, 0.02 * z))
    params = parameters(shift=(3.0,) * UNITS)
    params["hidden"][1]["shift"] += 3.0
    params["hidden"][layer]["shift"] -= 12.0  # this layer reads only negative numbers
    params["hidden"][1]["shift"] += 3.0 * (layer == 0)
    expected = [share * (i == layer) for i in range(2)]
    assert unit_health(leaky, params, inputs, slope=bound).saturated.tolist() == expected


def test_a_layer_that_is_not_finite_has_no_shares(inputs):
    params = parameters(shift=(jnp.nan, 0.0, 0.0, 0.0))
    assert np.all(np.isnan(unit_health(network(jax.nn.relu), params, inputs)))


def test_a_shift_that_names_no_array_is_named_with_those_that_exist(inputs):
    relu = network(jax.nn.relu)
    lost = relu.units[0]._replace(shift=("hidden", 0, "bias"))
    with pytest.raises(ValueError, match=r"'bias'\).*'shift'\)"):
        unit_health(relu._replace(units=(lost, relu.units[1])), parameters(), inputs)


def test_a_batch_without_rows_is_refused():
    with pytest.raises(ValueError, match=r"`inputs` has shape \(0, 4\)"):
        unit_health(network(jax.nn.relu), parameters(), jnp.zeros((0, UNITS)))


def test_firing_rates_are_shares_of_rows_with_a_positive_activation(inputs):
    relu, params = network(jax.nn.relu), parameters(shift=(9.0, -9.0, 0.0, 0.0))
    rates = firing_rates(relu, params, inputs)
    _, features = relu.apply(params, inputs)
    for rate, layer in zip(rates, features, strict=True):
        np.testing.assert_allclose(rate, (np.asarray(layer) > 0).mean(0))
    assert rates[0][0] == 1 and rates[0][1] == 0


def test_overlap_is_a_cosine_and_unknown_where_nothing_fires():
    rates, past = jnp.array([0.5, 0.5, 0.0]), jnp.array([3.0, 0.0, 4.0])
    assert activation_overlap(rates, past) == pytest.approx(1.5 / (5 * 0.5**0.5))
    assert activation_overlap(rates, 7 * rates) == pytest.approx(1)
    assert activation_overlap(rates, jnp.array([0.0, 0.0, 1.0])) == 0
    assert np.isnan(activation_overlap(rates, 0 * past))

"""Curvature of parameters spread over eight devices: the same numbers, and no copy gathered.

The devices are simulated, in a process of their own. The mesh is 2 x 4, and the network has
arrays that are spread over both axes, over one, and over none.
"""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from neoteny.curvature.sharding import layout

SCRIPT = """
import json, math, re
import jax, jax.numpy as jnp, numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import NamedSharding, PartitionSpec as P
from neoteny.curvature import (
    Operator, ggn_vector_product, hessian_vector_product, lanczos, operator_coefficients
)
from neoteny.curvature.sharding import layout

jax.config.update("jax_numpy_rank_promotion", "raise")
STEPS = 12
key = jax.random.key(0)
mesh = jax.make_mesh((2, 4), ("rows", "units"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
put = lambda tree, specs: jax.device_put(
    tree, jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
)
WIDTHS = (24, 192, 128, 96, 10)
alone = [
    {
        "kernel": jax.random.normal(jax.random.fold_in(key, a), (a, b)) / a**0.5,
        "bias": jax.random.normal(jax.random.fold_in(key, b), (b,)) / 10,
    }
    for a, b in zip(WIDTHS, WIDTHS[1:])
]
specs = [
    {"kernel": P("rows", "units"), "bias": P("units")},
    {"kernel": P(None, "units"), "bias": P()},
    {"kernel": P(("units", "rows")), "bias": P(("rows", "units"))},
    {"kernel": P("units"), "bias": P()},
]
params = put(alone, specs)
inputs = jax.random.normal(key, (16, 24))
labels = jnp.arange(16) % 10
spread_inputs, spread_labels = put((inputs, labels), (P("rows"), P("rows")))

def outputs(params, inputs):
    for layer in params[:-1]:
        inputs = jnp.tanh(inputs @ layer["kernel"] + layer["bias"][None])
    return inputs @ params[-1]["kernel"] + params[-1]["bias"][None]

def loss(params, inputs, labels):
    scores = jax.nn.log_softmax(outputs(params, inputs))
    return -jnp.mean(jnp.take_along_axis(scores, labels[:, None], axis=1))

flat = layout(params)
packed = flat.pack(params)
vector, unravel = ravel_pytree(alone)
places = np.asarray(flat.pack(put(unravel(jnp.arange(1.0, vector.size + 1)), specs)))
real = places > 0
ravelled = lambda packed: jnp.zeros(vector.size).at[places[real].astype(int) - 1].set(packed[real])
same = lambda left, right: bool(all(jax.tree.leaves(jax.tree.map(
    lambda a, b: a.sharding.is_equivalent_to(b.sharding, a.ndim), left, right
))))
apart = lambda left, right: float(jnp.max(jnp.abs(np.asarray(left) - np.asarray(right))))
result = {"steps": STEPS, "size": flat.size}
result["largest_array"] = max(leaf.size for leaf in jax.tree.leaves(params))

again = flat.unpack(packed)
result["round_trip"] = apart(ravel_pytree(jax.device_get(again))[0], vector)
result["restored_shardings"] = same(again, params)
result["each_number_once"] = sorted(places[real].astype(int)) == list(range(1, vector.size + 1))
result["padding"] = [flat.padding, int((~real).sum()), apart(packed[~real], 0)]
result["packed_shards"] = sorted({s.data.shape[0] for s in packed.addressable_shards})

# --- Lanczos of both operators from one start, spread and alone

def spread_lanczos(kind):
    def run(packed, start, inputs, labels):
        of = lambda vector: flat.unpack(vector)
        if kind == "hessian":
            operator = hessian_vector_product(lambda v: loss(of(v), inputs, labels), packed)
        else:
            operator = ggn_vector_product(lambda v: outputs(of(v), inputs), packed)
        return lanczos(operator.matvec, start, STEPS)
    return jax.jit(run)

def lonely_lanczos(kind, start):
    if kind == "hessian":
        operator = hessian_vector_product(lambda p: loss(p, inputs, labels), alone)
    else:
        operator = ggn_vector_product(lambda p: outputs(p, inputs), alone)
    return lanczos(operator.matvec, start, STEPS)

draws = jax.random.rademacher(key, (vector.size,), vector.dtype)
start = flat.pack(put(unravel(draws), specs))
for kind in ("hessian", "ggn"):
    arguments = (packed, start, spread_inputs, spread_labels)
    compiled = spread_lanczos(kind).lower(*arguments).compile()
    spread, lonely = compiled(*arguments), jax.jit(lonely_lanczos, static_argnums=0)(kind, draws)
    basis = jax.vmap(ravelled)(np.asarray(spread.basis))
    result[kind] = {
        "alphas": apart(spread.alphas, lonely.alphas),
        "betas": apart(spread.betas, lonely.betas),
        "basis": apart(basis, lonely.basis),
        "basis_shards": sorted({s.data.shape for s in spread.basis.addressable_shards}),
    }

# --- what is sent, and what each device holds, where the basis is not asked for

def coefficients(packed, inputs, labels):
    operator = hessian_vector_product(lambda v: loss(flat.unpack(v), inputs, labels), packed)
    return operator_coefficients(operator, key, STEPS, 2)

arguments = (packed, spread_inputs, spread_labels)
compiled = jax.jit(coefficients).lower(*arguments).compile()
sent = re.compile(r"= (.*?) (all-gather|all-reduce|all-to-all|collective-permute)(?:-start)?\\(")
numbers = lambda dims: math.prod(map(int, filter(None, dims.split(","))))
largest = lambda compiled: max(
    (numbers(dims), name)
    for kind, name in sent.findall(compiled.as_text())
    for dims in re.findall(r"\\[([\\d,]*)\\]", kind)
)
result["largest_sent"] = largest(compiled)
result["held"] = compiled.memory_analysis().temp_size_in_bytes
diagonal = lambda packed: operator_coefficients(
    Operator(lambda vector: packed * vector, flat.size, packed.dtype), key, STEPS, 2
)
result["largest_sent_by_lanczos"] = largest(jax.jit(diagonal).lower(packed).compile())

def lonely_coefficients(vector):
    tree_loss = lambda v: loss(unravel(ravelled(v)), inputs, labels)
    return operator_coefficients(hessian_vector_product(tree_loss, vector), key, STEPS, 2)

spread, lonely = compiled(*arguments), jax.jit(lonely_coefficients)(jnp.asarray(np.asarray(packed)))
result["coefficients"] = [apart(a, b) for a, b in zip(spread, lonely)]
print(json.dumps(result))
"""

ROUNDING = 1e-10  # in float64, of matrices of norm about one


@pytest.fixture(scope="module")
def on_eight_devices():
    settings = {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8 "
        "--xla_backend_optimization_level=0",  # halves the time to compile
        "JAX_ENABLE_X64": "1",
        "JAX_PLATFORMS": "cpu",
    }
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def test_packing_loses_no_number_and_unpacking_restores_every_sharding(on_eight_devices):
    assert on_eight_devices["round_trip"] == 0
    assert on_eight_devices["restored_shardings"]
    assert on_eight_devices["each_number_once"]


def test_padding_is_zero_and_counted(on_eight_devices):
    said, counted, largest = on_eight_devices["padding"]
    assert said == counted > 0
    assert largest == 0


def test_every_device_has_an_eighth_of_the_vector(on_eight_devices):
    assert on_eight_devices["packed_shards"] == [on_eight_devices["size"] // 8]


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_lanczos_gives_the_numbers_of_one_device(on_eight_devices, kind):
    found = on_eight_devices[kind]
    assert max(found["alphas"], found["betas"]) < ROUNDING
    assert found["basis"] < 1e-8  # later rows repeat the rounding of all before them


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_the_basis_is_spread_like_the_parameters(on_eight_devices, kind):
    steps, size = on_eight_devices["steps"], on_eight_devices["size"]
    assert on_eight_devices[kind]["basis_shards"] == [[steps, size // 8]]


def test_operator_coefficients_draw_and_find_the_same_as_on_one_device(on_eight_devices):
    assert max(on_eight_devices["coefficients"]) < ROUNDING


def test_lanczos_sends_no_more_than_a_number_for_each_step(on_eight_devices):
    numbers, name = on_eight_devices["largest_sent_by_lanczos"]
    assert numbers <= on_eight_devices["steps"], name


def test_products_send_nothing_larger_than_one_array_of_the_network(on_eight_devices):
    numbers, name = on_eight_devices["largest_sent"]
    assert numbers <= on_eight_devices["largest_array"], name
    assert on_eight_devices["largest_array"] < on_eight_devices["size"] / 2


def test_no_device_holds_the_basis_whole(on_eight_devices):
    whole = 8 * on_eight_devices["steps"] * on_eight_devices["size"]
    assert on_eight_devices["held"] < whole / 2


def on_one(dtype=jnp.float32):
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("units",))
    return jax.device_put(jnp.ones(3, dtype), NamedSharding(mesh, PartitionSpec()))


def test_arrays_on_no_mesh_are_refused_by_name():
    with pytest.raises(ValueError, match=r"params\['bias'\].*on no mesh.*device_put"):
        layout({"bias": jnp.ones(3), "kernel": on_one(dtype=jnp.float64)})


def test_two_types_are_refused():
    with pytest.raises(ValueError, match="mixes float32 and float64"):
        layout([on_one(), on_one(dtype=jnp.float64)])

from functools import partial
from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from neoteny.curvature import ggn_vector_product
from neoteny.networks.convolution import IN_CACHE, LAYOUT, convolution, max_pool

convolutions = import_module("neoteny.networks.convolution")  # the function has its name

ROUNDING = 1e-11  # sums of up to 500 products of numbers near 1, two derivatives deep

CASES = [  # stride, window, size, channels
    (1, 3, (7, 5), 2),
    (1, 5, (7, 5), 2),
    (2, 1, (7, 5), 17),
    (2, 3, (7, 5), 17),
]


def reference(inputs, kernel, *, stride=1, padding="SAME"):
    return lax.conv_general_dilated(
        inputs, kernel, (stride, stride), padding, dimension_numbers=LAYOUT
    )


def arrays(key, window, size, channels, rows=3, units=4):
    shapes = [(rows, *size, channels), (window, window, channels, units)]
    draw = lambda number: [
        jax.random.normal(jax.random.fold_in(key, 2 * number + at), shape)
        for at, shape in enumerate(shapes)
    ]
    return draw(0), draw(1)


def loss(convolve, options):
    """Bends in both arrays, so that its second derivatives meet every pair of the three."""
    return lambda both: jnp.sum(jnp.sin(convolve(*both, **options)) ** 2)


@pytest.mark.parametrize(("stride", "window", "size", "channels"), CASES)
def test_a_convolution_and_its_derivatives_are_those_of_lax(key, stride, window, size, channels):
    options = {"stride": stride}
    point, tangent = arrays(key, window, size, channels)

    def derivatives(convolve):
        outputs = lambda both: convolve(*both, **options).reshape(3, -1)
        objective = loss(convolve, options)
        return jax.jit(
            lambda point, tangent: {
                "value": outputs(point),
                "gradient": jax.grad(objective)(point),
                "hessian": jax.jvp(jax.grad(objective), (point,), (tangent,))[1],
                "gauss-newton": ggn_vector_product(outputs, point).matvec(tangent),
            }
        )(point, tangent)

    assert_close(derivatives(convolution), derivatives(reference))


@pytest.mark.parametrize("rows", [4, 7])  # by two images at a time, and by one
def test_a_gradient_summed_over_parts_of_the_rows_is_that_of_lax(key, rows):
    half_the_cache = int((IN_CACHE / (2 * 9 * 16)) ** 0.5)
    point, tangent = arrays(key, 3, (4 * half_the_cache, 4 * half_the_cache), 1, rows=rows)
    hessian = lambda c: jax.jit(
        lambda point, tangent: jax.jvp(jax.grad(loss(c, {})), (point,), (tangent,))
    )(point, tangent)
    assert "while" in jax.jit(jax.grad(loss(convolution, {}))).lower(point).as_text()
    assert_close(hessian(convolution), hessian(reference))


def test_derivatives_of_every_order_and_direction_are_those_of_lax(key):
    point, tangent = arrays(key, 3, (4, 5), 2)

    def derivatives(convolve):
        objective = loss(convolve, {"stride": 2})
        backward = lambda both: jax.vjp(jax.grad(objective), both)[1](tangent)[0]
        return jax.jit(
            lambda point: {
                "backward twice": backward(point),
                "forward after backward twice": jax.jvp(backward, (point,), (tangent,))[1],
                "forward twice": jax.jvp(
                    lambda both: jax.jvp(objective, (both,), (tangent,))[1], (point,), (point,)
                ),
            }
        )(point)

    assert_close(derivatives(convolution), derivatives(reference))


@pytest.mark.parametrize("size", [(6, 6), (7, 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_without_padding_too_value_and_gradient_are_those_of_lax(key, size, stride):
    options = {"padding": "VALID", "stride": stride}
    point, _ = arrays(key, 3, size, 2)
    gradients = [jax.value_and_grad(loss(c, options))(point) for c in (convolution, reference)]
    assert_close(*gradients)


def assert_close(ours, theirs):
    for (path, one), two in zip(
        jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True
    ):
        bound = ROUNDING * max(1, np.max(np.abs(two)))
        np.testing.assert_allclose(one, two, rtol=0, atol=bound, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("stride", [1, pytest.param(2, marks=pytest.mark.further)])
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (1, 3)])
def test_batches_of_either_or_both_arrays_are_those_of_lax(key, stride, axes):
    point, _ = arrays(key, 3, (5, 6), 2)
    many = [
        array if axis is None else jnp.stack([array, 2 * array, array[::-1]], axis)
        for array, axis in zip(point, axes, strict=True)
    ]
    gradient = lambda c: jax.grad(lambda *both: loss(c, {"stride": stride})(both), (0, 1))
    inside = lambda c: jax.vmap(gradient(c), axes)(*many)
    assert_close(inside(convolution), inside(reference))

    def outside(convolve):
        single = lambda *both: convolve(*both, stride=stride)
        return jax.grad(lambda *m: jnp.sum(jnp.sin(jax.vmap(single, axes)(*m))), (0, 1))(*many)

    assert_close(outside(convolution), outside(reference))


def test_no_convolution_with_a_gradients_layout_is_left_in_a_compiled_loop(key):
    """Only the canonical layout is fast there: what is contracted lies third in the kernel."""
    point, tangent = arrays(key, 3, (8, 8), 17)

    def loop(convolve):
        product = lambda both: jax.jvp(jax.grad(loss(convolve, {})), (both,), (tangent,))[1]
        step = lambda both, _: (product(both), None)
        return jax.jit(lambda both: lax.scan(step, both, None, length=2)[0])

    def layouts(convolve):
        text = loop(convolve).lower(point).as_text()
        return {
            line.split("dim_numbers = ")[1].split(",  ")[0].split(", window")[0]
            for line in text.splitlines()
            if "stablehlo.convolution" in line
        }

    canonical = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
    assert layouts(convolution) == {canonical}
    assert layouts(reference) > {canonical}  # else this test sees nothing


def test_the_precision_asked_for_at_the_call_is_kept_until_compilation(key):
    point, _ = arrays(key, 3, (5, 6), 2)

    def careful(*both):
        with jax.default_matmul_precision("highest"):
            return convolution(*both)

    for function in (careful, jax.grad(lambda *both: careful(*both).sum(), (0, 1))):
        assert "HIGHEST" in jax.jit(function).lower(*point).as_text()
    assert "HIGHEST" not in jax.jit(convolution).lower(*point).as_text()


@pytest.mark.parametrize(("height", "width", "window"), [(6, 4, 2), (7, 5, 2), (9, 7, 3)])
def test_max_pooling_is_laxs_with_what_fills_no_window_left_out(key, height, width, window):
    images = jax.random.normal(key, (3, height, width, 2))
    shape = (1, window, window, 1)
    theirs = lambda x: lax.reduce_window(x, -jnp.inf, lax.max, shape, shape, "VALID")
    ours = lambda x: max_pool(x, window)
    np.testing.assert_array_equal(ours(images), theirs(images))
    gradients = [jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x))))(images) for f in (ours, theirs)]
    np.testing.assert_allclose(*gradients, atol=1e-15)


def test_max_pooling_can_be_differentiated_twice_and_forward(key):
    images, tangent = jax.random.normal(key, (2, 2, 4, 4, 3))
    objective = lambda x: jnp.sum(jnp.sin(max_pool(x)))
    hessian = jax.jvp(jax.grad(objective), (images,), (tangent,))[1]
    largest = images == jnp.repeat(jnp.repeat(max_pool(images), 2, 1), 2, 2)
    np.testing.assert_allclose(hessian, -jnp.sin(images) * tangent * largest, atol=1e-12)


@pytest.mark.parametrize("form", [convolutions._on_accelerator, convolutions._in_lanes])
@pytest.mark.parametrize("wanted", convolutions.AXES)
@pytest.mark.parametrize(
    ("stride", "padding", "window"),
    [pytest.param(1, "SAME", 3, marks=pytest.mark.further), (2, "VALID", 2)],
)
def test_the_forms_for_accelerators_are_the_same_thirds(key, form, wanted, stride, padding, window):
    size = (7, 8)
    pads = jax.lax.padtype_to_pads(size, (window, window), (stride, stride), padding)
    geometry = convolutions.Geometry(size, (window, window), stride, tuple(map(tuple, pads)))
    keys = jax.random.split(key, 3)
    arrays = {
        "input": jax.random.normal(keys[0], (3, *size, 4)),
        "kernel": jax.random.normal(keys[1], (window, window, 4, 5)),
        "output": jax.random.normal(keys[2], (3, *geometry.new_size, 5)),
    }
    two = [array for name, array in arrays.items() if name != wanted]
    options = {"wanted": wanted, "geometry": geometry, "precision": None}
    exact, found = (
        jax.jit(partial(compute, **options))(*two) for compute in (convolutions._compute, form)
    )
    np.testing.assert_allclose(found, exact, atol=ROUNDING)

"""Convolutions and poolings that stay fast in a compiled loop on CPU, derivatives included.

XLA's CPU backend runs the gradient of a convolution 25 to 60 times slower inside
`lax.scan` than outside. Here each derivative is a convolution in the canonical layout, or matrix
products, which loops do not slow. `benchmarks/convolution.py` shows what that gains.
"""

from collections.abc import Iterator
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

LAYOUT = ("NHWC", "HWIO", "NHWC")
IN_CACHE = 2**19  # numbers; twice or half as many make little difference
ENOUGH = 128  # places to add up in one product, lest adding up products take longer


def convolution(
    inputs: Float[Array, "rows height width channels"],
    kernel: Float[Array, "kernel_height kernel_width channels units"],
    *,
    stride: int = 1,
    padding: str = "SAME",
) -> Float[Array, "rows new_height new_width units"]:
    """Convolve images with a kernel, as `lax.conv_general_dilated` does.

    May be differentiated any number of times, forward and backward, linearised, transposed and
    batched. On accelerators it is `lax.conv_general_dilated` and its derivatives, unless images
    and kernels are batched together, as for many seeds at once: see `_in_lanes`.

    **Arguments:**

    - `padding`: `"SAME"` or `"VALID"`.
    """
    dtype = jnp.result_type(inputs, kernel)
    inputs, kernel = inputs.astype(dtype), kernel.astype(dtype)
    size, window = inputs.shape[1:3], kernel.shape[:2]
    pads = lax.padtype_to_pads(size, window, (stride, stride), padding)
    geometry = Geometry(size, window, stride, tuple((low, high) for low, high in pads))
    return _third(geometry, input=inputs, kernel=kernel)


def max_pool(
    inputs: Float[Array, "rows height width channels"], window: int = 2
) -> Float[Array, "rows new_height new_width channels"]:
    """The largest of each channel in windows side by side; what fills no window is left out.

    Where several places hold the largest, the gradient is shared among them.
    """
    rows, height, width, channels = inputs.shape
    high, wide = height // window, width // window
    whole = inputs[:, : high * window, : wide * window]
    return whole.reshape(rows, high, window, wide, window, channels).max((2, 4))


class Geometry(NamedTuple):
    """What is fixed of a convolution: sizes of the image and of the kernel, stride, padding."""

    size: tuple[int, ...]
    window: tuple[int, ...]
    stride: int
    pads: tuple[tuple[int, int], ...]

    @property
    def new_size(self) -> tuple[int, ...]:
        return tuple(
            (size + sum(pads) - window) // self.stride + 1
            for size, window, pads in zip(self.size, self.window, self.pads, strict=True)
        )


# A convolution is a form of three arrays, the sum of output * (input convolved with kernel),
# linear in each. Its derivative by one of them is a function of the other two, linear in both:
# by the output it is the convolution, by the input or the kernel what backpropagation needs.
# So all derivatives of all orders are one of these three, and one primitive does for them.

AXES = {
    "input": ("rows", None, None, "channels"),
    "kernel": (None, None, "channels", "units"),
    "output": ("rows", None, None, "units"),
}
third_p = Primitive("convolution_third")


def _third(geometry: Geometry, precision: str | None = None, **two: Array) -> Array:
    """Of a convolution's `input`, `kernel` and `output`, the one not given, from the two given."""
    (wanted,) = AXES.keys() - two.keys()
    config: Any = jax.config
    precision = precision or config.jax_default_matmul_precision
    arrays = [two[name] for name in AXES if name in two]
    return third_p.bind(*arrays, wanted=wanted, geometry=geometry, precision=precision)


def _compute(one, other, *, wanted: str, geometry: Geometry, precision: str | None):
    with jax.default_matmul_precision(precision):
        return {"output": _output, "input": _input, "kernel": _kernel}[wanted](one, other, geometry)


def _on_accelerator(one, other, *, wanted: str, geometry: Geometry, precision: str | None):
    """The derivatives as the compiler knows them best there: transposes of a convolution."""
    shape = _shape(one, other, wanted=wanted, geometry=geometry, precision=precision)
    with jax.default_matmul_precision(precision):
        if wanted == "output":
            return _output(one, other, geometry)
        if wanted == "input":
            return jax.linear_transpose(lambda x: _output(x, one, geometry), shape)(other)[0]
        return jax.linear_transpose(lambda k: _output(one, k, geometry), shape)(other)[0]


def _in_lanes(one, other, *, wanted: str, geometry: Geometry, precision: str | None):
    """One lane of many, each with images and a kernel of its own, as one matrix product.

    Batched it is a batched product. A convolution in groups, which is what the compiler makes of
    many lanes, was slower on a GPU than one lane after the other.
    """
    with jax.default_matmul_precision(precision):
        if wanted == "kernel":
            columns = _columns(one, geometry)
            product = columns.T @ other.reshape(-1, other.shape[-1])
            return product.reshape(*geometry.window, one.shape[-1], other.shape[-1])
        if wanted == "output":
            images, kernel, places = one, other, geometry
        else:
            images, kernel = _spread(other, geometry), one[::-1, ::-1].swapaxes(2, 3)
            places = Geometry(images.shape[1:3], geometry.window, 1, ((0, 0), (0, 0)))
        product = _columns(images, places) @ kernel.reshape(-1, kernel.shape[-1])
        return product.reshape(len(images), *places.new_size, kernel.shape[-1])


def _columns(inputs, geometry: Geometry):
    """For each output a row: what all positions of the kernel see of the inputs."""
    padded = jnp.pad(inputs, ((0, 0), *geometry.pads, (0, 0)))
    seen = jnp.stack([padded[:, *window] for window in _windows(geometry)], 3)
    return seen.reshape(-1, seen.shape[3] * seen.shape[4])


def _spread(output, geometry: Geometry):
    """The output with the stride's gaps in it, and room around for the kernel turned round."""
    step = geometry.stride - 1
    pads = [(*pad, step) for pad in _pads_of_input(output.shape[1:3], geometry)]
    return lax.pad(output, jnp.zeros((), output.dtype), [(0, 0, 0), *pads, (0, 0, 0)])


def _pads_of_input(new_size: tuple[int, ...], geometry: Geometry) -> list[tuple[int, int]]:
    pads = []
    for axis in range(2):
        before = geometry.window[axis] - 1 - geometry.pads[axis][0]
        spread = (new_size[axis] - 1) * geometry.stride + 1
        after = geometry.size[axis] + geometry.window[axis] - 1 - spread - before
        pads.append((before, after))
    return pads


def _output(inputs, kernel, geometry: Geometry):
    strides = (geometry.stride, geometry.stride)
    return lax.conv_general_dilated(
        inputs, kernel, strides, geometry.pads, dimension_numbers=LAYOUT
    )


def _input(kernel, output, geometry: Geometry):
    """A convolution of the output, spread out by the stride, with the kernel turned round."""
    turned, step = kernel[::-1, ::-1].swapaxes(2, 3), geometry.stride
    pads = _pads_of_input(output.shape[1:3], geometry)
    return lax.conv_general_dilated(
        output, turned, (1, 1), pads, lhs_dilation=(step, step), dimension_numbers=LAYOUT
    )


def _kernel(inputs, output, geometry: Geometry):
    """At each position of the kernel the product of what it saw with the output.

    A few images at a time, so that what is seen, an image over for each position, stays in cache.
    """
    rows, places = len(inputs), prod(geometry.new_size)
    seen = prod(geometry.window) * places * inputs.shape[-1]
    fitting = [few for few in range(1, rows) if rows % few == 0 and few * seen <= IN_CACHE]
    few = max(fitting, default=1)
    if few >= rows or few * places < ENOUGH:
        return _kernel_at_once(inputs, output, geometry)
    parts = [part.reshape(-1, few, *part.shape[1:]) for part in (inputs, output)]
    zero = jnp.zeros((*geometry.window, inputs.shape[-1], output.shape[-1]), output.dtype)

    def add(total, part):
        images, outcome = part
        return total + _kernel_at_once(images, outcome, geometry), None

    return lax.scan(add, zero, tuple(parts))[0]


def _kernel_at_once(inputs, output, geometry: Geometry):
    """One product, channel by channel, as the places of one channel lie side by side."""
    channels, units = inputs.shape[-1], output.shape[-1]
    by_channel = jnp.pad(jnp.moveaxis(inputs, 3, 0), ((0, 0), (0, 0), *geometry.pads))
    seen = [by_channel[..., *window].reshape(channels, -1) for window in _windows(geometry)]
    product = jnp.concatenate(seen) @ output.reshape(-1, units)
    return product.reshape(*geometry.window, channels, units)


def _windows(geometry: Geometry) -> Iterator[tuple[slice, slice]]:
    """Where each position of the kernel looks in padded images, one place for each output."""
    step, (high, wide) = geometry.stride, geometry.new_size
    for row in range(geometry.window[0]):
        for column in range(geometry.window[1]):
            stop = (row + (high - 1) * step + 1, column + (wide - 1) * step + 1)
            yield slice(row, stop[0], step), slice(column, stop[1], step)


def _shape(one, other, *, wanted: str, geometry: Geometry, precision: str | None):
    del precision
    sizes = {}
    for name, array in zip((name for name in AXES if name != wanted), (one, other), strict=True):
        sizes |= dict(zip(AXES[name], array.shape, strict=True))
    spatial = {"input": geometry.size, "kernel": geometry.window, "output": geometry.new_size}
    places = iter(spatial[wanted])
    shape = tuple(next(places) if axis is None else sizes[axis] for axis in AXES[wanted])
    return ShapedArray(shape, jnp.result_type(one.dtype, other.dtype))


def _transposed(which: int, cotangent, one, other, *, wanted: str, geometry, precision):
    """The derivative of a third by one of its two arrays is the third in that array's place."""
    names = [name for name in AXES if name != wanted]
    known = {names[1 - which]: (one, other)[1 - which], wanted: cotangent}
    return _third(geometry, precision, **known)


def _batched(arrays, axes, *, wanted: str, geometry, precision):
    """Fold a batch of one array into the index that it shares with the result."""
    options = {"wanted": wanted, "geometry": geometry, "precision": precision}
    if None not in axes:
        return lax.platform_dependent(
            *arrays,
            cpu=jax.vmap(partial(_compute, **options), axes),
            default=jax.vmap(partial(_in_lanes, **options), axes),
        ), 0
    which = 1 if axes[0] is None else 0
    name = [name for name in AXES if name != wanted][which]
    (shared,) = {axis for axis in AXES[name] if axis} & {axis for axis in AXES[wanted] if axis}
    batch = arrays[which].shape[axes[which]]
    place, target = AXES[name].index(shared), AXES[wanted].index(shared)
    moved = jnp.moveaxis(arrays[which], axes[which], place)
    shape = moved.shape
    folded = moved.reshape(*shape[:place], -1, *shape[place + 2 :])
    result = third_p.bind(*(folded if at == which else arrays[at] for at in range(2)), **options)
    shape = result.shape
    return result.reshape(*shape[:target], batch, -1, *shape[target + 1 :]), target


@partial(jax.jit, static_argnames=("wanted", "geometry", "precision"))
def _eager(one, other, **options):
    return third_p.bind(one, other, **options)


third_p.def_impl(_eager)
third_p.def_abstract_eval(_shape)
ad.defbilinear(third_p, partial(_transposed, 0), partial(_transposed, 1))
batching.primitive_batchers[third_p] = _batched
mlir.register_lowering(third_p, mlir.lower_fun(_compute, multiple_results=False))
for _platform in ("cuda", "rocm", "tpu"):
    _native = mlir.lower_fun(_on_accelerator, multiple_results=False)
    mlir.register_lowering(third_p, _native, platform=_platform)

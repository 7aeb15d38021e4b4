"""What measuring would cost on a network of a given size, before anything is measured."""

import time
from functools import cache
from math import prod
from typing import Any, NamedTuple

from neoteny.curvature import cost
from neoteny.errors import UserError
from neoteny.estimate import duration

_DEPTH, _OUTPUTS = 96, 1000

SLOW, LARGE = 60.0, 4e9
"""Seconds and bytes from which on a diagnosis is announced before it is begun."""

_SMALL = 1e11  # operations that no machine takes long for

Row = dict[str, Any]


class Speed(NamedTuple):
    """Operations and bytes in a second, of large float32 products and long sums."""

    flops: float
    bytes: float


def rows(size: str, rows: int) -> list[Row]:
    """Operations, bytes moved, peak memory and seconds on this machine, a row for each probe.

    **Arguments:**

    - `size`: layer widths, inputs first (`"784,1000,10"`), or a number of parameters
      (`"7e9"`), which then stands for 96 square layers and 1 000 outputs.
    - `rows`: how many every probe looks at.

    **Raises:** `UserError` if `size` is neither, or `rows` is below 1.
    """
    model = _model(size)
    steps = min(cost.Setting().steps, model.parameters)
    setting = cost.Setting(rows=rows, gram_rows=rows, fit_rows=rows, steps=steps)
    return [_row(found, 1) for found in cost.plan(model, setting)]


def of_run(folder: Any, **choice: Any) -> list[Row]:
    """What `neoteny.diagnosis.diagnose` with the same arguments costs, and all of it together.

    Each is measured on two networks. Layers are told by the matrices among the parameters, which
    makes this a lower bound for convolutions, that use theirs more than once a row.
    """
    parts = _of_run(folder, choice)
    return [*(_row(found, times) for found, times in parts), _total(parts)]


def warning(folder: Any, **choice: Any) -> str | None:
    """A sentence where that takes more than `SLOW` seconds or `LARGE` bytes."""
    parts = _of_run(folder, choice)
    if sum(times * found.flops for found, times in parts) < _SMALL:
        return None
    total = _total(parts)
    if total["seconds"] < SLOW and total["gigabytes_held"] < LARGE / 1e9:
        return None
    return (
        f"Measuring takes some {duration(total['seconds'])} and {total['gigabytes_held']:.2g} GB "
        "by the cost model; fewer `--rows` take less, by their square or more."
    )


@cache
def speed() -> Speed:
    """This machine's speed, measured in a moment: the best of three rounds."""
    import jax
    import jax.numpy as jnp

    side, count = 1024, 2**24
    square, long = jnp.ones((side, side), "float32"), jnp.ones(count, "float32")
    work = {jnp.matmul: (square, 2 * side**3), jnp.add: (long, 3 * 4 * count)}
    return Speed(*(amount / _best(jax.jit(step), array) for step, (array, amount) in work.items()))


def _best(step, array) -> float:
    taken = []
    for _ in range(4):  # the first compiles
        began = time.perf_counter()
        step(array, array).block_until_ready()
        taken.append(time.perf_counter() - began)
    return min(taken[1:])


def _of_run(folder: Any, choice: dict[str, Any]) -> list[tuple[cost.Cost, int]]:
    """Each part of a diagnosis and how often it is done."""
    from neoteny import diagnosis

    seen = diagnosis.occasion(folder, **choice)
    model, plan, count = _layers(seen), seen.config.setting.probes, seen.rows
    setting = cost.Setting(
        rows=count,
        gram_rows=count,
        fit_rows=count,
        steps=min(plan.spectrum_steps, model.parameters),
        probes=plan.spectrum_probes,
    )
    always = ("Hessian spectrum", "feature ranks", "unit statistics", "gradient")
    times: dict[str, int] = {name: 2 for name in always}
    probes = diagnosis.names(seen.config)
    if seen.acts or "trainability" in probes:
        times["GGN by Gram matrix" if seen.exact else "GGN spectrum"] = 2
    if "trainability" in probes:  # which the budget comes with
        times["trainability"] = 4
    if "random_labels" in probes:
        times["random labels"] = 2
    costs = {found.probe: found for found in cost.plan(model, setting)}
    return [(costs[name], number) for name, number in times.items()]


def _layers(seen) -> cost.Model:
    import jax

    params = jax.eval_shape(seen.machine.network.init, jax.random.key(0))
    matrices = [leaf for leaf in jax.tree.leaves(params) if len(leaf.shape) > 1]
    layers = [cost.Layer(array.size, 2.0 * array.size, array.shape[-1]) for array in matrices]
    return cost.Model(prod(seen.shape), tuple(layers))


def _row(found: cost.Cost, times: int) -> Row:
    return {
        "probe": found.probe,
        "gigaflop": round(times * found.flops / 1e9, 3),
        "gigabytes_moved": round(times * found.bytes / 1e9, 3),
        "gigabytes_held": round(found.memory / 1e9, 3),
        "seconds": float(f"{times * found.seconds(*speed()):.3g}"),
    }


def _total(parts: list[tuple[cost.Cost, int]]) -> Row:
    made = [_row(found, times) for found, times in parts]
    summed = {name: sum(row[name] for row in made) for name in made[0] if name != "probe"}
    held = max(row["gigabytes_held"] for row in made)
    return {"probe": "all together"} | summed | {"gigabytes_held": held}


def _model(size: str) -> cost.Model:
    message = (
        f"`--plan` is {size!r}, but takes two or more layer widths such as 784,1000,1000,10, or a "
        "number of parameters from 1e6 on, such as 7e9."
    )
    try:
        numbers = [float(part) for part in size.split(",")]
        if len(numbers) == 1:
            if not 1e6 <= numbers[0] < 1e15:
                raise UserError(message)
            return cost.deep(numbers[0], round((numbers[0] / _DEPTH) ** 0.5), _OUTPUTS)
        return cost.dense([int(part) for part in size.split(",")])
    except UserError:
        raise
    except (ValueError, OverflowError):
        raise UserError(message) from None

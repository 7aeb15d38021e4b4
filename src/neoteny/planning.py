"""What measuring would cost on a network of a given size, before there is one."""

from typing import Any

from neoteny.curvature import cost
from neoteny.errors import UserError

_DEPTH, _OUTPUTS = 96, 1000


def rows(size: str, gram_rows: int) -> list[dict[str, Any]]:
    """Operations, bytes moved and peak memory of each probe: a row for each.

    **Arguments:**

    - `size`: layer widths, inputs first (`"784,1000,10"`), or a number of parameters
      (`"7e9"`), which then stands for 96 square layers and 1 000 outputs.
    - `gram_rows`: rows of the Gram matrix and the trainability probe; others look at 2 000.

    **Raises:** `UserError` if `size` is neither.
    """
    model = _model(size)
    steps = min(cost.Setting().steps, model.parameters)
    setting = cost.Setting(gram_rows=gram_rows, steps=steps)
    return [
        {
            "probe": found.probe,
            "gigaflop": round(found.flops / 1e9, 3),
            "gigabytes_moved": round(found.bytes / 1e9, 3),
            "gigabytes_held": round(found.memory / 1e9, 3),
        }
        for found in cost.plan(model, setting)
    ]


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

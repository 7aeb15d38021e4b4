"""What each probe costs, from sizes alone: floating-point operations, bytes moved, peak memory."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from neoteny.errors import UserError

_PULLS = 64  # rows of the Jacobian side by side
_TANGENTS = 2**24  # numbers of tangents side by side
_CACHED, _BLOCKS = 2**22, 8  # from how many numbers on Lanczos keeps its basis in blocks
_WHOLE = 200  # rows of features, from which on the effective rank forms half a Gram matrix


class Layer(NamedTuple):
    """One layer, as far as costs go: a product of its input with its parameters.

    - `parameters`: how many numbers it learns.
    - `flops`: of the forward pass of one row; two for each multiply-add.
    - `width`: how many numbers it puts out for one row.
    """

    parameters: int
    flops: float
    width: int


class Model(NamedTuple):
    """A network as its layers, in order, the last of them giving the outputs.

    `inputs` is the size of a row. A row is what the loss is a mean over: for a language model,
    one token. A layer's parameters count as one array.
    """

    inputs: int
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def outputs(self) -> int:
        return self.layers[-1].width


class Setting(NamedTuple):
    """How much each probe looks at.

    - `rows`: of the gradient, the Hessian and its spectrum, the features and the units.
    - `gram_rows`: of the Gram matrix, which is `gram_rows * outputs` square.
    - `steps`, `probes`: of Lanczos; `batch_probes` advances all probes at once.
    - `passes`: of orthogonalisation, from 1 to 2. Lanczos takes the second only where the first
      cancels much; batched probes always pay for both.
    - `fit_steps`, `fit_rows`: updates and mini-batch of the random-label probe, with Adam.
    - `gram_held`: numbers of the Jacobian that the Gram matrix's computation may hold.
    - `itemsize`: bytes of a number: 4 for float32.
    """

    rows: int = 2000
    gram_rows: int = 100
    steps: int = 64
    probes: int = 4
    batch_probes: bool = False
    passes: float = 1.0
    fit_steps: int = 100
    fit_rows: int = 500
    gram_held: int = 2**25
    itemsize: int = 4


class Work(NamedTuple):
    """Operations and bytes of one part of a probe, which compete for the same time."""

    flops: float
    bytes: float


class Cost(NamedTuple):
    """What a probe costs: its parts one after the other, and the most memory held at a time.

    `memory` is in bytes, and counts parameters, rows, results and all that is in between.
    """

    probe: str
    parts: tuple[Work, ...]
    memory: float

    @property
    def flops(self) -> float:
        return float(sum(part.flops for part in self.parts))

    @property
    def bytes(self) -> float:
        return float(sum(part.bytes for part in self.parts))

    def seconds(self, flops_per_second: float | int, bytes_per_second: float | int) -> float:
        """The time on a machine of these speeds: each part waits for the slower of the two."""
        slower = lambda part: max(part.flops / flops_per_second, part.bytes / bytes_per_second)
        return sum(map(slower, self.parts))


class Verdict(NamedTuple):
    """Whether a probe fits in a memory, and if not, what would make it fit."""

    probe: str
    fits: bool
    memory: float
    advice: str


def dense(widths: Sequence[int]) -> Model:
    """The model of a multi-layer perceptron: inputs, hidden layers, outputs."""
    if len(widths) < 2 or min(widths) < 1:
        raise UserError(
            f"`widths` is {tuple(widths)}, but a network has an input and an output width, each "
            "at least 1, as in `widths=(784, 100, 10)`."
        )
    layers = (Layer((a + 1) * b, 2.0 * a * b, b) for a, b in pairwise(widths))
    return Model(widths[0], tuple(layers))


def deep(parameters: float | int, width: int, outputs: int) -> Model:
    """A model of about so many parameters in square layers, with `width` inputs, and a head."""
    depth = round((parameters - width * outputs) / width**2)
    if depth < 1:
        raise UserError(
            f"`width` is {width}, but {parameters:.3g} parameters are less than one such layer "
            f"and a head for {outputs} outputs. Pass a width of at most "
            f"{int(max(1, parameters / (1 + outputs)) ** 0.5)}."
        )
    return dense((width,) * (depth + 1) + (outputs,))


def plan(model: Model, setting: Setting = Setting()) -> tuple[Cost, ...]:  # noqa: B008
    """The cost of every probe of `PROBES`, in the order of the table."""
    _check(model, setting)
    return tuple(_cost(name, model, setting) for name in PROBES)


def fits(model: Model, memory: float | int, setting: Setting = Setting()) -> tuple[Verdict, ...]:  # noqa: B008
    """Whether each probe fits in `memory` bytes; where not, the first single change that helps.

    Changes are tried in the probe's own order: what it loses least by comes first.
    """
    _check(model, setting)
    if not memory > 0:
        raise UserError(f"`memory` is {memory}, but it is in bytes, above 0: 80e9 for 80 GB.")
    return tuple(_verdict(name, model, memory, setting) for name in PROBES)


def _cost(name, model, setting):
    probe = PROBES[name][0](model, setting)
    return probe._replace(probe=name)


def _verdict(name, model, memory, setting):
    needs = _cost(name, model, setting).memory
    if needs <= memory:
        return Verdict(name, True, needs, "")
    for knob in PROBES[name][1]:
        of = lambda value, knob=knob: _cost(name, model, setting._replace(**{knob: value})).memory
        if (least := _least(knob)) != getattr(setting, knob) and of(least) <= memory:
            value = _largest(of, least, getattr(setting, knob), memory)
            return Verdict(name, False, needs, f"{knob}={value}")
    devices = -(-needs // memory)
    return Verdict(name, False, needs, f"shard over {devices:.0f} such memories or more")


def _least(knob):
    return False if knob == "batch_probes" else 1


def _largest(of, fitting, failing, memory):
    """The largest whole number that still fits, between one that does and one that does not."""
    while failing - fitting > 1:
        middle = (fitting + failing) // 2
        fitting, failing = (middle, failing) if of(middle) <= memory else (fitting, middle)
    return fitting


# --- passes through the network


def _products(model, rows, itemsize):
    """The work of one product of the rows with each layer's parameters."""
    widths = (model.inputs, *(layer.width for layer in model.layers))
    return [
        Work(rows * layer.flops, itemsize * (rows * (before + layer.width) + layer.parameters))
        for before, layer in zip(widths, model.layers, strict=False)
    ]


def _times(number, work):
    return Work(number * work.flops, number * work.bytes)


def _sum(works):
    return Work(*map(sum, zip(*works, strict=True))) if works else Work(0.0, 0.0)


def _passes(model, rows, itemsize, whole, first):
    """`whole` times all products less `first` times those of the first layer."""
    products = _products(model, rows, itemsize)
    return _sum([_times(whole, _sum(products)), _times(-first, products[0])])


def _held(model, setting, rows, vectors, activations, widest=0):
    """Bytes of the rows, of so many vectors like the parameters, and of what a row leaves behind.

    That is so many numbers for each output of a layer, and so many for the widest layer alone.
    """
    wide = max(layer.width for layer in model.layers)
    row = model.inputs + activations * _outs(model) + widest * wide
    return setting.itemsize * (rows * row + vectors * model.parameters)


def _outs(model):
    return sum(layer.width for layer in model.layers)


def _vectors(model, setting, count):
    return Work(count * model.parameters, count * model.parameters * setting.itemsize)


# --- the probes


def _gradient(model, setting):
    work = _passes(model, setting.rows, setting.itemsize, 3, 1)
    return Cost("", (work,), _held(model, setting, setting.rows, 2, 2, 1))


def _hessian_product(model, setting):
    prepare = _passes(model, setting.rows, setting.itemsize, 2, 1)
    product = _passes(model, setting.rows, setting.itemsize, 6, 4)
    return Cost("", (prepare, product), _held(model, setting, setting.rows, 4.5, 3, 1))


def _ggn_product(model, setting):
    prepare = _passes(model, setting.rows, setting.itemsize, 1, 0)
    product = _passes(model, setting.rows, setting.itemsize, 4, 2)
    return Cost("", (prepare, product), _held(model, setting, setting.rows, 4, 2, 2))


def _spectrum(product):
    def cost(model, setting):
        one = product(model, setting)
        prepare, multiply = one.parts
        steps, probes, size = setting.steps, setting.probes, model.parameters
        passes = 2 if setting.batch_probes else setting.passes
        read = passes * _rows_read(steps, size, setting.batch_probes)
        parts = (
            prepare,
            _times(steps * probes, multiply),
            _times(probes * read, Work(4 * size, 2 * size * setting.itemsize)),
            _times(steps * probes, _vectors(model, setting, 12)),
        )
        together = probes if setting.batch_probes else 1
        of_rows = one.memory - product(model, setting._replace(rows=0)).memory
        vectors = setting.itemsize * size * (steps + 6)
        return Cost("", parts, one.memory + (together - 1) * of_rows + together * vectors)

    return cost


def _rows_read(steps, size, batched):
    """Rows of the basis that the `steps` orthogonalisations read: all, or the blocks begun."""
    if batched or steps * size <= _CACHED or steps <= _BLOCKS:
        return steps**2
    height = -(-steps // _BLOCKS)
    return sum(min(steps, (index // height + 1) * height) for index in range(steps))


def _gram(model, setting):
    """Rows of the Jacobian, a group of layers and a band of outputs at a time, and their products.

    Each is a pull through all rows, as far down as the group. A lone band is formed once.
    """
    rows, itemsize, held = setting.gram_rows, setting.itemsize, setting.gram_held
    side, sizes = rows * model.outputs, [layer.parameters for layer in model.layers]
    height = min(side, max(1, held // max(sizes)))
    bands = -(-side // height)
    pairs = bands * (bands + 1) // 2
    pulls = height * (bands + pairs) if bands > 1 else side
    products = _products(model, rows, itemsize)
    groups = _groups(sizes, held // height)
    jacobian = height * model.parameters
    parts = (
        _sum(products),
        *(
            _times(pulls, _sum(products[first:] + products[first + 1 : end]))
            for first, end in groups
        ),
        Work(2.0 * pairs * height * jacobian, 5 * pairs * jacobian * itemsize),
        _eigenvalues(side),
    )
    copies = 3.5 if bands == 1 else 6
    strip = height * max(sum(sizes[first:end]) for first, end in groups)
    passing = min(_PULLS, height) * itemsize * rows * 2 * max(layer.width for layer in model.layers)
    memory = _held(model, setting, rows, 1, 1) + copies * itemsize * strip + passing
    return Cost("", parts, memory + 3 * 8 * side**2)


def _groups(sizes, most):
    """First and last of neighbouring layers of no more than `most` numbers, or a larger one."""
    starts, held = [], most + 1
    for place, size in enumerate(sizes):
        if held + size > most:
            starts, held = [*starts, place], 0
        held += size
    return list(pairwise([*starts, len(sizes)]))


def _trainability(model, setting):
    """A product with the tangent kernel for each output, and two eigendecompositions."""
    side, rows = setting.gram_rows * model.outputs, setting.gram_rows
    together = max(1, min(side, _TANGENTS // model.parameters))
    one = _ggn_product(model, setting._replace(rows=rows))
    row = model.inputs + 2 * _outs(model)
    memory = one.memory + (together - 1) * setting.itemsize * (rows * row + 1.5 * model.parameters)
    parts = (one.parts[0], _times(side, one.parts[1]), _times(2, _eigenvectors(side)))
    return Cost("", parts, memory + 6 * setting.itemsize * side**2)


def _eigenvalues(side):
    return Work(4 / 3 * side**3, 8 * side**3 / 3)  # half of a reduction is matrix times vector


def _eigenvectors(side):
    return Work(9.0 * side**3, 8 * side**3 / 3)


def _feature_ranks(model, setting):
    rows = setting.rows
    parts, largest = [_hidden(model, setting)], 0
    for layer in model.layers[:-1]:
        short, long = sorted((rows, layer.width))
        flops = 2.0 * short**2 * long * _lower_share(short)
        gram = Work(flops, 8 * (short * long + short**2))
        parts += [gram, _eigenvalues(short)]
        largest = max(largest, 8 * (short * long + 3 * short**2))
    return Cost("", tuple(parts), _held(model, setting, rows, 1, 1) + largest)


def _lower_share(side):
    """Of a Gram matrix's flops, those of the blocks on and below the diagonal."""
    return 1 if side < _WHOLE else 0.25 + _lower_share(side // 2) / 2


def _unit_statistics(model, setting):
    passed = setting.rows * _outs(model)
    statistics = Work(15 * passed, 4 * passed * setting.itemsize)
    parts = (_hidden(model, setting), statistics)
    return Cost("", parts, _held(model, setting, setting.rows, 1, 2))


def _hidden(model, setting):
    """The forward pass as far as the last hidden layer."""
    if len(model.layers) == 1:
        return Work(0.0, 0.0)
    without_head = model._replace(layers=model.layers[:-1])
    return _passes(without_head, setting.rows, setting.itemsize, 1, 0)


def _random_labels(model, setting):
    setting = setting._replace(rows=setting.fit_rows)
    gradient, update = _gradient(model, setting), _vectors(model, setting, 10)
    parts = (
        _times(setting.fit_steps, gradient.parts[0]),
        _times(setting.fit_steps, update),
        _passes(model, setting.rows, setting.itemsize, 1, 0),
    )
    return Cost("", parts, gradient.memory + 3 * setting.itemsize * model.parameters)


PROBES: dict[str, tuple[Callable[[Model, Setting], Cost], tuple[str, ...]]] = {
    "gradient": (_gradient, ("rows",)),
    "Hessian product": (_hessian_product, ("rows",)),
    "GGN product": (_ggn_product, ("rows",)),
    "Hessian spectrum": (_spectrum(_hessian_product), ("batch_probes", "steps", "rows")),
    "GGN spectrum": (_spectrum(_ggn_product), ("batch_probes", "steps", "rows")),
    "GGN by Gram matrix": (_gram, ("gram_held", "gram_rows")),
    "feature ranks": (_feature_ranks, ("rows",)),
    "unit statistics": (_unit_statistics, ("rows",)),
    "trainability": (_trainability, ("gram_rows",)),
    "random labels": (_random_labels, ("fit_rows",)),
}
"""Each probe's cost and what may be lowered to make it fit, in the order to try."""


def _check(model: Model, setting: Setting) -> None:
    if not model.layers:
        raise UserError("`model` has no layers. Pass `dense((784, 100, 10))`, or layers of yours.")
    for name in (
        "rows",
        "gram_rows",
        "steps",
        "probes",
        "fit_steps",
        "fit_rows",
        "gram_held",
        "itemsize",
    ):
        if not (value := getattr(setting, name)) >= 1:
            raise UserError(f"`{name}` is {value}, but nothing is measured with less than 1.")
    if not 1 <= setting.passes <= 2:
        raise UserError(
            f"`passes` is {setting.passes}, but Lanczos orthogonalises once, or twice where once "
            "is not enough. Pass a number from 1 to 2."
        )
    if setting.steps > model.parameters:
        raise UserError(
            f"`steps` is {setting.steps}, but the matrix is {model.parameters} x "
            f"{model.parameters}. Pass at most `steps={model.parameters}`."
        )

"""Methods: the named recipes a person compares, each a few lines over the interventions.

A method is a function of its hyperparameters, read off its signature, that returns a `Method`.
To add one of your own, write such a function and `METHODS["its_name"] = function`. A
hyperparameter that is to be tuned says within what: `x: Annotated[float, Range(1e-4, 1)] = 0.1`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import optax

from neoteny import interventions as act
from neoteny import networks
from neoteny.errors import UserError, of_kind, unknown
from neoteny.interventions import Attack, Intervention, Penalty
from neoteny.types import Network


class Method(NamedTuple):
    """What distinguishes one way of learning from plain backprop.

    - `network`: options that override the study's network, as `{"layer_norm": True}`.
    - `gradient`: a transformation of the gradient ahead of the optimiser.
    - `penalties(network)` and `interventions(network, optimiser)`: made for one network.
    - `attack`: what changes each mini-batch against the network before it learns from it.
    - `surgery`: whether single units are replaced, which asks Adam for a step count per weight.
    """

    network: Mapping[str, Any] = MappingProxyType({})
    gradient: optax.GradientTransformation | None = None
    penalties: Callable[[Network], Sequence[Penalty]] = lambda network: ()
    interventions: Callable[[Network, optax.GradientTransformation], Sequence[Intervention]] = (
        lambda network, optimiser: ()
    )
    attack: Attack | None = None
    surgery: bool = False


class Range(NamedTuple):
    """Where a hyperparameter is searched unless told otherwise, both ends included.

    `log`: all its decades alike, rather than all its values.
    """

    low: float
    high: float
    log: bool = True


# Around what the methods' own papers tried on images; on other streams others may do better.
Decay = Annotated[float, Range(1e-6, 1e-2)]
Strength = Annotated[float, Range(1e-5, 1e-1)]
Rate = Annotated[float, Range(1e-6, 1e-2)]


def bp() -> Method:
    """Plain backprop: the control that everything is compared with."""
    return Method()


def l2(*, weight_decay: Decay = 1e-3) -> Method:
    """Coupled weight decay on all parameters."""
    return Method(gradient=_decay(weight_decay))


def er(*, strength: Strength = 1e-2, every: int = 20, layers: int = 0) -> Method:
    """Effective feature rank (Prakash et al., 2026) without its L2.

    `every=k`: a separate ascent step of size `strength` after every `k` mini-batches, on their
    rows, as in the paper's experiments. `every=0`: a penalty of `strength` on each mini-batch,
    as in its objective; the rank it sees is at most the mini-batch's rows.
    """
    return l2_er(weight_decay=0.0, strength=strength, every=every, layers=layers)


def l2_er(
    *, weight_decay: Decay = 1e-3, strength: Strength = 1e-2, every: int = 20, layers: int = 0
) -> Method:
    """L2 and effective feature rank together (Prakash et al., 2026).

    `every=k`: a separate ascent step of size `strength` after every `k` mini-batches, on their
    rows, as in the paper's experiments. `every=0`: a penalty of `strength` on each mini-batch,
    as in its objective; the rank it sees is at most the mini-batch's rows. `layers=k`: of the last
    `k` hidden layers alone, as the paper chose for its convolutional networks.
    """
    _not_negative("every", every)
    method = Method(gradient=_decay(weight_decay))
    if not _positive("strength", strength):
        return method
    if every == 0:
        return method._replace(
            penalties=lambda network: (act.effective_rank_penalty(strength, layers=layers),)
        )
    return method._replace(
        interventions=lambda network, optimiser: (
            act.every(
                every, act.effective_rank_step(network, learning_rate=strength, layers=layers)
            ),
        )
    )


def cbp(*, replacement_rate: Rate = 1e-4, maturity: int = 100, decay: float = 0.99) -> Method:
    """Continual backprop (Dohare et al., 2024): units of least utility start over."""
    return _replacing(act.continual_backprop, replacement_rate, maturity, decay)


def published_cbp(
    *, replacement_rate: Rate = 1e-4, maturity: int = 100, decay: float = 0.99
) -> Method:
    """Continual backprop as the main paper's code has it: units of *most* utility start over.

    A baseline to compare with, not to use; see `interventions.published_continual_backprop`.
    """
    return _replacing(act.published_continual_backprop, replacement_rate, maturity, decay)


def _replacing(
    replace: Callable[..., Intervention], replacement_rate: float, maturity: int, decay: float
) -> Method:
    if not 0 <= maturity < 2**31:
        raise UserError(f"`maturity` is {maturity}, but counts from 0 to 2**31 - 1 mini-batches.")
    if not 0 <= decay < 1:
        raise UserError(f"`decay` is {decay}; the decay of a running mean is from 0 to below 1.")
    if not _positive("replacement_rate", replacement_rate):
        return Method()
    options = {"replacement_rate": replacement_rate, "maturity": maturity, "decay": decay}
    return Method(
        surgery=True,
        interventions=lambda network, optimiser: (replace(network, optimiser, **options),),
    )


def snp(
    *,
    shrink: Annotated[float, Range(0.1, 1.0, log=False)] = 0.8,
    perturb: Annotated[float, Range(1e-3, 1.0)] = 0.2,
    every: int = 0,
) -> Method:
    """Shrink and perturb (Ash & Adams, 2020).

    `every=0`: at the start of each task, as in the paper; it needs to know the boundary.
    `every=k`: after every `k` mini-batches; choose `shrink` close to one.
    """
    _not_negative("every", every)
    _not_negative("shrink", shrink)
    _not_negative("perturb", perturb)
    if shrink == 1 and perturb == 0:
        return Method()
    when = (lambda change: act.every(every, change)) if every else act.at_task_start
    return Method(
        interventions=lambda network, optimiser: (
            when(act.shrink_and_perturb(network, shrink=shrink, perturb=perturb)),
        )
    )


def layernorm_l2(*, weight_decay: Decay = 1e-4) -> Method:
    """Layer normalisation before each activation, and L2 (Lyle et al., 2024)."""
    return Method(network=MappingProxyType({"layer_norm": True}), gradient=_decay(weight_decay))


def spectral(*, strength: Strength = 1e-3, power: int = 2, target: float = 1.0) -> Method:
    """Spectral regularisation (Lewandowski et al., 2025): top singular values near `target`."""
    if power < 1:
        raise UserError(
            f"`power` is {power}, but the singular value is raised to a power of 1 or more."
        )
    _not_negative("target", target)
    if not _positive("strength", strength):
        return Method()
    return Method(penalties=lambda network: (act.spectral(strength, power=power, target=target),))


def l2_init(*, strength: Strength = 1e-3) -> Method:
    """Regenerative regularisation (Kumar et al., 2023): L2 towards the initial parameters."""
    if not _positive("strength", strength):
        return Method()
    return Method(penalties=lambda network: (act.l2_init(strength),))


def wasserstein(*, strength: Strength = 1e-3) -> Method:
    """L2 towards the initial distribution of each array's entries (Lewandowski et al., 2024)."""
    if not _positive("strength", strength):
        return Method()
    return Method(penalties=lambda network: (act.wasserstein_init(strength),))


def spectral_decoupling(*, strength: Strength = 1e-2, target: float = 0.0) -> Method:
    """Spectral decoupling (Pezeshki et al., 2021): L2 on the outputs in place of the weights."""
    if not _positive("strength", strength):
        return Method()
    return Method(
        penalties=lambda network: (act.spectral_decoupling(strength, target=target),),
    )


def c_chain(
    *, strength: Strength = 1e-2, relative: Annotated[float, Range(1e-3, 1.0)] = 0.0
) -> Method:
    """Churn reduction (Tang et al., 2025): outputs on rows not learnt from change slowly.

    With `relative` above zero the strength tunes itself, until the penalty is that share of the
    loss.
    """
    _not_negative("relative", relative)
    if not _positive("strength", strength) and not relative:
        return Method()
    return Method(
        penalties=lambda network: (act.churn_reduction(network, strength, relative=relative),)
    )


def srank(*, strength: Strength = 5e-4) -> Method:
    """Singular-value penalty (Kumar et al., 2021): the last features' largest against smallest."""
    if not _positive("strength", strength):
        return Method()
    return Method(penalties=lambda network: (act.singular_value_penalty(strength),))


def gpm(
    *,
    threshold: Annotated[float, Range(0.8, 0.999, log=False)] = 0.97,
    later: Annotated[float, Range(0.8, 0.999, log=False)] = 0.995,
    samples: int = 300,
    winners: float = 1.0,
    dropout: float = 0.0,
) -> Method:
    """Gradient projection memory (Saha et al., 2021), and with it sparse hidden layers.

    `threshold` of the squares of the inputs is remembered, `later` of what other layers read.
    `winners` below one and `dropout` above zero are the sparsity and the heterogeneous dropout of
    Abbasi et al. (2022).
    """
    sparse: dict[str, Any] = {"winners": winners} if winners != 1 else {}
    sparse |= {"dropout": dropout} if dropout else {}

    def interventions(network, optimiser):
        del optimiser
        parts = [act.count_tasks(network)] if dropout else []
        if threshold or later:
            shares = (threshold, later)
            parts.append(act.gradient_projection(network, thresholds=shares, samples=samples))
        return parts

    return Method(network=MappingProxyType(sparse), interventions=interventions)


def heterogeneous_dropout(
    *,
    winners: Annotated[float, Range(0.1, 1.0, log=False)] = 0.3,
    dropout: Annotated[float, Range(0.0, 2.0, log=False)] = 0.5,
) -> Method:
    """Sparse layers whose often used units are dropped in later tasks (Abbasi et al., 2022)."""
    return gpm(threshold=0.0, later=0.0, winners=winners, dropout=dropout)


def adversarial(
    *, radius: Annotated[float, Range(1e-2, 3.0)] = 0.3, steps: int = 1, norm: str = "l2"
) -> Method:
    """Adversarial training (Madry et al., 2018): rows moved by `radius` against the network."""
    if not _positive("radius", radius):
        return Method()
    return Method(attack=act.gradient_attack(radius, steps=steps, norm=norm))


def last_layer() -> Method:
    """Only the output layer learns, on random features: the control without feature learning."""
    return Method(interventions=lambda network, optimiser: (act.freeze_hidden(network),))


def reset() -> Method:
    """Start each task from a fresh network: the yardstick, not a competitor."""
    return Method(
        interventions=lambda network, optimiser: (act.at_task_start(act.reset(network, optimiser)),)
    )


METHODS: dict[str, Callable[..., Method]] = {
    recipe.__name__: recipe
    for recipe in (
        bp,
        l2,
        er,
        l2_er,
        cbp,
        snp,
        layernorm_l2,
        spectral,
        l2_init,
        wasserstein,
        spectral_decoupling,
        c_chain,
        srank,
        gpm,
        heterogeneous_dropout,
        adversarial,
        last_layer,
        reset,
        published_cbp,
    )
}
"""The recipes by name. Add your own: `METHODS["mine"] = mine`."""


def make(name: str, hyperparameters: Mapping[str, Any] = MappingProxyType({})) -> Method:
    """The method called `name`, with some of its hyperparameters changed.

    **Raises:** `UserError` for an unknown method or hyperparameter, or an impossible value.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    values, defaults = {}, hyperparameter_defaults(name)
    for field, value in hyperparameters.items():
        if field not in defaults:
            raise unknown(f"hyperparameter of `{name}` called", field, defaults)
        values[field] = of_kind(f"{name}.{field}", value, defaults[field])
    return METHODS[name](**values)


def hyperparameter_defaults(name: str) -> dict[str, Any]:
    """A method's hyperparameters and their values unless changed."""
    parameters = inspect.signature(METHODS[name]).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


def search_ranges(name: str) -> dict[str, Range]:
    """The hyperparameters of a method that declare where they are to be searched, and where."""
    parameters = inspect.signature(METHODS[name], eval_str=True).parameters.values()
    return {
        parameter.name: mark
        for parameter in parameters
        for mark in getattr(parameter.annotation, "__metadata__", ())
        if isinstance(mark, Range)
    }


def needs_boundary(name: str) -> bool:
    """Whether a method, as it comes, must be told when the task changes."""
    method = METHODS[name]()
    network = networks.make("mlp", (1,), 1, {"widths": (1,), **method.network})
    interventions = method.interventions(network, optax.sgd(0.1))
    return any(part.period == act.TASK_START or part.begin for part in interventions)


def _decay(strength: float) -> optax.GradientTransformation | None:
    return act.weight_decay(strength) if _positive("weight_decay", strength) else None


def _positive(name: str, value: float) -> bool:
    _not_negative(name, value)
    return value > 0


def _not_negative(name: str, value: float | int) -> None:
    if not 0 <= value < float("inf"):
        raise UserError(f"`{name}` is {value}, but must be zero (off) or a positive number.")

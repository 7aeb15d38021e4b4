"""What every method promises, and that a strength of zero is plain backprop, bit for bit."""

import inspect
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neoteny import loop, machine, methods, sweep
from neoteny.config import RunConfig, TrainingConfig
from neoteny.errors import UserError
from neoteny.interventions import elementwise_adam
from neoteny.losses import cross_entropy
from neoteny.methods import METHODS, make
from neoteny.networks import mlp
from neoteny.training import trainer
from neoteny.types import Batch
from tiny import study

ROWS, SIZE = 12, 3

OFF = {
    "l2": {"weight_decay": 0},
    "er": {"strength": 0},
    "l2_er": {"weight_decay": 0, "strength": 0.0},
    "cbp": {"replacement_rate": 0},
    "published_cbp": {"replacement_rate": 0},
    "snp": {"shrink": 1, "perturb": 0},
    "spectral": {"strength": 0},
    "l2_init": {"strength": 0.0},
    "wasserstein": {"strength": 0},
    "spectral_decoupling": {"strength": 0},
    "c_chain": {"strength": 0},
    "srank": {"strength": 0},
    "gpm": {"threshold": 0, "later": 0.0},
    "heterogeneous_dropout": {"winners": 1, "dropout": 0},
    "adversarial": {"radius": 0},
}
ACTING = {  # within the few steps of two small tasks
    "l2": {"weight_decay": 0.1},
    "er": {"strength": 0.1, "every": 2},
    "l2_er": {"weight_decay": 0.1, "strength": 0.1, "every": 0},
    "cbp": {"replacement_rate": 0.2, "maturity": 1},
    "published_cbp": {"replacement_rate": 0.2, "maturity": 1},
    "spectral": {"strength": 0.1},
    "l2_init": {"strength": 0.1},
    "wasserstein": {"strength": 0.1},
    "spectral_decoupling": {"strength": 0.1},
    "c_chain": {"strength": 1.0},
    "srank": {"strength": 0.1},
    "gpm": {"threshold": 0.9, "later": 0.9},
    "adversarial": {"radius": 0.5},
    "layernorm_l2": {"weight_decay": 0.1},
}
OPTIMISERS = ("sgd", "momentum", "adam")


def _data(key):
    keys = jax.random.split(key)
    labels = jax.random.randint(keys[1], (ROWS,), 0, 3, dtype=jnp.int32)
    return Batch(jax.random.normal(keys[0], (ROWS, 4)), labels)


COMPILED = {}


def _compiled(function, *arguments):
    """`function` for arguments of these shapes; programs of equal text are compiled once."""
    lowered = jax.jit(function).lower(*arguments)
    program = lowered.as_text(), jax.tree.structure(arguments)
    if program not in COMPILED:
        COMPILED[program] = lowered.compile()
    return COMPILED[program]


def _lives(name, hyperparameters=None, *, optimiser="adam", layer_norm=False, seed=0):
    """A learner at birth, and after two tasks under a method, with the trace of the second."""
    method = make(name, hyperparameters or {})
    network = mlp((4, 6, 3), **({"layer_norm": layer_norm} | dict(method.network)))
    rule = machine.optimiser_of(TrainingConfig(optimiser=optimiser, learning_rate=0.05), method)
    parts = trainer(
        network,
        cross_entropy,
        rule,
        method.penalties(network),
        method.interventions(network, rule),
        batch=SIZE,
        attack=method.attack,
    )
    key = jax.random.key(seed)
    first, second = (_data(jax.random.fold_in(key, index)) for index in (0, 1))
    birth = parts.initialise(network.init(key))
    learn = _compiled(parts.learn, birth, first, key)
    learner, _ = learn(birth, first, key)
    learner = parts.begin(learner, second, key)
    return birth, *learn(learner, second, jax.random.fold_in(key, 2))


@cache
def _acting(name, seed=0):
    return _lives(name, ACTING.get(name), seed=seed)


def _bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def _state(*arguments, **options):
    """Parameters and optimiser state after two tasks, as bytes."""
    _, learner, _ = _lives(*arguments, **options)
    return _bits((learner.params, learner.opt_state))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_keeps_structure_shapes_and_dtypes_and_stays_finite(name):
    birth, learner, trace = _acting(name)
    assert jax.tree.structure(birth) == jax.tree.structure(learner)
    for before, after in zip(jax.tree.leaves(birth), jax.tree.leaves(learner), strict=True):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
        assert np.isfinite(after).all()
    assert trace.diverged_step == -1


@pytest.mark.parametrize("name", METHODS)
def test_a_method_depends_on_its_key_alone(name):
    again = _lives(name, ACTING.get(name))
    assert _bits(again) == _bits(_acting(name))
    assert _bits(_acting(name, seed=1)[1].params) != _bits(again[1].params)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is_and_has_a_default_for_everything(name):
    assert inspect.getdoc(METHODS[name])
    defaults = methods.hyperparameter_defaults(name)
    assert inspect.Parameter.empty not in defaults.values()
    assert isinstance(make(name, defaults), methods.Method)


@pytest.mark.parametrize(
    "optimiser",
    [pytest.param(name, marks=pytest.mark.further if name != "sgd" else ()) for name in OPTIMISERS],
)
@pytest.mark.parametrize("name", OFF)
def test_a_strength_of_zero_is_plain_backprop_bit_for_bit(name, optimiser):
    assert _state(name, OFF[name], optimiser=optimiser) == _state("bp", optimiser=optimiser)


@pytest.mark.parametrize("name", OFF)
def test_a_strength_above_zero_is_not_plain_backprop(name):
    params = lambda method: _bits(_acting(method)[1].params)
    assert params(name) != params("bp")


def test_layer_normalisation_without_decay_is_backprop_on_a_normalised_network():
    plain = _state("bp", layer_norm=True)
    assert _state("layernorm_l2", {"weight_decay": 0}) == plain
    assert _state("layernorm_l2", ACTING["layernorm_l2"]) != plain


def test_only_methods_that_act_at_a_boundary_need_to_know_it():
    assert {name for name in METHODS if methods.needs_boundary(name)} == {
        "snp", "reset", "gpm", "heterogeneous_dropout"
    }  # fmt: skip


def test_unit_surgery_brings_an_adam_that_counts_steps_per_weight():
    config = TrainingConfig(optimiser="adam", learning_rate=0.05)
    params = mlp((2, 2, 2)).init(jax.random.key(0))
    state = lambda method: jax.tree.structure(machine.optimiser_of(config, method).init(params))
    assert state(make("cbp")) == jax.tree.structure(elementwise_adam(0.05).init(params))
    assert state(make("bp")) == jax.tree.structure(optax.adam(0.05).init(params))


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("l2", "weight_decay", -1e-3),
        ("l2", "weight_decay", float("nan")),
        ("l2", "weight_decay", float("inf")),
        ("l2", "weight_decay", "0.1"),
        ("l2", "weight_decay", True),
        ("er", "strength", -1),
        ("er", "every", -1),
        ("er", "every", 1.5),
        ("l2_er", "weight_decay", -1),
        ("l2_er", "every", "100"),
        ("cbp", "replacement_rate", -1e-4),
        ("cbp", "maturity", -1),
        ("cbp", "decay", 1.0),
        ("cbp", "decay", float("nan")),
        ("snp", "shrink", -0.1),
        ("snp", "perturb", float("nan")),
        ("snp", "every", -1),
        ("layernorm_l2", "weight_decay", -1),
        ("spectral", "strength", -1),
        ("spectral", "power", 0),
        ("spectral", "target", float("nan")),
        ("spectral", "target", -1.0),
        ("l2_init", "strength", float("inf")),
    ],
)
def test_an_impossible_hyperparameter_is_named_with_its_value(name, field, value):
    with pytest.raises(UserError) as error:
        make(name, {field: value})
    message = str(error.value)
    assert f"{field}` is {value}" in message or f"{field}` is {value!r}" in message


def test_an_unknown_method_or_hyperparameter_gets_the_nearest_name():
    with pytest.raises(UserError, match="Did you mean `l2_init`"):
        make("l2_inti")
    with pytest.raises(UserError, match="Did you mean `weight_decay`"):
        make("l2", {"weight_dekay": 0.1})
    with pytest.raises(UserError, match="weight_decay"):
        make("l2", {"x": 0.1})


@pytest.mark.parametrize("name", ["er", "l2_er"])
@pytest.mark.parametrize(("batch", "every", "works"), [(1, 0, 0), (1, 1, 0), (1, 2, 1), (2, 0, 1)])
def test_the_rank_of_a_single_row_is_refused_before_anything_runs(name, batch, every, works):
    hyperparameters = {"every": every}
    setting = study(training__batch=batch).streams["labels"]
    config = RunConfig(
        study="tiny",
        stream="labels",
        method=name,
        seed=0,
        tasks=3,
        hyperparameters=hyperparameters,
        setting=setting,
    )
    if works:
        loop.prepare(config)
    else:
        with pytest.raises(UserError, match=r"1 row is always 1.*every=100"):
            loop.prepare(config)


def test_a_method_of_ones_own_joins_by_name(monkeypatch):
    def gentle(*, weight_decay: float = 1e-3):
        return make("l2", {"weight_decay": weight_decay})

    monkeypatch.setitem(METHODS, "gentle", gentle)
    assert _state("gentle") == _state("l2")
    with pytest.raises(UserError, match="takes a float such as"):
        make("gentle", {"weight_decay": "much"})


def test_a_method_that_would_never_act_is_refused_rather_than_run_as_bp():
    tiny = study(hyperparameters__l2_er__every=7, methods=("l2_er",))
    (config,) = sweep.expand(tiny)  # six steps a task
    with pytest.raises(UserError, match=r"acts every 7 mini-batches, but a task has 6.*every=6"):
        machine.prepare(config)

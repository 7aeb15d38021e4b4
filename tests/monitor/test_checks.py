"""Whatever a person gets wrong is said in one sentence, before anything is measured."""

import re

import jax
import jax.numpy as jnp
import jaxtyping
import pytest

import neoteny as nt
from neoteny.losses import cross_entropy
from neoteny.networks import mlp
from neoteny.types import Batch

NETWORK = mlp((6, 8, 3))
PARAMS = NETWORK.init(jax.random.key(0))
BATCH = Batch(jnp.ones((12, 6)), jnp.arange(12) % 3)


@pytest.fixture(autouse=True, scope="module")
def _as_users_run_it():
    """Without the hook that checks annotations, which would speak first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def rowwise(params, batch):
    return cross_entropy(NETWORK.apply(params, batch[0])[0], batch[1])


def loss(params, batch):
    return rowwise(params, batch).mean()


def with_aux(params, batch):
    return loss(params, batch), {"accuracy": 1.0}


def _said(words):
    return pytest.raises(nt.UserError, match=re.escape(words))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fresh": PARAMS}, "`fresh` is a tuple, but it makes new parameters from a key"),
        ({"learning_rate": lambda step: 0.1}, "`learning_rate=float(schedule(step))`"),
        ({"learning_rate": -1.0}, "`learning_rate` is -1.0"),
        ({"num_steps": 0}, "`num_steps` is 0"),
        ({"rows": 0}, "`rows` is 0"),
        ({"draws": 0}, "`draws` is 0"),
    ],
)
def test_impossible_options_are_named(options, words):
    with _said(words):
        nt.Monitor(**options)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((rowwise, PARAMS, BATCH), "returned an array of shape (12,), but a loss is one number"),
        (
            (with_aux, PARAMS, BATCH),
            "returned a tuple, but a loss is one number. If the rest is aux",
        ),
        ((lambda params, batch: 0, PARAMS, BATCH), "return a float"),
        ((lambda params, batch: None, PARAMS, BATCH), "`loss_fn` returned a NoneType"),
        ((PARAMS, loss, BATCH), "`loss_fn` is a tuple, but it is the function"),
        ((loss, BATCH, PARAMS), "`params.labels` is int"),
        ((loss, loss, BATCH), "`params` is a function, and no pytree of arrays"),
        ((loss, {}, BATCH), "`params` holds no arrays: it is a dict"),
        ((loss, PARAMS, (jnp.ones((12, 5)), BATCH[1])), "failed on what it was passed: TypeError"),
        ((loss, PARAMS, (jnp.ones((0, 6)), BATCH[1][:0])), "The batch has no rows: `batch[0]`"),
    ],
)
def test_what_no_loss_can_be_measured_of_is_refused(arguments, words):
    with _said(words):
        nt.Monitor().check(*arguments)


@pytest.mark.parametrize(
    ("fresh", "words"),
    [
        (lambda key, inputs: PARAMS, "close over the rest, as in `fresh=lambda key: module.init"),
        (lambda key: {"params": PARAMS}, "`fresh` makes other parameters than `params`"),
        (mlp((6, 9, 3)).init, "`[0]['bias']` has shape (9,) in one and (8,) in the other"),
        (lambda key: PARAMS[:1], "`[1]['bias']` is not there in one and (3,) in the other"),
        (lambda key: BATCH, "arguments are swapped"),
    ],
)
def test_an_initialiser_of_other_parameters_is_refused(fresh, words):
    with _said(words):
        nt.Monitor(fresh=fresh).check(loss, PARAMS, BATCH)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (lambda params, batch: (), "`features` returned no matrix"),
        (lambda params, batch: jnp.ones((12, 2, 2, 3)), "shape (12, 2, 2, 3), but a hidden layer"),
    ],
)
def test_features_that_are_no_matrices_are_refused(features, words):
    with _said(words):
        nt.Monitor(features=features).check(loss, PARAMS, BATCH)


def test_a_module_with_functions_among_its_leaves_is_told_how_to_filter_them():
    equinox = pytest.importorskip("equinox")
    model = equinox.nn.MLP(6, 3, 8, 1, key=jax.random.key(0))
    with _said("eqx.filter(model, eqx.is_inexact_array)"):
        nt.Monitor().check(lambda model, batch: 0.0, model, BATCH)


def test_a_leaf_that_is_not_finite_is_named():
    first, last = PARAMS
    broken = (first, last | {"bias": last["bias"].at[1].set(jnp.nan)})
    with _said("`params[1]['bias']` is not finite. Training has diverged"):
        nt.Monitor().check(loss, broken, BATCH)
    with _said("`params[1]['bias']` is not finite. These are parameters that `fresh` has made"):
        nt.Monitor(fresh=lambda key: broken).check(loss, PARAMS, BATCH)


def test_a_batch_or_a_loss_that_is_not_finite_is_not_blamed_on_training():
    with _said("`batch.inputs` is not finite"):
        nt.Monitor().check(loss, PARAMS, BATCH._replace(inputs=BATCH.inputs / 0))
    with _said("`loss` is inf on this batch, though all parameters are finite"):
        nt.Monitor().check(lambda params, batch: loss(params, batch) / 0, PARAMS, BATCH)

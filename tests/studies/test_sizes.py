"""Studies that come in sizes: each is whole, the smallest run, and what is not there is refused."""

import pytest

from neoteny import api, loop, streams, studies
from neoteny.errors import UserError
from neoteny.studies.scales import PROTOCOLS, SCALES
from neoteny.sweep import expand

SIZES = [(n, s, p) for n in studies.SIZED for s in SCALES for p in PROTOCOLS]
OF_IMAGES = [name for name in studies.SIZED if name != "slippery-ant"]


@pytest.mark.parametrize(("name", "scale", "protocol"), SIZES)
def test_every_size_is_a_study_of_its_own_name(name, scale, protocol):
    study = api.plan(name, scale=scale, protocol=protocol)
    assert study.name.startswith(name)
    assert (study.name in studies.COMPARED) == (name in OF_IMAGES)
    for run in expand(study):
        acts = run.setting.agent is not None
        assert run.setting.metric in (
            ("online_return", "final_return") if acts else ("online_accuracy", "heldout_accuracy")
        )
        assert ("cbp" in study.methods) == (protocol == "corrected")


def test_names_differ_and_the_plain_one_is_the_corrected_desk():
    names = [api.plan(n, scale=s, protocol=p).name for n, s, p in SIZES]
    assert len(set(names)) == len(names)
    assert api.plan("permuted-mnist") == api.plan("permuted-mnist", scale="desk")


LIGHT = {"tasks": 2, "probes.spectrum_every": 0, "probes.fresh_every": 0, "probes.every": 0}
"""What is slow to compile is tested elsewhere, on every network and method."""


@pytest.mark.parametrize(
    ("name", "protocol", "method"),
    [
        ("permuted-mnist", "corrected", "l2_er"),
        pytest.param("continual-imagenet", "published", "published_cbp", marks=pytest.mark.further),
        ("incremental-cifar", "corrected", "reset"),
    ],
)
def test_the_smallest_size_runs_to_its_verdict_without_files(name, protocol, method, tmp_path):
    found = api.run(
        name,
        scale="smoke",
        protocol=protocol,
        out=tmp_path,
        seeds=1,
        methods=["bp", method],
        changes=LIGHT,
    )
    assert {outcome.status for outcome in found.outcomes} == {"finished"}
    claims = [verdict.claim for verdict in found.verdict()]
    assert f"as published, {method} ends above bp" in claims
    column = "online_accuracy" if name == "permuted-mnist" else "heldout_accuracy"
    assert found.query(f"SELECT count({column}) FROM tasks").rows == [(4,)]


def test_the_smallest_ant_walks_to_its_verdict(tmp_path):
    pytest.importorskip("mujoco")
    changes = LIGHT | {"agent.iterations": 2}
    found = api.run(
        "slippery-ant", scale="smoke", out=tmp_path, seeds=1, methods=["bp"], changes=changes
    )
    assert {outcome.status for outcome in found.outcomes} == {"finished"}
    assert "bp" in {verdict.claim.split()[0] for verdict in found.verdict()}


def test_all_methods_have_the_ants_adam_but_as_published():
    def betas(protocol):
        runs = expand(api.plan("slippery-ant", scale="paper", protocol=protocol, seeds=1))
        return {run.method: run.setting.training.beta2 for run in runs}

    assert set(betas("corrected").values()) == {0.99}
    assert {name for name, beta in betas("published").items() if beta == 0.999} == {
        "bp",
        "spectral",
    }


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"scale": "dsk"}, "There is no scale `dsk`. Did you mean `desk`"),
        ({"protocol": "fixed"}, "There is no protocol `fixed`"),
    ],
)
def test_a_size_that_is_not_there_is_refused(choice, words):
    with pytest.raises(UserError, match=words):
        studies.load("permuted-mnist", **choice)


def test_a_study_of_one_size_takes_none():
    with pytest.raises(
        UserError, match="`scale` is paper, but `spectral-collapse-digits` comes in"
    ):
        studies.load("spectral-collapse-digits", scale="paper")
    with pytest.raises(UserError, match="`protocol` is published"):
        studies.load("spectral-collapse-digits", protocol="published")


def test_a_study_that_is_there_already_has_its_size():
    with pytest.raises(UserError, match="is of one size already"):
        api.plan(studies.load("permuted-mnist"), scale="paper")


def _real(name):
    try:
        streams.load(name)
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("scale", ["desk", pytest.param("paper", marks=pytest.mark.further)])
@pytest.mark.parametrize("name", OF_IMAGES)
def test_the_larger_sizes_can_be_built_on_the_real_data(name, scale, protocol, tmp_path):
    cbp = "cbp" if protocol == "corrected" else "published_cbp"
    runs = expand(api.plan(name, scale=scale, protocol=protocol, seeds=1, methods=f"l2_er,{cbp}"))
    _real(runs[0].setting.stream.dataset)
    for run in runs:
        loop.check(run, tmp_path / run.method)

"""Configurations: what cannot work is refused in words, what can is kept as it is."""

import pytest
from pydantic import ValidationError

import tiny
from neoteny import api
from neoteny.config import RunConfig, Setting, Study, changed, validated
from neoteny.errors import UserError
from neoteny.studies import STUDIES, load
from neoteny.sweep import expand

TWO_STREAMS = tiny.STUDY | {"streams": {name: tiny.STUDY["streams"]["labels"] for name in "ab"}}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("training.bach", "4", ["training.bach", "Did you mean", "training.batch`"]),
        ("traning.batch", "4", ["`traning`", "Did you mean `training`"]),
        ("tusks", "4", ["`tusks`", "Did you mean `tasks`"]),
        ("streams.lables.tasks", "4", ["`streams.lables`", "Did you mean `streams.labels`"]),
        ("training.learning_rate", "-0.1", ["training.learning_rate` is -0.1", "greater than 0"]),
        ("training.learning_rate", "nan", ["training.learning_rate` is nan", "finite"]),
        ("training.learning_rate", "inf", ["training.learning_rate` is inf", "finite"]),
        ("training.learning_rate", '"0.1"', ["training.learning_rate` is '0.1'", "number"]),
        ("training.momentum", "1.0", ["training.momentum` is 1.0", "less than 1"]),
        ("training.decoupled_decay", "-1", ["training.decoupled_decay` is -1"]),
        ("training.optimiser", "adm", ["training.optimiser` is 'adm'", "'adamw'"]),
        ("training.batch", "0", ["training.batch` is 0", "greater than or equal to 1"]),
        ("training.batch", "2.5", ["training.batch` is 2.5", "integer"]),
        ("training.batch.size", "3", ["`training.batch.size`", "`batch`, which holds a value"]),
        ("tasks", "0", ["tasks` is 0", "greater than or equal to 1"]),
        ("tasks", "true", ["tasks` is True", "integer"]),
        ("tasks", '"5"', ["tasks` is '5'", "integer"]),
        ("tasks", "many", ["tasks` is 'many'", "integer"]),
        ("seeds", "0", ["`seeds` is 0"]),
        ("methods", "[]", ["`methods` is []", "at least 1"]),
        ("streams", "{}", ["`streams` is {}", "at least 1"]),
        ("streams", "3", ["`streams` is 3", "dictionary"]),
        ("network.widths", "[8, 0]", ["network.widths.1` is 0"]),
        ("network.widths", "8", ["network.widths` is 8"]),
        ("metric", "loss", ["metric` is 'loss'", "'final_accuracy'"]),
        ("probes.every", "-1", ["probes.every` is -1"]),
        ("probes.epsilon", "0", ["probes.epsilon` is 0", "greater than 0"]),
        ("stream.rows", "0", ["stream.rows` is 0"]),
        ("hyperparameters.l2", "3", ["hyperparameters.l2` is 3", "dictionary"]),
        ("hyperparameters.l2.weight_decay", "[1]", ["l2.weight_decay` is [1]", "a number"]),
        ("name", "..", ["`name` is '..'"]),
        ("name", "a/b", ["`name` is 'a/b'"]),
    ],
)
def test_a_field_that_cannot_work_is_named_with_its_value(path, value, words):
    with pytest.raises(UserError) as error:
        changed(validated(Study, tiny.STUDY), {path: value})
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", "a b"])
def test_no_stream_can_have_a_name_that_leaves_its_folder(name):
    with pytest.raises(UserError):
        validated(Study, tiny.STUDY | {"streams": {name: {}}})


def test_what_is_missing_is_named():
    with pytest.raises(UserError, match="`streams` is missing"):
        validated(Study, {"name": "empty"})


def test_a_field_of_a_setting_changes_every_stream_and_a_full_path_one():
    study = validated(Study, TWO_STREAMS)
    tasks = lambda study: [setting.tasks for setting in study.streams.values()]
    assert tasks(changed(study, {"tasks": "7"})) == [7, 7]
    assert tasks(changed(study, {"streams.b.tasks": "2"})) == [3, 2]
    assert tasks(changed(study, {"tasks": "7", "streams.b.tasks": "2"})) == [7, 2]
    assert tasks(study) == [3, 3]


@pytest.mark.parametrize(
    ("path", "text", "read"),
    [
        ("network.widths", "[4, 5]", lambda s: s.network.widths == (4, 5)),
        ("network.layer_norm", "true", lambda s: s.network.layer_norm is True),
        ("network.activation", "tanh", lambda s: s.network.activation == "tanh"),
        ("network.activation", '"tanh"', lambda s: s.network.activation == "tanh"),
        ("training.learning_rate", "1e-2", lambda s: s.training.learning_rate == 0.01),
        ("training.learning_rate", "1", lambda s: s.training.learning_rate == 1.0),
        ("probes.names", '["units", "norms"]', lambda s: s.probes.names == ("units", "norms")),
        ("probes.names", [], lambda s: s.probes.names == ()),
        ("stream", '{ rule = "permuted-pixels" }', lambda s: s.stream.rows is None),
    ],
)
def test_values_are_read_as_toml_or_as_text(path, text, read):
    assert read(changed(validated(Study, tiny.STUDY), {path: text}).streams["labels"])


def test_hyperparameters_reach_the_runs_of_their_method_alone():
    paths = {"hyperparameters.l2.weight_decay": "0.1", "methods": '["bp", "l2"]'}
    study = changed(validated(Study, tiny.STUDY), paths)
    bp, l2 = expand(study)
    assert (bp.hyperparameters, l2.hyperparameters) == ({}, {"weight_decay": 0.1})
    assert bp.setting == l2.setting
    kept = changed(study, {"hyperparameters.l2.weight_decay": "true"})
    assert expand(kept)[1].hyperparameters["weight_decay"] is True


def test_a_method_may_learn_at_a_rate_of_its_own():
    asked = api.plan(
        tiny.study(methods=["bp", "l2"]), changes={"training_of.l2.learning_rate": 0.5}
    )
    rates = {run.method: run.setting.training.learning_rate for run in expand(asked)}
    assert rates == {"bp": 0.001, "l2": 0.5}
    assert all(not run.setting.training_of for run in expand(asked))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training_of.l2.learning_rat": 0.5}, "no field `learning_rat`. Did you mean"),
        ({"training_of.l2.learning_rate": -1.0}, "`training_of.l2`: `learning_rate` is -1.0"),
        ({"training_of.l3.learning_rate": 0.5}, "no method with settings of its own `l3`"),
    ],
)
def test_a_rate_of_its_own_that_cannot_work_is_named(change, words):
    with pytest.raises(UserError, match=words):
        api.plan(tiny.study(), changes=change)


def test_seeds_may_start_elsewhere():
    asked = api.plan(tiny.study(seeds=2, first_seed=7))
    assert sorted(run.seed for run in expand(asked)) == [7, 8]


def test_a_configuration_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Setting().tasks = 3


@pytest.mark.parametrize("study", [tiny.study(), *STUDIES.values()], ids=lambda study: study.name)
def test_a_study_and_its_runs_survive_json_and_plain_data(study):
    assert Study.model_validate_json(study.model_dump_json()) == study
    assert validated(Study, study.model_dump(mode="json")) == study
    for run in expand(study):
        assert RunConfig.model_validate_json(run.model_dump_json()) == run


def test_a_study_expands_to_each_method_and_seed_once():
    study = validated(Study, TWO_STREAMS | {"methods": ["bp", "l2", "bp"], "seeds": 2})
    runs = [(run.stream, run.method, run.seed) for run in expand(study)]
    assert runs == [(s, m, seed) for s in "ab" for m in ("bp", "l2") for seed in (0, 1)]


def test_a_toml_file_is_the_study_it_spells(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(tiny.TOML)
    assert load(str(path)) == tiny.study()
    nameless = tmp_path / "other.toml"
    nameless.write_text(tiny.TOML.replace('name = "tiny"', ""))
    assert load(str(nameless)).name == "other"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tasks = ", ["is not TOML"]),
        ("taskz = 3\n" + tiny.TOML, ["`taskz`"]),
        (tiny.TOML + "\nrovs = 3", ["streams.labels.probes.rovs", "streams.labels.probes.rows`"]),
        ("\xff", ["is not TOML"]),
    ],
)
def test_a_toml_file_that_cannot_work_says_why(tmp_path, text, words):
    path = tmp_path / "bad.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as error:
        load(str(path))
    for word in words:
        assert word in str(error.value)


def test_a_study_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"Cannot read the study nowhere\.toml"):
        load("nowhere.toml")
    with pytest.raises(UserError, match="Did you mean `spectral-collapse-digits`"):
        load("spectral-colapse-digits")


def test_a_misspelt_stream_is_no_new_stream():
    known = tiny.study()
    for path in ("streams.label.hyperparameters.l2.weight_decay", "streams.hyperparameters.tasks"):
        with pytest.raises(UserError, match="There is no field"):
            changed(known, {path: "1"})


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
def test_a_decay_that_would_do_nothing_is_refused(optimiser):
    decay = "0.0" if optimiser == "adamw" else "0.1"
    with pytest.raises(UserError, match="`decoupled_decay`"):
        changed(tiny.study(), {"training.optimiser": optimiser, "training.decoupled_decay": decay})

"""From measurements to a diagnosis, and what it prints."""

import pytest

from neoteny.monitor import RULES, Rule, diagnose


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.value)
def test_each_rule_is_at_work_just_beyond_its_bound(rule):
    reference = {rule.value: 2.0}
    above = rule.absolute or rule.bound > 1
    limit = rule.bound if rule.absolute else 2.0 * rule.bound
    beyond, within = (limit * f for f in ((1.01, 0.99) if above else (0.99, 1.01)))
    assert diagnose({rule.value: beyond}, [reference], [rule]).mechanisms
    assert not diagnose({rule.value: within}, [reference], [rule]).mechanisms


FALLEN = Rule("width", 0.5, "narrow", "more", decides=True)
GROWN = Rule("width", 2.0, "wide", "less", decides=True)


@pytest.mark.parametrize(
    ("rule", "value", "trainable"),
    [(FALLEN, 0.9, False), (FALLEN, 1.1, True), (GROWN, 7.9, True), (GROWN, 8.1, False)],
)
def test_of_several_fresh_networks_a_rule_must_hold_beside_each(rule, value, trainable):
    found = diagnose({"width": value}, [{"width": 2.0}, {"width": 4.0}], [rule])
    assert found.trainable is trainable
    assert found.reference == {"width": 3.0}


def test_what_fades_is_left_out_where_the_batch_is_learnt_and_what_does_not_is_not():
    values, reference = (
        {"loss": 0.02, "slope": 0.0, "width": 0.1},
        {"loss": 2.0, "slope": 1.0, "width": 1.0},
    )
    fading = Rule("slope", 0.1, "flat", "a push", decides=True, fades=True)
    found = diagnose(values, [reference], [fading, FALLEN])
    assert found.trainable is None
    assert found.advice == ("more",)
    assert "a loss of 0.01 of the reference's" in found.notes[0]
    assert diagnose(values | {"loss": 2.0}, [reference], [fading]).trainable is False


def test_a_reference_of_zero_or_of_nothing_is_none_to_fall_below():
    assert diagnose({"width": 0.0}, [{"width": 0.0}], [FALLEN]).trainable is True
    assert diagnose({"width": 0.0}, [{}], [FALLEN]).trainable is True
    assert diagnose({}, [{"width": 1.0}], [FALLEN]).trainable is True


def test_a_diagnosis_prints_its_finding_its_reasons_and_its_measurements():
    values = {"loss": 2.0, "width": 0.5, "edge": 0.25}
    found = diagnose(values, [{"loss": 4.0, "width": 2.0}], [FALLEN], ["note this"])
    assert str(found).split("\n") == [
        "losing plasticity",
        "- narrow (width is 0.25 of the reference): try more",
        "- note this",
        "measured (over the reference): loss 2 (0.5), width 0.5 (0.25)",
        "measured: edge 0.25",
    ]


def test_a_first_check_says_that_there_is_nothing_to_compare_with():
    first, why, measured = str(diagnose({"width": 1.0}, [])).split("\n")
    assert (first, measured) == ("cannot be told", "measured: width 1")
    assert "pass `fresh`" in why

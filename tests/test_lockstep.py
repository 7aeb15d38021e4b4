"""Generators that ask: what one computes alone and what many compute together."""

import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.lockstep import Call, Turn, alone, together

TRACED = []


def double(x):
    TRACED.append(x.shape)
    return 2 * x


def halve(x):
    return x / 2


def fragile(x):
    raise ZeroDivisionError("by chance")


def _work(start, first=0, last=3, log=None):
    """Doubles a number once for each index; the log has who went on to which."""
    value = jnp.asarray(float(start))
    for index in range(first, last):
        yield Turn(index)
        value = yield Call(double, (value,))
        if log is not None:
            log.append((start, index))
    return value


LASTS = [(1.0, 1), (2.0, 4), (3.0, 2)]


def test_together_gives_what_each_gives_alone_and_compiles_once():
    work = lambda: [_work(number, last=last) for number, last in LASTS]
    expected = [float(alone(each)) for each in work()]
    TRACED.clear()
    found = together(work())
    assert [float(value) for value in found] == expected == [2, 32, 12]
    assert TRACED == [()]  # whoever had ended before: one program, of what one lane computes


def test_those_behind_catch_up_first_and_then_all_keep_step():
    log = []
    together([_work(1, first=2, last=4, log=log), _work(2, first=0, last=4, log=log)])
    assert log == [(2, 0), (2, 1), (1, 2), (2, 2), (1, 3), (2, 3)]


def test_calls_of_different_functions_are_answered_apart():
    def ask(function):
        return (yield Call(function, (jnp.ones(()),)))

    assert [float(x) for x in together([ask(double), ask(halve), ask(double)])] == [2, 0.5, 2]


def test_all_who_go_on_at_once_are_told_the_same_time():
    def times():
        first = yield Turn(0)
        return first, (yield Turn(1))

    one, other = together([times(), times()])
    assert one == other
    assert one[0] < one[1]


def test_the_seconds_of_a_call_are_shared_by_those_who_made_it():
    def ask(timed):
        return (yield Call(double, (jnp.ones(3),), timed=timed))

    (one, seconds), (_, others) = together([ask(True), ask(True)])
    np.testing.assert_array_equal(one, 2 * np.ones(3))
    assert seconds == others > 0
    assert alone(ask(True))[1] > 0


def test_arrays_mapped_from_a_file_may_be_arguments(tmp_path):
    rows = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(4,))
    rows[:] = [1, 2, 3, 4]

    def ask():
        return (yield Call(double, (rows,)))

    for found in together([ask(), ask()]):
        np.testing.assert_array_equal(found, [2, 4, 6, 8])


@pytest.mark.parametrize("driven", [lambda asking: together([asking])[0], alone])
def test_an_exception_in_a_call_is_raised_where_it_was_asked_for(driven):
    def careful():
        try:
            yield Call(fragile, (jnp.ones(()),))
        except ZeroDivisionError as error:
            return str(error)

    assert driven(careful()) == "by chance"


def test_one_that_fails_ends_no_other_and_a_common_call_ends_all_who_made_it():
    def own():
        yield Turn(0)
        raise KeyError("own")

    def common():
        yield Call(fragile, (jnp.ones(()),))

    found = together([common(), own(), _work(1, last=1), common()])
    assert [type(end) for end in (*found[:2], found[3])] == [
        ZeroDivisionError,
        KeyError,
        ZeroDivisionError,
    ]
    assert float(found[2]) == 2


def test_an_interrupt_closes_all():
    closed = []

    def patient(name):
        try:
            yield Turn(0)
            yield Turn(1)
        finally:
            closed.append(name)

    def interrupting():
        yield Turn(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        together([patient("a"), interrupting(), patient("b")])
    assert closed == ["a", "b"]

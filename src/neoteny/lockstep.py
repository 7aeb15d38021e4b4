"""Computations that ask for their calls, so that many of them can be answered by one.

What a run computes is written once, as a generator that yields each call worth sharing and goes on
with its answer. `alone` answers one generator; `together` answers many, which keep step.
"""

import time
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Call(NamedTuple):
    """Asks for `function(*arguments)`: a pure function of pytrees of arrays.

    The answer to a `timed` one is complete, and comes as `(answer, seconds)`: those it took,
    divided by the number of generators that it was computed for.
    """

    function: Callable
    arguments: tuple
    timed: bool = False


class Turn(NamedTuple):
    """Asks to go on with number `index` of what all do; those who are behind go first.

    The answer is the time in seconds, the same for all that go on at once.
    """

    index: int


Asking = Generator[Call | Turn, Any, Any]


def alone(asking: Asking) -> Any:
    """What one generator returns, its calls made as they come."""
    try:
        asked = next(asking)
        while True:
            try:
                answer = _answer(asked)
            except Exception as error:
                asked = asking.throw(error)
            else:
                asked = asking.send(answer)
    except StopIteration as end:
        return end.value
    finally:
        asking.close()


def together(askings: Sequence[Asking]) -> list[Any]:
    """What each generator returns, or the exception that ended it; one failure ends no other.

    Calls of one function that are due at once are answered by one `vmap`ped call. It has a lane for
    every generator, ended or not, and a lane without a call repeats another's: so it is compiled
    once, and no bit of an answer depends on who else still goes on, nor on what they ask.
    An exception in it is raised in all for which it was made. Arguments are stacked, at a cost of
    one more copy of them for each lane, also of what all share.
    """
    ended: dict[int, Any] = {}
    asked: dict[int, Call | Turn] = {}

    def go_on(lane: int, how: Callable, what: Any) -> None:
        asked.pop(lane, None)
        try:
            asked[lane] = how(what)
        except StopIteration as end:
            ended[lane] = end.value
        except Exception as error:
            ended[lane] = error

    try:
        for lane, asking in enumerate(askings):
            go_on(lane, asking.send, None)
        while asked:
            due = _due(asked)
            try:
                answers = _answers(due, len(askings))
            except Exception as error:
                for lane in due:
                    go_on(lane, askings[lane].throw, error)
            else:
                for lane, answer in answers.items():
                    go_on(lane, askings[lane].send, answer)
    finally:
        for asking in askings:
            asking.close()
    return [ended[lane] for lane in range(len(askings))]


def _due(asked: dict[int, Any]) -> dict[int, Any]:
    """Those to answer now: all calls of one function, or if there is no call, the next turn."""
    calls = {lane: call for lane, call in asked.items() if isinstance(call, Call)}
    if calls:
        function = calls[min(calls)].function
        return {lane: call for lane, call in calls.items() if call.function is function}
    index = min(turn.index for turn in asked.values())
    return {lane: turn for lane, turn in asked.items() if turn.index == index}


def _answer(asked: Call | Turn) -> Any:
    if isinstance(asked, Turn):
        return time.monotonic()
    if not asked.timed:
        return asked.function(*asked.arguments)
    began = time.perf_counter()
    answer = jax.block_until_ready(asked.function(*asked.arguments))
    return answer, time.perf_counter() - began


def _answers(due: dict[int, Any], lanes: int) -> dict[int, Any]:
    first = due[min(due)]
    if isinstance(first, Turn) or lanes == 1:
        return dict.fromkeys(due, _answer(first))
    arguments = tuple(due.get(lane, first).arguments for lane in range(lanes))
    found = _answer(Call(_side_by_side(first.function), (arguments,), first.timed))
    if not first.timed:
        return {lane: found[lane] for lane in due}
    answers, seconds = found
    return {lane: (answers[lane], seconds / len(due)) for lane in due}


@lru_cache(maxsize=64)
def _side_by_side(function: Callable) -> Callable:
    """One program from the arguments of each lane to the answer for each."""

    @jax.jit
    def program(lanes: tuple[tuple, ...]) -> list[Any]:
        stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *lanes)
        answers = jax.vmap(function)(*stacked)
        part = lambda lane: jax.tree.map(lambda array: array[lane], answers)
        return [part(lane) for lane in range(len(lanes))]

    return program

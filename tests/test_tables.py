"""Tables that fit where they are shown: a line for each row, or in a narrow place each column."""

import pytest

from neoteny import tables

ROWS = [{"method": "bp", "final_accuracy": 1 / 3, "n": 5}, {"method": "l2_er", "n": 12}]
WIDE = [{f"column_{place}": place + row / 3 for place in range(30)} for row in range(5)]


@pytest.fixture
def drawn(capsys, monkeypatch):
    def drawn(rows, room="", **options):
        monkeypatch.setenv("COLUMNS", str(room))
        tables.write(rows, "table", **options)
        return capsys.readouterr().out.splitlines()

    return drawn


def test_a_row_has_a_line_with_numbers_to_the_right(drawn):
    assert drawn(ROWS, title="Said") == [
        "Said",
        "",
        "  method   final accuracy    n",
        " ──────────────────────────────",
        "  bp               0.3333    5",
        "  l2_er                     12",
        "",
    ]


def test_a_pipe_has_room_for_any_number_of_columns(drawn):
    lines = drawn(WIDE)
    assert len(lines) == 9 and max(map(len, lines)) > 300


def test_columns_that_do_not_fit_have_a_line_each_also_in_a_pipe_with_columns_set(drawn):
    lines = drawn(WIDE, 44, columns=[*WIDE[0]])
    assert max(map(len, lines)) <= 44
    assert lines[1].split() == ["column_0", "0", "0.3333", "0.6667", "1"]
    assert lines[30].split() == ["column_29", "29", "29.33", "29.67", "30"]
    assert lines[32].split() == ["column_0", "1.333"]  # the row that there was no room for
    assert len(lines) == 63


def test_long_words_are_broken_where_short_ones_would_fit(drawn):
    rows = [{"claim": "one " * 30, "n": 1}]
    lines = drawn(rows, 60)
    assert max(map(len, lines)) <= 60 and len(lines) > 5
    assert "claim" in lines[1] and " ".join(lines).count("one") == 30


def test_signs_of_two_columns_and_broken_cells_keep_their_places(drawn):
    lines = drawn([{"a": "日本", "b": "x"}, {"a": "ab", "b": "y"}])
    assert lines[3:5] == ["  日本   x", "  ab     y"]
    broken = [line.split() for line in drawn([{"a": "one\ntwo", "b": "x"}])]
    assert broken[3:5] == [["one", "x"], ["two"]]


def test_no_rows_are_their_headers(drawn):
    assert drawn([], columns=["a", "b_c"]) == ["", "  a   b_c", " ─────────", ""]

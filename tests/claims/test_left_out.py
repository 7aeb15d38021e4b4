"""Parts that a size does not measure, or that read data that nobody named."""

import pytest

from neoteny.claims import Claim, Part, Size, check, lacking, pieces, running
from neoteny.errors import UserError

REAL = Size(2, {"data": True})
CLAIM = Claim(
    "made-up", "", "", "",
    (Part("plain", lambda seed: [{"x": 1}], Size(3), Size(3)),
     Part("real", lambda seed, *, data=None: [{"x": 1}], Size(0), REAL)),
    lambda rows: [], lambda rows: [],
)  # fmt: skip


def names(found):
    return [(piece.stream, piece.seed) for piece in found]


def test_a_part_without_seeds_is_not_measured_however_many_are_asked_for():
    assert names(pieces(CLAIM, "smoke")) == [("plain", 0), ("plain", 1), ("plain", 2)]
    assert names(pieces(CLAIM, "smoke", 1)) == [("plain", 0)]


def test_a_part_that_reads_data_is_left_out_where_no_folder_is_named(tmp_path, monkeypatch):
    assert lacking(CLAIM, "desk", None) == ["real"]
    assert lacking(CLAIM, "desk", tmp_path) == lacking(CLAIM, "smoke", None) == []
    check(CLAIM, "desk", None)
    asked = []
    monkeypatch.setattr(running, "_is_measured", lambda *arguments: True)
    running.run(CLAIM, tmp_path, scale="desk", on_start=asked.extend)
    assert {name for name, _ in names(asked)} == {"plain"}
    running.run(CLAIM, tmp_path, scale="desk", data=tmp_path, on_start=asked.extend)
    assert {name for name, _ in names(asked)} == {"plain", "real"}


def test_a_claim_of_which_nothing_is_left_is_refused():
    with pytest.raises(UserError, match="reads real images in all"):
        check(CLAIM._replace(parts=CLAIM.parts[1:]), "desk", None)

"""Can everybody read it: contrast and colour-vision deficiencies, computed from what is written."""

import itertools
import re

import numpy as np
import pytest

from neoteny.report.palette import _KNOWN, _SPARE, REFERENCE
from neoteny.report.templates import template

COLOURS = {
    name: dict(zip(("light", "dark"), pair, strict=True))
    for name, *pair in re.findall(
        r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", template("page.css").split("@media print")[0]
    )
}
INKS = {**_KNOWN, **{f"spare {place}": ink for place, ink in enumerate(_SPARE)}}
THEMES = ("light", "dark")

# Machado, Oliveira & Fernandes (2009), severity 1, of linear RGB
SEEN_BY = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


def linear(colour):
    share = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """As WCAG 2 defines it, from 1 to 21."""
    dark, light = sorted(linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb):
    """CIE L*a*b* of linear RGB, D65."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ rgb / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_measure_of_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES)
def test_text_stands_out_from_the_page_by_four_and_a_half_to_one(theme):
    for name in ("ink", "soft", "accent", "holds", "fails", "undecided"):
        for ground in ("page", "raised", "rule") if name in ("ink", "soft") else ("page", "raised"):
            assert contrast(COLOURS[name][theme], COLOURS[ground][theme]) >= 4.5, (name, ground)


def test_no_text_is_of_a_colour_that_is_for_lines():
    for rule in re.findall(r"[^{}]+\{[^{}]*\}", template("page.css")):
        colour = re.search(r"[{;]\s*color: ([^;}]*)", rule)
        if colour and "i[data-ink]" not in rule:
            assert not re.search("faint|rule", colour[1]), rule


@pytest.mark.parametrize("theme", THEMES)
def test_lines_and_edges_of_controls_stand_out_by_three_to_one(theme):
    drawn = {name: getattr(ink, theme) for name, ink in INKS.items()}
    for name, colour in (drawn | {"faint": COLOURS["faint"][theme]}).items():
        assert contrast(colour, COLOURS["page"][theme]) >= 3, name


@pytest.mark.parametrize("eyes", SEEN_BY)
@pytest.mark.parametrize("theme", THEMES)
def test_known_methods_keep_apart_whoever_looks(theme, eyes):
    seen = {
        name: lab(np.clip(np.array(SEEN_BY[eyes]) @ linear(getattr(ink, theme)), 0, 1))
        for name, ink in _KNOWN.items()
        if name != REFERENCE  # which is dashed
    }
    pairs = itertools.combinations(seen, 2)
    apart = {pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in pairs}
    closest = min(apart, key=lambda pair: apart[pair])
    assert apart[closest] > 8, f"{closest}: {apart[closest]:.1f}; 2 can just be told apart"


def test_no_two_methods_share_a_marker():
    markers = [ink.symbol for ink in INKS.values()]
    assert len(set(markers)) == len(markers)

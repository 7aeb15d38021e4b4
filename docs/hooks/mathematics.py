"""Formulas as MathML, which browsers draw themselves: no script and no font is fetched."""

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


def on_page_content(content, **kwargs):
    """Draw what `pymdownx.arithmatex` has marked."""
    return FORMULA.sub(drawn, content)


def drawn(found: re.Match) -> str:
    display = "block" if found["tag"] == "div" else "inline"
    formula = convert(html.unescape(found["tex"]).strip(), display=display)
    return f'<div class="formula">{formula}</div>' if display == "block" else formula

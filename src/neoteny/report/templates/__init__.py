"""What pages are made of: markup, style and code."""

from importlib.resources import files

SCRIPTS = ("state", "numbers", "axes", "traces", "words", "compare", "figures", "page")
"""The page's code, in the order in which it is joined."""


def template(name: str) -> str:
    """The text of the file called `name` in this folder."""
    return (files("neoteny.report.templates") / name).read_text(encoding="utf-8")


def code() -> str:
    """The page's code, as one function so that its names are its own."""
    joined = "\n".join(template(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{joined}\n}})();\n'

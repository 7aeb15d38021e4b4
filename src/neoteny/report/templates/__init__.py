"""What pages are made of: markup, style and code."""

from importlib.resources import files


def template(name: str) -> str:
    """The text of the file called `name` in this folder."""
    return (files("neoteny.report.templates") / name).read_text(encoding="utf-8")

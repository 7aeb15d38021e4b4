"""The pages that people read, cut into what can be checked: blocks of code, commands, links."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """Code between two fences; `line` is that of its first fence."""

    language: str
    text: str
    line: int


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[Block]:
    """The blocks of code of a page, from top to bottom."""
    whole = text(page)
    return [
        Block(*found.groups(), whole[: found.start()].count("\n") + 1)
        for found in FENCE.finditer(whole)
    ]


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a block of `sh`, as a shell would part them."""
    found, open_line = [], ""
    for line in block.text.splitlines():
        open_line += line.removesuffix("\\") + ("\n" if not line.endswith("\\") else "")
        try:
            words = shlex.split(open_line, comments=True)
        except ValueError:  # a quotation that goes on in the next line
            continue
        if not line.endswith("\\"):
            found += _parted(words)
            open_line = ""
    assert not open_line, f"unfinished: {open_line}"
    return found


def _parted(words: list[str]) -> list[list[str]]:
    if "&&" in words:
        place = words.index("&&")
        return [words[:place], *_parted(words[place + 1 :])]
    return [words] if words else []


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", text(page))

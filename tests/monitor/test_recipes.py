"""The recipes of docs/monitor.md do what they say: each block runs, in the order of the page."""

import re
from pathlib import Path

import jax
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "monitor.md"


def test_every_recipe_finds_its_new_network_trainable(capsys):
    for library in ("equinox", "flax"):
        pytest.importorskip(library)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
            assert capsys.readouterr().out.startswith("trainable\n"), block
    assert len(blocks) == 4

"""The fields of a study as tables, read off the models that check them."""

import inspect
import json
from typing import Literal, get_args, get_origin

from pydantic import BaseModel

from neoteny import config

MARK = "<!-- fields -->"
LEVELS = {
    "A study": config.Study,
    "`streams`": config.Setting,
    "`stream`": config.StreamConfig,
    "`network`": config.NetworkConfig,
    "`training`": config.TrainingConfig,
    "`agent`": config.AgentConfig,
    "`probes`": config.ProbesConfig,
}


def on_page_markdown(markdown, **kwargs):
    """Put the tables where a page asks for them."""
    if MARK not in markdown:
        return markdown
    return markdown.replace(MARK, "\n\n".join(map(section, LEVELS, LEVELS.values())))


def section(title: str, model) -> str:
    rows = [
        f"| `{name}` | {default(field)} | {'; '.join(filter(None, said(name, field)))} |"
        for name, field in model.model_fields.items()
    ]
    table = ["| field | unless set | what |", "|---|---|---|", *rows]
    return f"## {title}\n\n{inspect.cleandoc(model.__doc__)}\n\n" + "\n".join(table)


def default(field) -> str:
    """As it stands in TOML, but for what has no value there."""
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, BaseModel) or value in ("", (), {}):
        return ""
    return f"`{json.dumps(value)}`"


def said(name: str, field) -> list[str]:
    """What a field is, and what it can be where that is a choice."""
    parts = [field.annotation, *get_args(field.annotation)]
    models = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
    choices = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    return [
        f"a table, of [these fields](#{name})" if models else "",
        field.description or "",
        ", ".join(f"`{choice}`" for choice in choices),
    ]

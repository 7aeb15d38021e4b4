"""Pages of the site that lie elsewhere in the repository: the README as its front, and examples.

Links are written for the forge, where `docs/` is a folder among others, and are turned here into
links between the pages of the site.
"""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
FRONT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(\]\()([^)#\s]+)")
LANGUAGES = {".py": "python", ".toml": "toml"}


def on_files(files, config):
    """Add the pages whose sources are not in `docs/`."""
    examples = {f"examples/{path.name}": path for path in (ROOT / "examples").iterdir()}
    for source in FRONT:
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place(source), content=relinked(text, source)))
    for source, path in sorted(examples.items()):
        if path.suffix in {*LANGUAGES, ".ipynb"}:
            text = relinked(page_of(path), source)
            files.append(File.generated(config, place(source), content=text))
    notebook = "examples/plasticity.ipynb"
    files.append(File.generated(config, notebook, abs_src_path=str(ROOT / notebook)))
    return files


def on_page_markdown(markdown, page, **kwargs):
    """Turn links out of `docs/` into links to the pages that were added."""
    generated = page.file.src_uri == "index.md" or page.file.generated_by
    return markdown if generated else relinked(markdown, f"docs/{page.file.src_uri}")


def place(source: str) -> str:
    """Where on the site a file of the repository is, both as paths from their roots."""
    if source in FRONT:
        return FRONT[source]
    if source.startswith("examples/"):
        return str(Path(source).with_suffix(".md"))
    return source.removeprefix("docs/")


def relinked(text: str, source: str) -> str:
    """`text` of the file at `source` with links as they are between pages of the site."""
    here = posixpath.dirname(source)

    def one(found: re.Match) -> str:
        opening, target = found.groups()
        path = posixpath.normpath(posixpath.join(here, target))
        if ":" in target or not (ROOT / path).is_file():
            return found[0]
        return opening + posixpath.relpath(place(path), posixpath.dirname(place(source)) or ".")

    return LINK.sub(one, text)


def page_of(path: Path) -> str:
    """A page that shows an example."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return notebook_page(path.name, json.loads(text))
    language = LANGUAGES[path.suffix]
    return f"# `examples/{path.name}`\n\n```{language}\n{text}```\n"


def notebook_page(name: str, notebook: dict) -> str:
    """A notebook's words as they are and its cells as code, with where to get it."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    parts.insert(1, f"[Download this notebook]({name}){{ download }}, or open `examples/{name}`.")
    return "\n\n".join(parts) + "\n"

"""The report as one HTML file: offline, self-contained, and safe whatever a name holds."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import duckdb

from neoteny import store
from neoteny.report import facts, figures, packing
from neoteny.report.data import methods
from neoteny.report.figures import Figure
from neoteny.report.markup import figure_markup, verdict_markup
from neoteny.report.measures import measures
from neoteny.report.methods import methods_markup
from neoteny.report.palette import inks
from neoteny.report.recorded import Recorded, every
from neoteny.report.static import slug
from neoteny.report.strip import strips
from neoteny.report.templates import code, template


def write(
    connection: duckdb.DuckDBPyConnection,
    path: Path | str,
    *,
    title: str,
    verdict: list[dict] | None,
    reproduce: str,
    episodes: Sequence[Any] = (),
    settings: Sequence[Figure] = (),
) -> Path:
    """Write the report on everything in the store's tables to `path`, one HTML file.

    The file makes no request: plotly (5 MB), data, style and code are inside, and no code runs but
    what was written here. Names and configurations are escaped wherever they appear.

    **Arguments:**

    - `connection`: has the tables `tasks`, `runs` and `spectra`; any may be incomplete.
    - `path`: the file to write; its folder is made if need be.
    - `title`: of the page.
    - `verdict`: of the study, as dicts of `claim`, `outcome` ("holds", "fails" or
      "undecided"), `evidence` and `stream`; None where no claim was judged.
    - `reproduce`: the commands that made the runs, shown as they stand.
    - `episodes`: of agents, to be drawn; see `neoteny.episodes`.
    - `settings`: figures that each show several streams; see `neoteny.report.sensitivity`.
    """
    from plotly.offline import get_plotlyjs

    streams = every(connection)
    packing.fit(streams)
    parts = _parts(streams)
    overall = [figure for figure in settings if figure.views]
    scripts = (code(), get_plotlyjs())
    page = Template(template("page.html")).substitute(
        title=escape(title),
        policy=_policy(scripts),
        style=template("page.css"),
        contents=_contents(parts, overall),
        summary=facts.summary(streams, methods(connection)),
        methods=_method_buttons(connection),
        verdict=verdict_markup(verdict),
        overall="".join(figure_markup(figure, _overall(figure)) for figure in overall),
        sections="".join(_section(part, episodes) for part in parts)
        or "<p>There are no runs yet.</p>",
        reproduce=f"<pre><code>{escape(reproduce)}</code></pre>",
        provenance=facts.provenance(connection),
        data=_data(connection, parts, overall),
        code=scripts[0],
        plotly=scripts[1],
    )
    path = Path(path)
    store.write_text(path, page)
    return path


def _policy(scripts: Sequence[str]) -> str:
    """What the browser may do with the page: run these scripts, and fetch nothing."""
    digest = lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    hashes = " ".join(f"'sha256-{digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


class _Part(NamedTuple):
    """What the page shows of one stream; `anchor` is the address of its section."""

    recorded: Recorded
    heading: str
    anchor: str
    drawn: list[Figure]

    def address(self, figure: Figure) -> str:
        """A slug has no double hyphen, so that no two figures share an address."""
        return f"{self.anchor}--{figure.name}"


def _parts(streams: list[Recorded]) -> list[_Part]:
    parts, taken = [], set()
    several = len({one.section.study for one in streams}) > 1
    for one in streams:
        heading = one.section.stream or "unnamed stream"
        if several and one.section.study:
            heading = f"{one.section.study}: {heading}"
        anchor = f"stream-{slug(heading)}"
        while anchor in taken:
            anchor += "_"
        taken.add(anchor)
        parts.append(_Part(one, heading, anchor, figures.of_stream(one)))
    return parts


def _overall(figure: Figure) -> str:
    return f"over-all--{figure.name}"


def _data(connection: duckdb.DuckDBPyConnection, parts: list[_Part], overall: list[Figure]) -> str:
    """What the page's code reads: an index, and a document for each stream."""
    streams = [part.recorded for part in parts]
    index = {
        "inks": {
            name: {"light": ink.light, "dark": ink.dark, "symbol": ink.symbol}
            for name, ink in inks(methods(connection)).items()
        },
        "measures": measures(streams),
        "streams": [{"anchor": part.anchor, "heading": part.heading} for part in parts],
    }
    of_seeds = packing.columns_with_seeds(streams)
    documents = {
        f"data-{place}": packing.document(
            part.recorded, [(part.address(f), f) for f in part.drawn], of_seeds
        )
        for place, part in enumerate(parts)
    }
    whole = {"figures": {_overall(figure): packing.plain(figure.views) for figure in overall}}
    return "".join(
        f'<script type="application/json" id="{name}">{packing.script_json(value)}</script>\n'
        for name, value in ({"data": index, "data-over-all": whole} | documents).items()
    )


def _contents(parts: list[_Part], overall: list[Figure]) -> str:
    link = lambda anchor, text: f'<a href="#{anchor}">{escape(text)}</a>'
    entries = [f"<li>{link(_overall(figure), figure.title)}</li>" for figure in overall]
    for place, part in enumerate(parts):
        inner = "".join(
            f"<li>{link(part.address(figure), figure.title)}</li>" for figure in part.drawn
        )
        heading = link(part.anchor, part.heading)
        entries.append(f'<li data-stream="{place}">{heading}<ul>{inner}</ul></li>')
    return "".join(entries)


def _method_buttons(connection: duckdb.DuckDBPyConnection) -> str:
    return "".join(
        f'<button type="button" data-key="{escape(name)}" aria-pressed="true">'
        f'<i data-ink="{escape(name)}"></i>{escape(name)}</button>'
        for name in methods(connection)
    )


def _section(part: _Part, episodes: Sequence[Any]) -> str:
    own = [
        shown for shown in episodes if (shown.study, shown.stream) == tuple(part.recorded.section)
    ]
    drawn = "".join(figure_markup(figure, part.address(figure)) for figure in part.drawn)
    return (
        f'<section class="stream-section" aria-labelledby="{part.anchor}">'
        f'<h2 id="{part.anchor}">{escape(part.heading)}</h2>'
        f"{methods_markup(part.recorded)}{facts.stopped(part.recorded)}{drawn}{strips(own)}"
        f"{facts.configurations(part.recorded)}</section>"
    )

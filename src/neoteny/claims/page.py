"""Claims as pages: one that stands alone in HTML, and one in Markdown for the documentation."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from neoteny import store
from neoteny.claims.base import Claim
from neoteny.claims.rows import Rows
from neoteny.claims.running import found, judged, missing
from neoteny.claims.verdicts import Finding, number, overall, shown
from neoteny.report.figures import Figure
from neoteny.report.markup import verdict_markup
from neoteny.report.palette import inks
from neoteny.report.static import STYLE, draw, slug
from neoteny.report.templates import template


class Measured(NamedTuple):
    """A claim with all that is stored of it at one scale, and what it comes to."""

    claim: Claim
    scale: str
    rows: dict[str, Rows]
    findings: list[Finding]
    figures: list[Figure]
    seconds: float
    made: str

    @property
    def command(self) -> str:
        scale = "" if self.scale == "desk" else f" --scale {self.scale}"
        real = any(
            part.size(self.scale).options.get("data") and len(self.rows[part.name])
            for part in self.claim.parts
        )
        return f"neoteny run {self.claim.name}{scale}{' --data DIR' if real else ''}"


def measured(connection: Any, claim: Claim, scale: str | None = None) -> Measured:
    """What `connection` (see `neoteny.store.connect`) has of a claim, at one scale; see `found`."""
    scale, rows = found(connection, claim, scale)
    seconds, device, version, jax = connection.execute(
        """SELECT sum(seconds), any_value(provenance ->> '$.device'),
        any_value(provenance ->> '$.versions.neoteny'), any_value(provenance ->> '$.versions.jax')
        FROM runs WHERE study = ? AND method = ?""",
        [claim.name, scale],
    ).fetchone()
    made = f"Measured at `{scale}` size on {device} with neoteny {version} and JAX {jax}"
    findings = judged(claim, scale, rows)
    figures = [] if missing(claim, scale, rows) else claim.figures(rows)
    drawn = [figure for figure in figures if figure.views]
    return Measured(claim, scale, rows, findings, drawn, seconds or 0.0, made)


def picture(figure: Figure) -> bytes:
    """A figure as PNG; the same figure, the same bytes."""
    import matplotlib

    (view,) = figure.views
    keys = list(dict.fromkeys(one.key for panel in view.panels for one in panel.series))
    stream = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        drawn = draw(view, figure.title, inks(keys))
        drawn.savefig(stream, format="png", dpi=130, metadata={"Date": None})
    return stream.getvalue()


def write_html(told: Sequence[Measured], path: Path) -> Path:
    """All claims in `told` as one page, which makes no request and has no script."""
    parts = "".join(map(_section, told))
    title = told[0].claim.title if len(told) == 1 else "Claims as programs"
    page = Template(template("claim.html")).substitute(
        style=template("page.css"), title=escape(title), sections=parts
    )
    store.write_text(path, page)
    return path


def _section(told: Measured) -> str:
    claim = told.claim
    cards = verdict_markup(
        [
            {"stream": one.part, "claim": one.claim, "outcome": one.outcome, "evidence": one.said()}
            for one in told.findings
        ]
    )
    drawn = "".join(
        f"<figure><h3>{escape(figure.title)}</h3>"
        f'<img alt="{escape(figure.title)}: {escape(figure.caption)}" '
        f'src="data:image/png;base64,{base64.b64encode(picture(figure)).decode()}">'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
        for figure in told.figures
    )
    notes = f"<p>{escape(claim.notes)}</p>" if claim.notes else ""
    made = escape(f"{told.made}, in {told.seconds:.0f} s.".replace("`", ""))
    return (
        f"<section><h2>{escape(claim.title)}: {overall(told.findings)}</h2>"
        f"<p>{escape(claim.sentence)}</p><p><small>{escape(claim.source)}</small></p>{cards}{notes}"
        f"{drawn}<h3>How to reproduce</h3><pre><code>{escape(told.command)}</code></pre>"
        f"<p>{made}</p></section>"
    )


def write_markdown(told: Measured, folder: Path) -> list[Path]:
    """`NAME.md` and a PNG for each figure, in `folder`."""
    claim, written = told.claim, []
    for figure in told.figures:
        written.append(folder / f"{claim.name}-{slug(figure.name)}.png")
        written[-1].write_bytes(picture(figure))
    lines = [
        f"# {claim.title}: `{claim.name}`",
        f"> {claim.sentence}",
        f"{claim.source}. {told.made}, in {told.seconds:.0f} s of computing, by",
        f"```sh\n{told.command}\n```",
        f"## Verdict: {overall(told.findings)}",
        _table(told.findings),
    ]
    lines += [claim.notes] if claim.notes else []
    for figure, path in zip(told.figures, written, strict=True):
        lines += [f"## {figure.title}", f"![{figure.title}]({path.name})", figure.caption]
    page = folder / f"{claim.name}.md"
    page.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return [page, *written]


def _table(findings: Sequence[Finding]) -> str:
    rows = ["| part | claim | verdict | statistic | tolerance |", "|---|---|---|---|---|"]
    for one in findings:
        evidence = f"; {one.evidence}" if one.evidence else ""
        cells = (
            f"`{one.part}`",
            one.claim,
            f"**{one.outcome}**",
            f"{one.statistic} {shown(one.value)}{evidence}",
            one.tolerance,
        )
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


def summary(told: Measured) -> dict[str, Any]:
    """A claim as one row of the table of all: its verdict, and the statistic that decides it."""
    outcome = overall(told.findings)
    deciding = next((one for one in told.findings if one.outcome == outcome), None)
    held = sum(one.outcome == "holds" for one in told.findings)
    return {
        "claim": told.claim.name,
        "paper": told.claim.source.split(",")[0],
        "verdict": outcome,
        "holds": f"{held} of {len(told.findings)}",
        "statistic": f"{deciding.statistic} {shown(deciding.value)}" if deciding else None,
        "seconds": float(number(told.seconds)),
    }

"""Claims of the literature as programs: each is measured, and judged by a tolerance set before.

A claim is one file with its parts, its judgement and its figures. `neoteny run NAME` measures it,
`neoteny run all-claims` all of them.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from neoteny.claims.base import SCALES, Claim, Part, Size
from neoteny.claims.rows import Rows, slope
from neoteny.claims.running import Piece, found, judged, lacking, pieces, run
from neoteny.claims.verdicts import Finding, overall, shown, within
from neoteny.errors import UserError, unknown
from neoteny.studies import Verdict

NAMES = {
    "feature-purification": "feature_purification",
    "ghost-mechanism": "ghost_mechanism",
    "td-generalization": "td_generalization",
    "spectral-regularization": "spectral_regularization",
    "implicit-underparameterization": "implicit_underparameterization",
    "unhinged-loss": "unhinged_loss",
    "two-step-edge-of-stability": "two_step_edge_of_stability",
    "gradient-starvation": "gradient_starvation",
    "wide-two-layer-bias": "wide_two_layer_bias",
    "null-space-dropout": "null_space_dropout",
}
"""The claims and their files here; each loads when it is asked for."""

ALL = "all-claims"
"""What `neoteny run` knows them all by."""


class _Claims(Mapping[str, Claim]):
    """Every claim by its name, loaded when it is looked up."""

    def __getitem__(self, name: str) -> Claim:
        return import_module(f"neoteny.claims.{NAMES[name]}").CLAIM

    def __iter__(self):
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


CLAIMS = _Claims()


def load(name: str) -> Claim:
    """The claim called `name`; `UserError` for one that is unknown."""
    if name not in NAMES:
        raise unknown("claim", name, NAMES)
    return CLAIMS[name]


def check(claim: Claim, scale: str, data: Path | None) -> None:
    """Refuse a size that cannot be measured here, before anything is."""
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    needs = lacking(claim, scale, data)
    if needs and not pieces(claim, scale, without=needs):
        raise UserError(
            f"`{claim.name}` at `--scale {scale}` reads real images in all its parts. Pass their "
            "folder as `--data DIR`, or `--scale smoke`."
        )


def refuse(name: str, options: Sequence[str]) -> None:
    """Say which options a claim does not take."""
    if options:
        raise UserError(
            f"`{name}` is a claim of the literature, whose measurements are its own: it takes no "
            f"`{options[0]}`. Pass `--scale`, `--seeds`, `--jobs`, `--out` or `--data`, or run a "
            "study (`neoteny list studies`)."
        )


def verdict(finding: Finding) -> Verdict:
    """A finding as the verdict that reports and tables show."""
    return Verdict(finding.part, finding.claim, finding.outcome, finding.said())


def stored(connection: Any) -> list[str]:
    """The claims of which measurements are stored behind `connection`."""
    rows = connection.execute("SELECT DISTINCT study FROM runs").fetchall()
    here = {study for (study,) in rows}
    return [name for name in NAMES if name in here]


def judge(connection: Any, name: str) -> list[Finding]:
    """What the stored measurements of a claim, at the largest scale there is, come to."""
    claim = load(name)
    return judged(claim, *found(connection, claim))


def alone(connection: Any) -> bool:
    """Whether nothing but measurements of claims is stored behind `connection`."""
    rows = connection.execute("SELECT DISTINCT study FROM runs").fetchall()
    return all(study in NAMES for (study,) in rows)


def refuse_alone(connection: Any, folder: Path) -> None:
    """Say that `folder` holds claims alone, where methods are to be compared."""
    if alone(connection):
        raise UserError(
            f"`{folder}` holds measurements of claims, in which no methods compete. `neoteny "
            "judge` says what they come to."
        )


def leave_out(connection: Any) -> None:
    """Take the measurements of claims out of the tables: to reports of studies they are no runs."""
    for name in stored(connection):
        for table in ("runs", "tasks"):
            connection.execute(f"DELETE FROM {table} WHERE study = ?", [name])


def write_page(connection: Any, path: Path) -> Path:
    """All stored claims as one HTML page."""
    from neoteny.claims import page

    told = [page.measured(connection, load(name)) for name in stored(connection)]
    return page.write_html(told, path)


def write_pictures(connection: Any, folder: Path) -> list[Path]:
    """The figures of all stored claims as PNG."""
    from neoteny import store
    from neoteny.claims import page

    written = []
    for name in stored(connection):
        for figure in page.measured(connection, load(name)).figures:
            written.append(folder / f"{name}-{figure.name}.png")
            content = page.picture(figure)
            store.write_file(written[-1], lambda place, content=content: place.write_bytes(content))
    return written


__all__ = [
    "ALL",
    "CLAIMS",
    "NAMES",
    "SCALES",
    "Claim",
    "Finding",
    "Part",
    "Piece",
    "Rows",
    "Size",
    "alone",
    "check",
    "found",
    "judge",
    "judged",
    "lacking",
    "leave_out",
    "load",
    "overall",
    "pieces",
    "refuse",
    "refuse_alone",
    "run",
    "shown",
    "slope",
    "stored",
    "verdict",
    "within",
    "write_page",
    "write_pictures",
]

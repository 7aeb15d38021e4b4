"""How figures say what they show."""

from collections.abc import Sequence

from neoteny.report.recorded import Recorded

BAND = "Lines are means over seeds, bands reach from the lowest to the highest seed."

MATRICES = {"ggn": "GGN", "hessian": "Hessian"}

GGN = (
    "The generalised Gauss-Newton matrix (GGN) is what the Hessian would be if the network were "
    "linear in its weights: it has no negative eigenvalues, and at most rows × (classes − 1) "
    "that are not zero."
)

PHASES = {
    "start": "Taken on the new task's data before any step on it.",
    "end": "Taken on the task's data after the last step on it.",
}

NO_SPECTRA = "No spectra were stored for this stream."


def words(column: str) -> str:
    """The name of a column as people say it."""
    return column.replace("heldout", "held-out").replace("_", " ")


def matrices(recorded: Recorded, *order: str) -> tuple[str, ...]:
    """Those of `order` of which the stream has spectra."""
    found = recorded.spectra.matrices(recorded.section)
    return tuple(matrix for matrix in order if matrix in found)


def either(found: Sequence[str]) -> str:
    """As "GGN or the Hessian"."""
    return " or the ".join(MATRICES[matrix] for matrix in found)


def explained(found: Sequence[str]) -> str:
    """What the GGN is, where it is among the matrices `found`."""
    return f"{GGN} " if "ggn" in found else ""


def epsilon(recorded: Recorded) -> float | None:
    """The threshold above which the stream's runs count eigenvalues."""
    value = recorded.setting("probes", "epsilon")
    return float(value) if isinstance(value, int | float) and value > 0 else None


def blocks(recorded: Recorded) -> str:
    """What a point of a line is, where it is more than one task."""
    size = recorded.block
    if size == 1:
        return ""
    return (
        f" Each point is a mean over {size} consecutive tasks; bands reach to the lowest and "
        "highest task among them."
    )

"""Every figure of the report, defined once as data; `html` and `static` draw the same thing.

A figure is a tuple of views (the page switches between them, files show each), a view a
tuple of panels, a panel a tuple of series, or a map of colours, on a pair of axes. All text is
plain: renderers escape it. A figure without views has nothing to draw, and its caption says why.
"""

from neoteny.report.figures.distributions import signed_spectrum, spectrum
from neoteny.report.figures.eigenvalues import counted, curvature, directions
from neoteny.report.figures.heat import history
from neoteny.report.figures.layers import norms, units
from neoteny.report.figures.learning import accuracy, accuracy_view, smoothing
from neoteny.report.figures.scatter import prediction
from neoteny.report.figures.shapes import (
    Axis,
    Figure,
    Heat,
    Panel,
    Series,
    View,
    power,
)
from neoteny.report.figures.words import GGN, MATRICES
from neoteny.report.recorded import Recorded

__all__ = [
    "GGN",
    "MATRICES",
    "Axis",
    "Figure",
    "Heat",
    "Panel",
    "Series",
    "View",
    "accuracy",
    "accuracy_view",
    "counted",
    "curvature",
    "directions",
    "history",
    "norms",
    "of_stream",
    "power",
    "prediction",
    "signed_spectrum",
    "smoothing",
    "spectrum",
    "units",
]

OF_A_STREAM = (
    accuracy,
    curvature,
    history,
    prediction,
    spectrum,
    signed_spectrum,
    units,
    norms,
)
"""What each stream is shown by, in this order: functions of what was recorded of it."""


def of_stream(recorded: Recorded) -> list[Figure]:
    """All figures of one stream of one study, drawable or not."""
    return [figure(recorded) for figure in OF_A_STREAM]

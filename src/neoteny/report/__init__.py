"""What a person sees of a study: an HTML page, figures as files, an overview, and tables.

The report reads the store's tables through a DuckDB connection and never trains; it loads
neither JAX nor, until figures are saved, matplotlib.
"""

from neoteny.report import leaderboard
from neoteny.report.html import write
from neoteny.report.overview import save_overview
from neoteny.report.sensitivity import sensitivity
from neoteny.report.static import save_figures
from neoteny.report.table import methods_summary, methods_table

__all__ = [
    "leaderboard",
    "methods_summary",
    "methods_table",
    "save_figures",
    "save_overview",
    "sensitivity",
    "write",
]

"""What a person sees of a study: one HTML page, figures as files, and a table of methods.

The report reads the store's tables through a DuckDB connection and never trains; it loads
neither JAX nor, until figures are saved, matplotlib.
"""

from neoteny.report.html import write
from neoteny.report.static import save_figures
from neoteny.report.table import methods_table

__all__ = ["methods_table", "save_figures", "write"]

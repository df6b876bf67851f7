"""Features as CSV tables, in tclr's columns or in those of OpenFace and Py-Feat.

In: a clip's features. Out: a table with the other tool's column names, order, units and signs. Columns that tclr does
not know are left out, never filled. It is light: pandas, NumPy and SciPy.
"""

from tclr.pipeline.features.foreign.growing import GrowingTable
from tclr.pipeline.features.foreign.openface import as_openface
from tclr.pipeline.features.foreign.pyfeat import as_pyfeat
from tclr.pipeline.features.foreign.tables import FORMS, as_tclr, write_tables

__all__ = ["FORMS", "GrowingTable", "as_openface", "as_pyfeat", "as_tclr", "write_tables"]

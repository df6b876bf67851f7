"""Features in pandas: events, rates, co-occurrence, groups, and the tables of other tools.

In: a folder of Parquet files that ``tclr embed`` wrote. Out: data frames.
Imports ``system`` and ``schemas``. It is light: pandas, NumPy and SciPy, without torch, mediapipe, dask or HDF5, and
``lazy_loader`` imports a module when one of its names (``__init__.pyi`` lists them) is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Whole files, locks, text, Parquet and tensor files, threads, and the cluster. Nothing is specific to faces.

In: paths, tables, tensors, calls. Out: files that appear whole or not at all, and one clear error where they cannot.
Imports ``schemas`` alone. It is light: a name is imported with its module when it is first used (``lazy_loader``; the
names are in ``__init__.pyi``), so that the command line starts without NumPy, and preprocessing without PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

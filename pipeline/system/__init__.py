"""Files written in one step, locks, text, tables, threads, and the cluster.

In: paths, tables, tensors, calls. Out: files that appear whole or not at all, and one clear error if they cannot be
written. Nothing here concerns faces. Imports ``schemas`` only. The room is light: ``lazy_loader`` imports a module when
one of its names (``__init__.pyi`` lists them) is first used. The command line thus starts without NumPy, and
preprocessing without PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

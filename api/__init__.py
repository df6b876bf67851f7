"""The Python door: ``import tclr``, then videos, folders or frames in, data frames, figures and models out.

``analyse`` does all in one call, ``Analyser`` takes frames one by one, ``open_store`` and ``load_features`` open what
the command line wrote, ``load_encoder`` gives the network, ``fit_au`` fits a head to labels of one's own, and ``plot``
draws. The room is light: ``lazy_loader`` imports a module when one of its names (``__init__.pyi`` lists them) is first
used, so that ``import tclr`` loads neither NumPy nor PyTorch. It imports the rooms below it, and never ``cli``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

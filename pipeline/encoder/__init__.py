"""Crops in, embeddings of unit length out: networks, weights, augmentation.

``load_encoder`` loads weights, ``LoadedEncoder.embed`` runs them, ``augment`` makes training inputs.
Imports ``system`` and ``schemas``, and torch where a network is trained, or no other library runs it. It never imports
mediapipe or dask. ``lazy_loader`` imports a module when one of its names (``__init__.pyi`` lists them) is first used:
whoever runs the bundled encoder on a CPU starts without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Action Units: labelled frames in, heads with thresholds and scores out.

``collect_frames`` reads labels, ``fit_au`` fits and writes a head, ``load_head`` loads one,
``predict_from_blendshapes`` needs none, ``score`` says how good predictions are. ``bundled/`` holds the models that
come with tclr.
Imports ``encoder``, ``store``, ``sources``, ``geometry``, ``system`` and ``schemas``, torch and scikit-learn. It never
imports mediapipe or dask. ``lazy_loader`` imports a module when one of its names (``__init__.pyi`` lists them) is first
used: whoever only predicts starts without scikit-learn.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

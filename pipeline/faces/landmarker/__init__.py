"""The face landmarker of mediapipe's bundle without its graph: the same networks, run directly.

``FaceLandmarker`` is a ``Detector``. Frames in, boxes by BlazeFace where nobody is followed yet, then 478 landmarks in
the region of each face, 52 blendshapes and a pose. What the graph does between its networks is done here in the same
way, so that landmarks equal the graph's (docs/detectors.md), in less time.
"""

from tclr.pipeline.faces.landmarker.factory import BundleFactory, landmarker_factory

__all__ = ["BundleFactory", "landmarker_factory"]

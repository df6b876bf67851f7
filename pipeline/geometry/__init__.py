"""What the 478 landmarks of a face say by geometry: head pose, gaze, how far eyes are open, where the head is.

Landmarks of n faces in, in pixels of an upright picture; angles in radians and lengths in millimetres out.
Imports ``schemas`` only, and of other packages numpy alone.
"""

from tclr.pipeline.geometry.pose import N_LANDMARKS, head_pose, is_turned, mean_face, remove_pose

__all__ = ["N_LANDMARKS", "head_pose", "is_turned", "mean_face", "remove_pose"]

"""What people look at: report, viewer pages, and videos with overlays.

Each folder is a room: ``report`` (one HTML page), ``viewer`` (a local server), ``overlay`` (video) and ``pages`` (their
scripts and styles). They import ``features``, ``video``, ``sources``, ``store``, ``system`` and ``schemas``. They are
light: no torch, mediapipe or dask.
"""

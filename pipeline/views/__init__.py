"""What people look at: report, viewer pages, videos with overlays, and progress.

Each folder is a room: ``report`` (one HTML page), ``viewer`` (a local server), ``overlay`` (video), ``pages`` (their
scripts and styles) and ``progress`` (on a terminal). They import ``features``, ``video``, ``sources``, ``store``,
``system`` and ``schemas``. They are light: no torch, mediapipe or dask.
"""

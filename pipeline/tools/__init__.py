"""Beside the path: demo clips, photo people, benchmark, model recipe and machine check.

Each folder is a room: ``synth``, ``people``, ``bench``, ``box`` and ``doctor``. They may import every room except
``cli``.
"""

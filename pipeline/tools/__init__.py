"""Beside the path: demo clips, benchmark, model recipe and machine check.

Each folder is a room: ``synth``, ``bench``, ``box`` and ``doctor``. They may import every room except ``cli``.
"""

"""Beside the path: demo clips, the benchmark, the recipe of the bundled model, and the check of a machine.

Each folder is a room of its own: ``synth``, ``bench``, ``box`` and ``doctor``. They may import every other room.
"""

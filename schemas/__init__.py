"""What the data look like: settings, stores, features, Action Units, errors.

Imports nothing else of tclr, and no torch, mediapipe or dask.
"""

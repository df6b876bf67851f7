"""Augmentation of tuples: how many random numbers a frame takes."""

N_DRAWS = 32
"""Random numbers that come with each frame of a tuple."""

"""Commands along the path of the data: from videos to a store, from a store to features."""

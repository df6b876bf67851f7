"""Commands along the path of the data: from videos to a store, and on to features."""

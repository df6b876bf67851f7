"""A person withdraws: what is removed from a store and its features, and the list that keeps them out."""

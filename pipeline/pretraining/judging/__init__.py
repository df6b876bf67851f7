"""Is a run any good: held-out tuples, distances over time, and the table at its end."""

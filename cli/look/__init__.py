"""Commands that show results: the report, the viewer and the overlay."""

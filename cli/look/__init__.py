"""Commands that show: the report, the viewer and the overlay."""

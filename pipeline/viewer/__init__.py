"""A local page that plays a clip's crops in step with its AU curves, and where AU events are marked.

``clips`` reads what the page asks for, ``events`` turns marks into CSV, ``server`` answers requests.
"""

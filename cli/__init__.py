"""The ``tclr`` command: parse, call, show."""

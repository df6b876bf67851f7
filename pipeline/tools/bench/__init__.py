"""The benchmark: what each stage costs relative to the work that bounds it.

In: clips, by default demo clips made here. Out: rows of a table.
Importing the room is light: a name is imported with its module on first use (``__init__.pyi`` lists the names), so that
measuring one group of rows loads no packages of another.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The benchmark: what the stages cost beside the work that bounds them, as ratios within one run.

In: demo clips, made here. Out: rows of a table.
A name is imported with its module when it is first used (the names are in ``__init__.pyi``): a group of rows is
measured without the packages that another one needs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

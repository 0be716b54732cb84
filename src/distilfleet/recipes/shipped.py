"""The names of the recipes that ship; loads nothing, so that the command line's help is quick."""

from importlib.util import find_spec
from pkgutil import iter_modules

from .. import methods

SHIPPED = tuple(
    module.name
    for module in iter_modules(methods.__path__)
    if find_spec(f".{module.name}", __package__)
)
"""A method is run by the recipe of its name."""

"""Recipes by name: the ones that ship are modules in this room, a user's own is
`path/to/file.py:function`."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

from ..core.errors import ConfigError, did_you_mean
from .flags import check, common
from .shipped import SHIPPED

if TYPE_CHECKING:
    from ..training.experiment import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A function from its flags, a frozen dataclass, to an `Experiment`."""

    name: str
    flags: type[Any]
    function: Callable[[Any], "Experiment"]

    def build(self, flags: Any) -> "Experiment":
        """The experiment, with torch set to its threads: equal bits need equal numbers of them.
        Raises ConfigError."""
        check(flags)
        import torch

        torch.set_num_threads(common(flags).threads)
        experiment = self.function(flags)
        return replace(experiment, keep=replace(experiment.keep, most=common(flags).keep_wire))


def recipe(name: str) -> Recipe:
    """Raises ConfigError, naming what there is, if there is no such recipe."""
    function = _function(name)
    if not callable(function):
        raise ConfigError(f"{name}: the file has no function of that name")
    hints = list(_arguments(function).values())
    flags = hints[0] if len(hints) == 1 else None
    if not isinstance(flags, type) or not is_dataclass(flags):
        raise ConfigError(
            f"{name}: a recipe takes one argument, annotated with a dataclass of flags"
        )
    return Recipe(name=name, flags=flags, function=function)


def _function(name: str) -> Any:
    """What has that name, whether it can be called or not; None if nothing has."""
    if ":" in name:
        file, _, function = name.rpartition(":")
        return getattr(_own(Path(file).expanduser()), function, None)
    if name in SHIPPED:
        return getattr(importlib.import_module(f".{name}", __package__), name)
    raise ConfigError(
        f"no recipe {name!r}{did_you_mean(name, SHIPPED)}; there are {', '.join(SHIPPED)}, or "
        "your own: path/to/file.py:function"
    )


def _arguments(build: Callable[..., Any]) -> dict[str, Any]:
    """Their types. What comes back is left unread: its module loads what a run is made of."""
    taken = {
        name: hint
        for name, hint in getattr(build, "__annotations__", {}).items()
        if name != "return"
    }
    return get_type_hints(SimpleNamespace(__annotations__=taken), getattr(build, "__globals__", {}))


def _own(file: Path) -> ModuleType:
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; a recipe of your own is path/to/file.py:function")
    name = _free_name(file)
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} is not a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as fault:
        raise ConfigError(f"{file} cannot be read as a recipe: {fault}") from None
    return module


def _free_name(file: Path) -> str:
    """That of the file, unless it would take the place of a module that others need."""
    known = sys.modules.get(file.stem)
    own = known is None or getattr(known, "__file__", None) == str(file)
    return file.stem if own and file.stem not in sys.stdlib_module_names else f"recipe_{file.stem}"

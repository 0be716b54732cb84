"""Recipes by name: the ones that ship are modules in this room, a user's own is `path/to/file.py:function`."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from ..core.errors import ConfigError, RecordError
from ..record.checkpoint import Checkpoint
from ..record.history import read_about
from ..record.run import Run as Record
from ..record.run import reopen, rewrite_about
from .flags import check, common, unflatten
from .run import Run, versions

SHIPPED = (
    *("koala", "splitkd", "local", "central", "fedavg", "feddf", "fedmd"),
    *("central_kd", "fedavg_text", "koala_text"),
)
MUST_EQUAL = ("distilfleet",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A function from its flags, a frozen dataclass, to a `Run`."""

    name: str
    flags: type[Any]
    function: Callable[[Any], Run]

    def build(self, flags: Any) -> Run:
        """The run, with torch set to its number of threads: equal bits need equal numbers. Raises ConfigError."""
        check(flags)
        import torch

        torch.set_num_threads(common(flags).threads)
        run = self.function(flags)
        return replace(run, keep=replace(run.keep, most=common(flags).keep_wire))


def recipe(name: str) -> Recipe:
    """Raises ConfigError, naming what there is, if there is no such recipe."""
    if ":" in name:
        file, _, function = name.rpartition(":")
        build = getattr(_own(Path(file).expanduser()), function, None)
    elif name in SHIPPED:
        build = getattr(importlib.import_module(f".{name}", __package__), name)
    else:
        raise ConfigError(f"no recipe {name!r}; there are {', '.join(SHIPPED)}, or your own: path/to/file.py:function")
    if not callable(build):
        raise ConfigError(f"{name}: the file has no function of that name")
    hints = [hint for key, hint in get_type_hints(build).items() if key != "return"]
    if len(hints) != 1 or not isinstance(hints[0], type) or not is_dataclass(hints[0]):
        raise ConfigError(f"{name}: a recipe takes one argument, annotated with a dataclass of flags")
    return Recipe(name=name, flags=hints[0], function=build)


def again(path: Path, rounds: int | None) -> tuple[Run, Record, Checkpoint | None] | None:
    """An interrupted run, rebuilt and open for writing, and where it goes on; None if nothing is left to do.

    Raises RecordError if the directory is damaged, in use, or of another version.
    """
    _check_versions(path, read_about(path))
    if "fleet" in read_about(path)["settings"]:
        raise RecordError(f"{path} is a run of a real fleet: its server goes on with it by itself")
    record, about, checkpoint = reopen(path)
    with ExitStack() as opened:
        opened.callback(record.close)
        wanted = max(about["rounds"], rounds or 0)
        if checkpoint is not None and checkpoint.round >= wanted:
            return None
        found = recipe(about["recipe"])
        run = found.build(unflatten(found.flags, {**about["settings"], "rounds": wanted}))
        if wanted != about["rounds"]:
            rewrite_about(record, {**about, "rounds": wanted})
        opened.pop_all()
    return run, record, checkpoint


def _check_versions(path: Path, about: Mapping[str, Any]) -> None:
    there, here = about["versions"], versions()
    for name in MUST_EQUAL:
        if there.get(name) != here[name]:
            raise RecordError(
                f"{path} was made by {name} {there.get(name)}, this is {here[name]}: going on would not give the same "
                f"weights. Install {name}=={there.get(name)}, or start the run anew."
            )


def _own(file: Path) -> ModuleType:
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; a recipe of your own is path/to/file.py:function")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as fault:
        raise ConfigError(f"{file} cannot be read as a recipe: {fault}") from None
    return module

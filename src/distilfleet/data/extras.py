"""Libraries that only some kinds of files need: imported when such a file is read."""

import importlib
import warnings
from typing import Any

from ..core.errors import ConfigError


def library(name: str, needed_by: str, extra: str) -> Any:
    """A module. Raises ConfigError, with the line that installs it, where it is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a library says of its own dependencies
            return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{needed_by}: reading it takes {name.partition('.')[0]}, which is not here: "
            f"pip install 'distilfleet[{extra}]'"
        ) from error

"""distilfleet: teach a large model with a fleet of small devices, and give every device a small
model in return.

From Python: `run = distilfleet.train("koala", rounds=5)`, `model = distilfleet.load(FOLDER)`; see
`distilfleet.api`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import load, open_run, plot, resume, train

__all__ = ("load", "open_run", "plot", "resume", "train")


def __getattr__(name: str) -> Any:
    """What `api` has, loaded when it is first asked for: the command line must start at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import api

    return getattr(api, name)

"""Whether what a flag names on the Hugging Face hub is to be had: asked once, before libraries try
again and again."""

import re
from pathlib import Path

from ..core.errors import ConfigError

NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
PATHS = ".", "/", "~"
"""How paths begin that no name of the hub does."""
FILES = ".json", ".bin"
PATIENCE_S = 5.0
REQUIRED = "config.json", "tokenizer.json"
"""One of them is there of whatever was fetched before."""


def check_to_be_had(flag: str, name: str, known: str) -> None:
    """Raises ConfigError for a name that is no file or folder, not in the hub's cache here, and not
    on the hub.

    Args:
        known: what else could have been named.
    """
    if Path(name).expanduser().exists():
        return
    if name.startswith(PATHS) or Path(name).suffix in FILES:
        raise ConfigError(f"{flag} {name}: no such file or folder")
    if not NAME.fullmatch(name):
        return
    try:
        if _is_cached(name):
            return
    except ValueError:  # nor can the hub have anything of that name
        raise ConfigError(f"{flag} {name}: no such file or folder, and none of {known}") from None
    fault = _hub_fault(name)
    if fault:
        raise ConfigError(
            f"{flag} {name}: there is no such folder or file, it is none of {known}, it is not in "
            f"this machine's cache of the hub, and {fault}"
        )


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    cached = [try_to_load_from_cache(name, file) for file in REQUIRED]
    return any(isinstance(path, str) for path in cached)


def _hub_fault(name: str) -> str:
    """What the hub says against it; empty if it has it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().model_info(name, timeout=PATIENCE_S)
    except HfHubHTTPError as error:
        return (
            f"the Hugging Face hub does not give it ({type(error).__name__}); look at the "
            "spelling, or log in"
        )
    except Exception as error:  # whatever a network can do
        return (
            f"the Hugging Face hub cannot be reached from here ({type(error).__name__}); name a "
            "folder"
        )
    return ""

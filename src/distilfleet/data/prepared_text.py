"""The server's part of a text that `distilfleet split` divided: held-out windows, those that it
trains its large model on, and the tokenizer. Devices have their windows themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import ConfigError
from ..core.types import Dataset
from . import prepared
from .arrays import open_npz
from .text import TextSource
from .tokenizer import restore
from .windows import from_dataset

TOKENIZER = "tokenizer"
ROWS = "rows"
PRETRAINING = "school_x"
PRETRAINING_LABELS = "school_y"
"""Keys of the windows to pretrain on, as every version has spelled them in files."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServedText:
    source: TextSource
    pretraining_data: Dataset | None
    """The windows that the server trains its large model on, where that does not come trained."""
    rows: int
    """How many distinct tokens the device has that has most, for a planner."""


def write_server(file: Path, served: ServedText) -> None:
    source = served.source
    facts = prepared.text_facts(prepared.SERVER, source.classes, source.tokenizer.digest)
    prepared.write(
        file,
        source.test.dataset(),
        **facts,
        **{ROWS: np.array(served.rows)},
        **{TOKENIZER: np.frombuffer(source.tokenizer.data, np.uint8)},
        **_pretraining(served.pretraining_data),
        **prepared.named(source.name),
    )


def _pretraining(windows: Dataset | None) -> dict[str, np.ndarray]:
    if windows is None:
        return {}
    if windows.labels is None:
        return {PRETRAINING: windows.inputs}
    return {PRETRAINING: windows.inputs, PRETRAINING_LABELS: windows.labels}


def read_server(data: str, context: int) -> ServedText | None:
    """None for anything but such a part. Raises ConfigError for one that is damaged, or cut for
    another context."""
    path = Path(data).expanduser()
    if path.suffix.lower() != ".npz" or not path.is_file():
        return None
    held = open_npz(path)
    if not prepared.holds(held):
        return None
    missing = [name for name in (prepared.CLASSES, ROWS, TOKENIZER) if name not in held]
    if missing:
        raise ConfigError(
            f"{path}: no part of a text for the server, without {missing[0]}: split with --recipe"
        )
    pretraining_data = None
    if PRETRAINING in held:
        pretraining_data = Dataset(held[PRETRAINING], held.get(PRETRAINING_LABELS))
    return ServedText(
        source=_source(held, str(path), context),
        pretraining_data=pretraining_data,
        rows=int(held[ROWS]),
    )


def _source(held: Mapping[str, np.ndarray], where: str, context: int) -> TextSource:
    test = prepared.dataset(held, where)
    if test.inputs.dtype != np.int32 or test.inputs.shape[1:] != (context,):
        raise ConfigError(
            f"{where}: windows of {list(test.inputs.shape[1:])} tokens; --context is {context}"
        )
    windows = from_dataset(test)
    return TextSource(
        name=prepared.name_of(held, where),
        train=windows,
        test=windows,
        classes=tuple(held[prepared.CLASSES].tolist()),
        tokenizer=restore(held[TOKENIZER].tobytes(), where),
        owners=None,
        rows=(),
        partition="as `distilfleet split` divided it",
        notes=(),
    )

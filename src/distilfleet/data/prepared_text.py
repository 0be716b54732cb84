"""The server's part of a text that `distilfleet split` divided: held-out windows, those that it
trains its large model on, and the tokenizer. Devices have their windows themselves.
"""

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
    windows = (
        {} if served.pretraining_data is None else {PRETRAINING: served.pretraining_data.inputs}
    )
    if served.pretraining_data is not None and served.pretraining_data.labels is not None:
        windows[PRETRAINING_LABELS] = served.pretraining_data.labels
    prepared.write(
        file,
        served.source.test.dataset(),
        **prepared.text_facts(
            prepared.SERVER, served.source.classes, served.source.tokenizer.digest
        ),
        **{ROWS: np.array(served.rows)},
        **{TOKENIZER: np.frombuffer(served.source.tokenizer.data, np.uint8)},
        **windows,
        **prepared.named(served.source.name),
    )


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
    test = prepared.dataset(held, str(path))
    if test.inputs.dtype != np.int32 or test.inputs.shape[1:] != (context,):
        raise ConfigError(
            f"{path}: windows of {list(test.inputs.shape[1:])} tokens; --context is {context}"
        )
    windows = from_dataset(test)
    source = TextSource(
        name=prepared.name_of(held, str(path)),
        train=windows,
        test=windows,
        classes=tuple(held[prepared.CLASSES].tolist()),
        tokenizer=restore(held[TOKENIZER].tobytes(), str(path)),
        owners=None,
        rows=(),
        partition="as `distilfleet split` divided it",
        notes=(),
    )
    pretraining_data = (
        Dataset(held[PRETRAINING], held.get(PRETRAINING_LABELS)) if PRETRAINING in held else None
    )
    return ServedText(source=source, pretraining_data=pretraining_data, rows=int(held[ROWS]))

"""From stored samples to what a model takes, without torch: all that a folder's preprocessing
says."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import ConfigError
from ..core.types import PADDING
from ..data import tables
from ..data.labelled_text import as_array
from ..data.naming import samples_of
from ..data.raw import check_numbers
from ..data.sheets import Sheet
from ..data.spec import DataSpec
from ..data.tokenizer import Tokenizer
from ..data.windows import one_each

WHERE = "these samples"


def inputs_of(raw: Any, spec: DataSpec) -> np.ndarray:
    """Samples as they are stored, as a model of numbers takes them: float32 [n, *shape]; hashed
    words of texts, int32 [n, length], for a model of those.

    Raises ConfigError for samples of another kind or shape.

    Args: raw: an array with the sample axis first; of a table also columns by name (a mapping, or a
        data frame), or a sequence of rows, each a mapping from columns to values.
        spec: what the model's run means by its samples.
    """
    if spec.kind == "words":
        return spec.words.apply(as_array(_texts(raw, spec)))
    stored = raw if isinstance(raw, np.ndarray) else _stored(raw, spec)
    check_numbers(stored, WHERE)
    scaling = spec.scaling.stored_as(stored, spec.shape)
    shape = scaling.shape(stored)
    if shape != spec.shape:
        raise ConfigError(
            f"{WHERE} have shape {list(shape)}; the model takes {samples_of(spec.kind)} of shape "
            f"{list(spec.shape)}"
        )
    return scaling.apply(stored)


def tokens_of(texts: Sequence[str], tokenizer: Tokenizer, context: int) -> np.ndarray:
    """One window for each text, cut at its end or padded with -1: int32 [n, context]."""
    first = [] if tokenizer.separator is None else [tokenizer.separator]
    front = np.array(first, np.int32)
    documents = [np.concatenate([front, ids]) for ids in tokenizer.encode(list(texts))]
    windows = one_each(documents, context, tokenizer.padding).dataset().inputs
    assert windows.dtype == np.int32 and PADDING < 0
    return windows


def _texts(raw: Any, spec: DataSpec) -> list[str]:
    """Strings; or the column of texts of a mapping, a data frame, or rows. Raises ConfigError."""
    name = spec.columns[0].name if spec.columns else ""
    is_table = not isinstance(raw, Sequence | np.ndarray) or (len(raw) and _is_row(raw[0]))
    columns = _columns(raw) if is_table else {name: list(raw)}
    texts = columns.get(name)
    if texts is None or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{WHERE} are no texts; the model takes strings, or a column {name!r}")
    return texts


def _is_row(one: Any) -> bool:
    return isinstance(one, Mapping)


def _stored(raw: Any, spec: DataSpec) -> np.ndarray:
    if spec.columns and not _is_of_numbers(raw):
        return tables.encode(_sheet(_columns(raw)), spec.columns)
    return np.asarray(raw)


def _is_of_numbers(raw: Any) -> bool:
    return isinstance(raw, Sequence) and bool(raw) and not isinstance(raw[0], Mapping)


def _columns(raw: Any) -> dict[str, list[Any]]:
    if isinstance(raw, Sequence):
        names = list(dict.fromkeys(name for row in raw for name in row))
        return {name: [row.get(name, "") for row in raw] for name in names}
    return {str(name): list(raw[name]) for name in raw}


def _sheet(columns: Mapping[str, Sequence[Any]]) -> Sheet:
    cells = {name: [str(value).strip() for value in values] for name, values in columns.items()}
    count = max(map(len, cells.values()), default=0)
    return Sheet(where=WHERE, cells=cells, lines=range(1, count + 1), notes=())

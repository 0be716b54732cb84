"""A classifier of `transformers` as the folder that it came from, with what it has learnt."""

from collections.abc import Mapping
from typing import Any

from ..core.types import TrainedModel
from ..data.spec import DataSpec
from ..nn import classifier_folder
from . import facts

READERS = (
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
)
"""Files of a processor or a tokenizer, which go along as they are."""


def folder_files(trained: TrainedModel, spec: DataSpec | None) -> Mapping[str, bytes]:
    """`config.json` and the files of processor and tokenizer."""
    model = trained.model
    place = classifier_folder.folder_of(model.name)
    files = {name: (place / name).read_bytes() for name in READERS if (place / name).is_file()}
    net: Any = model.build(0).net
    config = net.config
    config.architectures = [type(net).__name__]
    if spec is not None and spec.classes:
        names = facts.plain(spec)
        config.id2label = names["id2label"]
        config.label2id = names["label2id"]
    written: str = config.to_json_string()
    return {facts.CONFIG: written.encode(), **files}

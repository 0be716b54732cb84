"""What goes into a model's folder: weights, architecture, preprocessing, tokenizer and card, as
bytes by file name."""

from collections.abc import Mapping
from typing import Any

from ..core.disk import Content
from ..core.tensor_file import pieces
from ..core.types import TrainedModel
from ..data.spec import DataSpec
from ..data.tokenizer import Tokenizer
from ..nn.zoo import Model
from . import facts
from .card import CardFacts, card
from .facts import Architecture, Preprocessing
from .text import tokenizer_files


def contents(
    name: str,
    trained: TrainedModel,
    about: CardFacts,
    spec: DataSpec | None = None,
    tokenizer: Tokenizer | None = None,
) -> dict[str, Content]:
    """The files of one model, to be written once: weights come an array at a time.

    Args:
        name: what the run calls the model, such as `small-conv-s`.
        about: the run, for the card.
        spec: what the run means by samples and classes.
        tokenizer: that of a model that takes text.
    """
    model = trained.model
    own = _of_net(model, spec) if isinstance(model, Model) else _of_language(model, spec)
    text = {} if tokenizer is None else tokenizer_files(tokenizer, own.context)
    built_from = (
        {facts.ARCHITECTURE: facts.written(_architecture(model))}
        if isinstance(model, Model)
        else {facts.CONFIG: _config(model, spec, tokenizer)}
    )
    return {
        facts.WEIGHTS: pieces(trained.weights, {"format": "pt"}),  # as `transformers` wants it
        **built_from,
        facts.PREPROCESSING: facts.written(own),
        **text,
        facts.CARD: card(name, trained, about, spec).encode(),
    }


def _architecture(model: Model) -> Architecture:
    return Architecture(
        family="own" if model.is_own else "zoo",
        name=model.name,
        shape=model.shape,
        classes=model.classes,
    )


def _of_net(model: Model, spec: DataSpec | None) -> Preprocessing:
    return Preprocessing(data=spec)


def _of_language(model: Any, spec: DataSpec | None) -> Preprocessing:
    return Preprocessing(data=spec, context=model.context, vocabulary=model.vocabulary)


def _config(model: Any, spec: DataSpec | None, tokenizer: Tokenizer | None) -> bytes:
    """`config.json` of a decoder, with the ids of its tokenizer and the names of its classes."""
    from ..nn.language import stored_config  # seconds, for those who have such a model

    config = stored_config(model)
    if tokenizer is not None:
        config.pad_token_id = tokenizer.padding
        config.bos_token_id = config.eos_token_id = tokenizer.separator
    if spec is not None and spec.classes:
        names: Mapping[str, Any] = facts.plain(spec)
        config.id2label = names["id2label"]
        config.label2id = names["label2id"]
    written: str = config.to_json_string()
    return written.encode()

"""What goes into a model's folder: weights, architecture, preprocessing, tokenizer and card, as
bytes by file name."""

from collections.abc import Mapping
from typing import Any

from ..core.disk import Content
from ..core.tensor_file import pieces
from ..core.types import Arrays, TrainedModel
from ..data.spec import DataSpec
from ..data.tokenizer import Tokenizer
from ..nn import trainable
from ..nn.weights import put, to_arrays
from ..nn.zoo import INNER, Model
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
    if not isinstance(model, Model):
        own = Preprocessing(data=spec, context=model.context, vocabulary=model.vocabulary)
        text = {} if tokenizer is None else tokenizer_files(tokenizer, own.context)
        files: Mapping[str, bytes] = {facts.CONFIG: _config(model, spec, tokenizer), **text}
        weights = trained.weights
    else:
        own = Preprocessing(data=spec, shape=model.shape, classes=model.classes)
        files = _net_files(trained, spec)
        weights = net_weights(trained)
    return {
        facts.WEIGHTS: pieces(weights, {"format": "pt"}),  # as `transformers` wants it
        **files,
        facts.PREPROCESSING: facts.written(own),
        facts.CARD: card(name, trained, about, spec).encode(),
    }


def _net_files(trained: TrainedModel, spec: DataSpec | None) -> Mapping[str, bytes]:
    if trained.model.is_pretrained:
        from .pretrained import folder_files  # seconds, for those who have such a model

        return folder_files(trained, spec)
    return {facts.ARCHITECTURE: facts.written(_architecture(trained.model))}


def net_weights(trained: TrainedModel) -> Arrays:
    """The weights of a net under its own names, adapters merged in float32."""
    weights = trained.weights
    if any(".lora_A." in name for name in weights):
        weights = to_arrays(trainable.merged(put(trained.model.build(0), weights)))
    if not trained.model.is_pretrained:
        return weights
    inside = (name for name in weights if name.startswith(INNER))
    return {name.removeprefix(INNER): weights[name] for name in inside}


def _architecture(model: Model) -> Architecture:
    return Architecture(
        family="own" if model.is_own else "zoo",
        name=model.name,
        shape=model.shape,
        classes=model.classes,
    )


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

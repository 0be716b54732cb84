"""A model's folder as a ready module: what it takes is what was stored, what it gives has names.

Nothing that a folder holds is run: weights come from safetensors, nets from the zoo by name,
language models from families that `transformers` has built in. A net of a user's own code is built
where the caller says so.

Axes: B samples, C classes, T tokens, V vocabulary.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..core.types import Arrays
from ..data.spec import DataSpec
from ..data.tokenizer import Tokenizer, from_path
from ..nn import zoo
from ..nn.forward import logits
from ..nn.place import as_array, borrowed
from ..nn.weights import put
from . import facts
from .facts import Architecture, Preprocessing
from .inputs import inputs_of, tokens_of

BATCH = 256
"""Samples that are judged at a time."""


def load(folder: str | Path, *, own_models: bool = False) -> "DeployedModel":
    """The model of a folder, ready to predict, in evaluation mode on the processor.

    Raises ConfigError for a folder that is absent, damaged, or of a newer version.

    Args: folder: one of `models/` of a finished run, or of a device. own_models: whether a net of
        the user's own may be built, which runs the file or module that the folder names.
    """
    found = facts.model_folder(folder)
    preprocessing = facts.preprocessing_of(found)
    if not (found / facts.CONFIG).is_file():
        return _net(found, preprocessing, own_models)
    if preprocessing.vocabulary:
        return _language(found, preprocessing)
    return _pretrained(found, preprocessing)


class DeployedModel(nn.Module):
    """A net with the preprocessing that it was trained behind."""

    def __init__(
        self,
        folder: Path,
        net: nn.Module,
        preprocessing: Preprocessing,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.net = net
        self.preprocessing = preprocessing
        self.tokenizer = tokenizer
        self.eval()

    @property
    def spec(self) -> DataSpec:
        """What the model's run means by samples and classes. Raises ConfigError where the run did
        not say."""
        return facts.meaning_of(self.folder, self.preprocessing)

    @property
    def takes_texts(self) -> bool:
        """Whether samples are strings."""
        return False

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs; empty of a language model."""
        return () if self.preprocessing.data is None else self.preprocessing.data.classes

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, C] of inputs as `preprocess` gives them."""
        return logits(self.net, inputs)

    def preprocess(self, raw: Any) -> Tensor:
        """Samples as they are stored, as the net takes them; see `inputs.inputs_of`. Text: a
        sequence of strings, hashed here where devices do so."""
        return borrowed(inputs_of(raw, self.spec))

    def predict(self, raw: Any) -> np.ndarray:
        """Probabilities of samples as they are stored, float32 [n, C]."""
        return self.probabilities(self.preprocess(raw))

    @torch.no_grad()
    def probabilities(self, inputs: Tensor | np.ndarray) -> np.ndarray:
        """Probabilities of inputs as `preprocess` gives them, float32 [n, C]."""
        given = inputs if isinstance(inputs, Tensor) else borrowed(inputs)
        parts = [self(some).softmax(dim=-1) for some in torch.split(given, BATCH)]
        found: np.ndarray = as_array(torch.cat(parts))
        return found

    def example(self, samples: int = 2) -> Tensor:
        """Inputs of the right shape and type, all zeros, for whoever traces the net."""
        data = self.preprocessing.data
        of_words = data is not None and data.kind == "words"
        dtype = torch.int32 if of_words else torch.float32
        return torch.zeros(samples, *self.preprocessing.shape, dtype=dtype)


class DeployedClassifier(DeployedModel):
    """A classifier of `transformers`, with its processor or its tokenizer."""

    @property
    def takes_texts(self) -> bool:
        """Whether samples are strings."""
        return len(self.preprocessing.shape) == 1

    def preprocess(self, raw: Any) -> Tensor:
        """Samples as they are stored; of a model of texts, a sequence of strings."""
        if not self.takes_texts:
            return super().preprocess(raw)
        from ..nn.pretrained import tokenised

        return borrowed(tokenised(str(self.folder), raw))

    def example(self, samples: int = 2) -> Tensor:
        """Inputs of the right shape and type."""
        if not self.takes_texts:
            return super().example(samples)
        return torch.zeros(samples, *self.preprocessing.shape, dtype=torch.int32)


class DeployedLanguageModel(DeployedModel):
    """A decoder with its tokenizer: goes on with a text, or, with classes, says of which a text
    is."""

    @property
    def takes_texts(self) -> bool:
        """Whether samples are strings."""
        return True

    def preprocess(self, raw: Any) -> Tensor:
        """A sequence of strings as ids of tokens, padded with -1."""
        assert self.tokenizer is not None, "a language model has a tokenizer"
        return borrowed(tokens_of(raw, self.tokenizer, self.preprocessing.context))

    def example(self, samples: int = 2) -> Tensor:
        """Ids of the right shape."""
        return torch.zeros(samples, self.preprocessing.context, dtype=torch.int32)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of token ids [B, T], padded with -1: [B, C] with classes, else [B, T, V]."""
        mask_BT = (inputs >= 0).long()
        ids_BT = inputs.clamp(min=0).long()
        out: Tensor = self.net(
            input_ids=self._padded(ids_BT, mask_BT), attention_mask=mask_BT
        ).logits
        return out.float()

    @torch.no_grad()
    def generate(
        self, text: str, *, tokens: int = 64, temperature: float = 0.0, seed: int = 0
    ) -> str:
        """What the model writes after a text; see `continuation`."""
        return "".join(self.continuation(text, tokens=tokens, temperature=temperature, seed=seed))

    @torch.no_grad()
    def continuation(
        self, text: str, *, tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> Iterator[str]:
        """The same piece by piece, as it is found.

        Args:
            text: what to go on with; of a longer one than the model takes, the end.
            tokens: how many at most; fewer where the model ends the text.
            temperature: 0 takes the likeliest token each time; above, tokens are drawn.
            seed: of the draws.
        """
        assert self.tokenizer is not None, "a language model has a tokenizer"
        if self.classes:
            raise ConfigError(
                f"{self.folder} tells classes of texts apart and writes none: give a file to "
                "predict"
            )
        generator = torch.Generator().manual_seed(seed)
        ids = self._prompt(text)
        began = len(ids)
        said = now = ""
        for _ in range(tokens):
            window = torch.tensor([ids[-self.preprocessing.context :]])
            chosen = _drawn(self(window)[0, -1], temperature, generator)
            if chosen == self.tokenizer.separator:
                break
            ids.append(chosen)
            now = self.tokenizer.decode(np.array(ids[began:], np.int32))
            if not now.endswith("\ufffd"):  # a character of several tokens is not whole yet
                yield now[len(said) :]
                said = now
        if now != said:
            yield now[len(said) :]

    def _prompt(self, text: str) -> list[int]:
        assert self.tokenizer is not None
        first = [] if self.tokenizer.separator is None else [self.tokenizer.separator]
        ids = [*first, *self.tokenizer.encode([text])[0].tolist()]
        if not ids:
            raise ConfigError(
                "an empty text, and a tokenizer without a separator: give some text to go on with"
            )
        return ids

    def _padded(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """A classifier finds a text's end by the id of its padding."""
        padding = getattr(self.net.config, "pad_token_id", None) or 0
        return torch.where(mask_BT.bool(), ids_BT, torch.full_like(ids_BT, padding))


def _drawn(logits_V: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature <= 0:
        return int(logits_V.argmax())
    shares_V = (logits_V / temperature).softmax(dim=-1)
    return int(torch.multinomial(shares_V, 1, generator=generator))


# --- building -------------------------------------------------------------------------------------


def _net(folder: Path, preprocessing: Preprocessing, own_models: bool) -> DeployedModel:
    said = facts.read(folder / facts.ARCHITECTURE, Architecture)
    is_known = said.name in zoo.ZOO
    if said.family == "own" and not own_models:
        raise ConfigError(
            f"{folder}: the net is {said.name}, code of its author's own, which loading would run: "
            f"say own_models=True, or --own-models, if you trust it"
        )
    if said.family == "zoo" and not is_known:
        raise ConfigError(
            f"{folder}: this version's zoo has no net {said.name!r}: install a newer distilfleet"
        )
    of_texts = preprocessing.data is not None and preprocessing.data.kind == "words"
    net = zoo.model(said.name, said.shape, said.classes, of_texts=of_texts).build(seed=0)
    return DeployedModel(folder, _filled(net, folder), preprocessing)


def _filled(net: nn.Module, folder: Path) -> nn.Module:
    """The net with the folder's weights. Raises ConfigError if they are damaged or another
    net's."""
    weights = _weights(folder)
    wanted = net.state_dict()
    odd = [
        name
        for name, tensor in wanted.items()
        if name not in weights or weights[name].shape != tuple(tensor.shape)
    ]
    odd += sorted(weights.keys() - wanted.keys())
    if odd:
        raise ConfigError(
            f"{folder / facts.WEIGHTS}: the weights are of another net, {odd[0]} differs; "
            f"{facts.REMEDY}"
        )
    return put(net, weights)


def _weights(folder: Path) -> Arrays:
    file = folder / facts.WEIGHTS
    try:
        weights: Arrays = load_file(file)
    except (SafetensorError, OSError) as fault:
        raise ConfigError(f"{file} is damaged: {fault}; {facts.REMEDY}") from None
    return weights


def _language(folder: Path, preprocessing: Preprocessing) -> DeployedModel:
    from ..nn.language import LanguageModel  # seconds, for those who have such a model

    model = LanguageModel(
        name=str(folder),
        vocabulary=preprocessing.vocabulary,
        context=preprocessing.context,
        classes=len(preprocessing.data.classes) or None if preprocessing.data else None,
    )
    net = model.build(seed=0)
    return DeployedLanguageModel(folder, net, preprocessing, from_path(folder))


def _pretrained(folder: Path, preprocessing: Preprocessing) -> DeployedModel:
    net = zoo.Model(
        name=f"{zoo.PRETRAINED}{folder}",
        shape=preprocessing.shape,
        classes=preprocessing.classes,
    ).build(seed=0)
    return DeployedClassifier(folder, net, preprocessing)

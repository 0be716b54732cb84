"""An encoder of texts with a head of ours: what a run writes is loaded again."""

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file

from distilfleet.core.types import TrainedModel
from distilfleet.data.spec import DataSpec
from distilfleet.deploy.card import CardFacts
from distilfleet.deploy.contents import contents
from distilfleet.nn.distil import predict
from distilfleet.nn.pretrained import decision
from distilfleet.nn.weights import to_arrays
from distilfleet.nn.zoo import model

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 12,
    "max_position_embeddings": 8,
}


def test_an_encoder_with_a_head_of_ours_says_the_same_from_its_folder(tmp_path):
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(**SIZES)).save_pretrained(tmp_path / "came")
    words = DataSpec(kind="words", shape=(6,), classes=("on", "off", "dim"))
    trained = model(f"hf:{tmp_path / 'came'}", (6,), 3, "head", words.classes)
    net = trained.build(seed=3)
    weights = to_arrays(net)
    given = TrainedModel(model=trained, weights=weights, size="large")
    folder = tmp_path / "made"
    folder.mkdir()
    for name, content in contents("large", given, CardFacts(), words, None).items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else b"".join(content))
    assert set(load_file(folder / "model.safetensors")) == {
        name.removeprefix("net.") for name in weights if name.startswith("net.")
    }
    ids = np.array([[2, 5, 6, 3, -1, -1], [2, 7, 3, -1, -1, -1]], np.int32)
    again = model(f"hf:{folder}", (6,), 3, class_names=words.classes).build(seed=9)
    assert np.array_equal(predict(again, ids), predict(net, ids))
    assert not again.has_new_head
    assert "is kept" in decision(f"hf:{folder}", (6,), 3, words.classes)
    assert "gets a new one" in decision(f"hf:{tmp_path / 'came'}", (6,), 3, words.classes)
    assert "AutoModelFor" not in (folder / "README.md").read_text()

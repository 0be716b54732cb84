"""A model's folder explains itself: what a run writes is loaded again, by us and by others."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file

import distilfleet
from distilfleet.core import disk
from distilfleet.core.errors import ConfigError, StorageError
from distilfleet.core.types import TrainedModel
from distilfleet.data import tokenizer as tokenizers
from distilfleet.data.raw import FeatureColumn
from distilfleet.data.spec import DataSpec
from distilfleet.deploy import facts
from distilfleet.deploy.card import CardFacts
from distilfleet.deploy.contents import contents
from distilfleet.nn.language import LanguageModel
from distilfleet.nn.weights import to_arrays
from distilfleet.nn.zoo import model

TEXT = "turn the light on and the music off please\n"
RUN = CardFacts(
    about={
        "recipe": "koala",
        "given": ["data", "calibrate", "small", "label"],
        "settings": {
            "data": "a: b.csv",
            "calibrate": False,
            "small": ["x", "y"],
            "seed": 3,
            "leave_out": [],
        },
        "rounds": 4,
        "disclosure": "weights: the server sees them",
        "data": {"name": 'odd: "name" # of {data}', "train": 90, "test": 10, "partition": "iid"},
        "method": {"title": "KOALA", "story": ["In each round $devices trained."]},
        "versions": {"torch": "2.13.0"},
    },
    fleet={"total": 3, "kinds": {"rpi-5": 2, "rpi-4b": 1}},
    last={"round": 4, "small_accuracy": 0.875, "large_accuracy": 0.9375},
)
IMAGE = DataSpec(
    kind="image", shape=(1, 8, 8), classes=("cat", "no"), offset=(0.0,), factor=(1 / 16,)
)
TABLE = DataSpec(
    kind="table",
    shape=(3,),
    classes=("dry", "wet"),
    columns=(FeatureColumn(name="heat"), FeatureColumn(name="place", values=("attic", "cellar"))),
    offset=(20.0, 0.0, 0.0),
    factor=(0.5, 1.0, 1.0),
)


def net(name, shape, classes, size="small", **more):
    one = model(name, shape, classes)
    return TrainedModel(model=one, weights=to_arrays(one.build(3)), size=size, **more)


def put(folder, trained, spec=None, made=None):
    disk.write_folder(folder, contents(folder.name, trained, RUN, spec, made))
    return folder


def decoder(tmp_path, made, classes=0, context=16):
    one = LanguageModel(
        name="llama:32x1", vocabulary=made.vocabulary, context=context, classes=classes or None
    )
    names = tuple(f"class {number}" for number in range(classes))
    spec = DataSpec(kind="text", shape=(context,), classes=names, tokenizer=made.digest)
    trained = TrainedModel(
        model=one, weights=to_arrays(one.build(5)), size="small", distilled_from=("llama:64x2",)
    )
    return put(tmp_path / "student", trained, spec, made), one.build(5).eval()


# --- our own loading ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["conv-xs", "conv-bn", "mlp-xs"])
def test_a_zoo_net_comes_back_with_its_preprocessing(name, tmp_path):
    folder = put(tmp_path / "m", net(name, (1, 8, 8), 2), IMAGE)
    loaded = distilfleet.load(folder)
    pixels = np.random.default_rng(0).integers(0, 17, (5, 8, 8)).astype(np.float64)
    inputs = torch.from_numpy((pixels / 16).astype(np.float32))[:, None]
    expected = model(name, (1, 8, 8), 2).build(3).eval()(inputs).softmax(-1)
    assert np.array_equal(loaded.predict(pixels), expected.detach().numpy())
    assert loaded.classes == ("cat", "no")
    assert not loaded.training
    assert loaded(loaded.example(3)).shape == (3, 2)


def test_a_table_is_given_by_columns_rows_or_array(tmp_path):
    loaded = distilfleet.load(put(tmp_path / "m", net("mlp-xs", (3,), 2), TABLE))
    array = loaded.predict(np.array([[22.0, 0, 1], [18.0, 1, 0]]))
    columns = {"place": ["cellar", "attic"], "unused": [1, 2], "heat": [22, 18]}
    rows = [{"heat": "22", "place": "cellar"}, {"heat": 18.0, "place": "attic"}]
    assert np.array_equal(loaded.predict(columns), array)
    assert np.array_equal(loaded.predict(rows), array)
    with pytest.raises(ConfigError, match="no feature column 'heat'"):
        loaded.predict({"place": ["attic"]})
    with pytest.raises(
        ConfigError, match=r"shape \[2\]; the model takes rows of a table of shape \[3\]"
    ):
        loaded.predict(np.zeros((1, 2)))
    with pytest.raises(ConfigError, match="expected finite numbers"):
        loaded.predict(np.array([[np.nan, 0, 1]]))


def test_the_authors_own_net_needs_a_word(tmp_path):
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\ndef net(shape, classes):\n    return nn.Linear(shape[0], "
        "classes)\n"
    )
    name = f"{tmp_path}/nets.py:net"
    folder = put(tmp_path / "m", net(name, (3,), 2), TABLE)
    with pytest.raises(
        ConfigError, match="code of its author's own, which loading would run: say own_models=True"
    ):
        distilfleet.load(folder)
    assert distilfleet.load(folder, own_models=True).predict(np.zeros((4, 3))).shape == (4, 2)


@pytest.mark.parametrize("made", [tokenizers.train([TEXT] * 9, 280), tokenizers.plain_bytes()])
def test_a_language_model_is_the_same_for_transformers(made, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, plain = decoder(tmp_path, made)
    loaded = distilfleet.load(folder)
    theirs, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    assert theirs.config.tie_word_embeddings is False
    assert theirs.config.vocab_size == made.vocabulary
    ids = loaded.preprocess(["turn off é"])
    real = ids[ids >= 0][None]
    cut = AutoTokenizer.from_pretrained(folder)
    encoded = cut("turn off é", return_tensors="pt")
    assert encoded["input_ids"].tolist() == real.tolist()
    assert cut.pad_token_id == made.padding
    assert cut.decode(real[0], skip_special_tokens=True) == "turn off é"
    logits = plain(input_ids=real.long()).logits
    assert torch.equal(theirs(**encoded).logits, logits)
    assert torch.allclose(loaded(ids)[:, : real.shape[1]], logits, atol=1e-5)
    greedy = theirs.generate(**encoded, max_new_tokens=4, do_sample=False)[0, real.shape[1] :]
    ours = loaded.generate("turn off é", tokens=4)
    assert ours == made.decode(greedy.numpy()) == cut.decode(greedy)


def test_drawn_text_follows_its_seed(tmp_path):
    loaded = distilfleet.load(decoder(tmp_path, tokenizers.plain_bytes())[0])
    first, again, other = (
        loaded.generate("a", tokens=12, temperature=1.0, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_classifier_of_text_is_the_same_for_transformers(tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    made = tokenizers.train([TEXT] * 9, 280)
    folder, _ = decoder(tmp_path, made, classes=3)
    loaded = distilfleet.load(folder)
    texts = ["turn the light on", "off", "a text that is longer than the model takes in all " * 3]
    ours = loaded.predict(texts)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder)
    assert theirs.config.id2label == {0: "class 0", 1: "class 1", 2: "class 2"}
    encoded = AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, truncation=True, return_tensors="pt"
    )
    assert np.allclose(ours, theirs(**encoded).logits.softmax(-1).detach().numpy(), atol=1e-5)
    assert ours.shape == (3, 3)
    with pytest.raises(ConfigError, match="tells classes of texts apart and writes none"):
        loaded.generate("a")


# --- the card -------------------------------------------------------------------------------------


def test_the_card_is_read_as_a_card(tmp_path):
    from huggingface_hub import ModelCard

    trained = net("conv-xs", (1, 8, 8), 2, distilled_from=("conv-xl",))
    text = (put(tmp_path / "small-conv-xs", trained, IMAGE) / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["distilled_from"] == ["conv-xl"]
    assert head["pipeline_tag"] == "image-classification"
    (result,) = ModelCard(text).data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == (
        'odd: "name" # of {data}',
        "accuracy",
        0.875,
    )
    for said in (
        "distilfleet run koala --data 'a: b.csv' --no-calibrate --small x y --seed 3 --rounds 4\n",
        "Weights: the server sees them.",
        "2 rpi-5, 1 rpi-4b",
        "4 rounds",
        "distilled from `conv-xl`",
        "classes: cat, no",
    ):
        assert said in text


def test_a_card_of_a_run_that_says_nothing_is_whole(tmp_path):
    trained = net("mlp-xs", (3,), 2)
    text = contents("m", trained, CardFacts())["README.md"].decode()
    assert yaml.safe_load(text.split("---\n")[1])["pipeline_tag"] == "other"


# --- what is wrong with a folder
# --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return put(tmp_path / "m", net("mlp-xs", (3,), 2), TABLE)


def refused(folder):
    with pytest.raises(ConfigError) as fault:
        distilfleet.load(folder)
    return str(fault.value)


def test_a_newer_schema_is_named(folder):
    file = folder / facts.PREPROCESSING
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "schema": 2, "strange": [{"new": 1}]}))
    assert refused(folder) == (
        f"{file} is of schema 2, and this version reads up to 1: install a newer distilfleet"
    )


@pytest.mark.parametrize("name", [facts.PREPROCESSING, facts.ARCHITECTURE, facts.WEIGHTS])
@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe{}", b"[]", b'{"schema": 1, "data": 3}'])
def test_a_damaged_file_is_named(name, damage, folder):
    (folder / name).write_bytes(damage)
    said = refused(folder)
    assert said.startswith(f"{folder / name} is damaged: ")
    assert said.endswith("take the folder from its run again")


def test_half_the_weights_and_those_of_another_net_are_refused(folder, tmp_path):
    weights = (folder / facts.WEIGHTS).read_bytes()
    (folder / facts.WEIGHTS).write_bytes(weights[:-9])
    assert "is damaged" in refused(folder)
    other = put(tmp_path / "other", net("mlp-s", (3,), 2), TABLE)
    (folder / facts.WEIGHTS).write_bytes((other / facts.WEIGHTS).read_bytes())
    assert "the weights are of another net" in refused(folder)


def test_a_place_that_is_none_is_named(folder, tmp_path):
    assert "no such folder" in refused(tmp_path / "absent")
    run = tmp_path / "run"
    put(run / "models" / "large", net("mlp-xs", (3,), 2), TABLE)
    assert f"holds models; name one of them: {run}/models/large" in refused(run)
    assert f"holds models; name one of them: {run}/models/large" in refused(run / "models")
    (folder / facts.PREPROCESSING).unlink()
    assert "is no model's folder" in refused(folder)


# --- whole or not at all
# ----------------------------------------------------------------------------------------


def test_two_generations_are_kept_where_asked(tmp_path):
    for number in range(4):
        disk.write_folder(tmp_path / "m", {"n": b"%d" % number}, keep_previous=True)
    assert (tmp_path / "m" / "n").read_bytes() == b"3"
    assert (disk.previous(tmp_path / "m") / "n").read_bytes() == b"2"
    disk.write_folder(tmp_path / "m", {"n": b"4"})
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_what_a_crash_left_is_found_and_swept(folder, tmp_path):
    folder.rename(disk.previous(folder))
    (tmp_path / "m.unfinished").mkdir()
    assert distilfleet.load(folder).folder == disk.previous(folder)
    put(folder, net("mlp-s", (3,), 2), TABLE)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert distilfleet.load(folder).predict(np.zeros((1, 3))).shape == (1, 2)


def test_a_disk_that_takes_nothing_leaves_the_old_folder(folder, tmp_path):
    before = load_file(folder / facts.WEIGHTS)
    (folder.parent / "m.unfinished").write_text("a file where the folder goes")
    with pytest.raises(StorageError, match="m cannot be written: File exists"):
        put(folder, net("mlp-s", (3,), 2), TABLE)
    assert load_file(folder / facts.WEIGHTS).keys() == before.keys()


POINTS = ("file.written", "file.renamed", "folder.written", "folder.set_aside", "folder.renamed")


@pytest.mark.parametrize("point", POINTS)
def test_a_process_killed_while_it_writes_leaves_a_whole_folder(point, tmp_path):
    write = (
        "import sys; from pathlib import Path; from distilfleet.core.disk import write_folder\n"
        "write_folder(Path(sys.argv[1]), {'a': sys.argv[2].encode(), 'b': sys.argv[2].encode()})"
    )
    command = [sys.executable, "-c", write, str(tmp_path / "m")]
    subprocess.run([*command, "old"], check=True)
    drill = {**os.environ, "DISTILFLEET_KILL_AT": f"{point}:1"}
    assert subprocess.run([*command, "new"], env=drill).returncode == -signal.SIGKILL
    found = disk.whole(tmp_path / "m")
    kept = {file.name: file.read_bytes() for file in found.iterdir()}
    assert kept in ({"a": b"old", "b": b"old"}, {"a": b"new", "b": b"new"})
    subprocess.run([*command, "newest"], check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert (tmp_path / "m" / "b").read_bytes() == b"newest"

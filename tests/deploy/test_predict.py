"""The verb `predict`, as a person types it: files with labels and without, text, and mistakes."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from cli_runs import told
from distilfleet.core.disk import write_folder
from distilfleet.core.errors import ConfigError
from distilfleet.core.types import TrainedModel
from distilfleet.data import tokenizer as tokenizers
from distilfleet.data.raw import FeatureColumn
from distilfleet.data.spec import DataSpec
from distilfleet.deploy import onnx
from distilfleet.deploy.card import CardFacts
from distilfleet.deploy.contents import contents
from distilfleet.deploy.model import load
from distilfleet.nn.language import LanguageModel
from distilfleet.nn.weights import to_arrays
from distilfleet.nn.zoo import model

TABLE = DataSpec(
    kind="table",
    shape=(3,),
    classes=("dry", "wet"),
    columns=(FeatureColumn(name="heat"), FeatureColumn(name="place", values=("attic", "cellar"))),
    offset=(20.0, 0.0, 0.0),
    factor=(0.5, 1.0, 1.0),
)
IMAGE = DataSpec(
    kind="image", shape=(1, 8, 8), classes=("0", "1", "2"), offset=(0.0,), factor=(1 / 16,)
)
SAID = DataSpec(
    kind="words", shape=(16,), classes=("off", "on"), columns=(FeatureColumn(name="said"),)
)
ROWS = [("21.5", "attic", "dry"), ("19", "cellar", "wet"), ("20,1", "attic", "soaked")]


def put(folder, name, spec):
    one = model(name, spec.shape, len(spec.classes), of_texts=spec.kind == "words")
    trained = TrainedModel(model=one, weights=to_arrays(one.build(2)), size="small")
    write_folder(folder, contents("m", trained, CardFacts(), spec))
    return folder


@pytest.fixture
def table(tmp_path):
    return put(tmp_path / "table", "mlp-xs", TABLE)


@pytest.fixture
def said(tmp_path):
    return put(tmp_path / "said", "words-s", SAID)


@pytest.fixture
def image(tmp_path):
    return put(tmp_path / "image", "conv-xs", IMAGE)


def written(path, rows, labelled):
    width = 3 if labelled else 2
    lines = [("heat", "place", "label")[:width], *(row[:width] for row in rows)]
    path.write_text("\n".join(";".join(line) for line in lines) + "\n")
    return path


def test_a_table_with_labels_is_scored_and_written(table, tmp_path, capfd):
    file = written(tmp_path / "rows.csv", ROWS[:2], labelled=True)
    out = tmp_path / "p.csv"
    said = told(capfd, "predict", table, file, "--out", out)
    assert said.code == 0, said.err
    assert f"2 predictions in {out}\naccuracy " in said.out
    with out.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["label"] for row in rows] == ["dry", "wet"]
    array = np.array([[21.5, 1, 0], [19, 0, 1]])
    expected = load(table).predict(array)
    assert np.allclose([[float(row["p(dry)"]) for row in rows]], expected[:, 0], atol=1e-6)
    assert [row["class"] for row in rows] == [TABLE.classes[k] for k in expected.argmax(1)]
    right = sum(row["class"] == row["label"] for row in rows)
    assert f"accuracy {right / 2:.1%} of 2 labelled samples" in said.out


def test_a_class_that_the_model_does_not_know_is_said_and_predicted_all_the_same(
    table, tmp_path, capfd
):
    file = written(tmp_path / "rows.csv", [*ROWS[:2], ("20.1", "attic", "soaked")], labelled=True)
    said = told(capfd, "predict", table, file)
    assert said.code == 0, said.err
    assert "note: its labels are not used: " in said.out
    assert "soaked" in said.out
    assert len([line for line in said.out.splitlines() if line.endswith("%")]) == 3


@pytest.mark.parametrize("labelled", [False, True])
def test_arrays_are_streamed_as_json(labelled, image, tmp_path, capfd):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 17, (600, 8, 8)).astype(np.float64)
    labels = {"y": rng.integers(0, 3, 600)} if labelled else {}
    np.savez(tmp_path / "x.npz", x=pixels, **labels)
    out = tmp_path / "p.jsonl"
    said = told(capfd, "predict", image, tmp_path / "x.npz", "--out", out, "--batch", 256)
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["sample"] for row in rows] == list(range(1, 601))
    expected = load(image).predict(pixels)
    assert [row["class"] for row in rows] == [str(k) for k in expected.argmax(1)]
    assert ("accuracy" in said.out) == labelled
    assert all(("label" in row) == labelled for row in rows)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "txt"])
def test_sentences_are_hashed_as_on_devices(ending, said, tmp_path, capfd):
    texts = ["light on", "lamp off"]
    file = tmp_path / f"a.{ending}"
    rows = [f"{text},{text.split()[1]}" for text in texts]
    objects = [json.dumps({"said": t, "label": t.split()[1]}) for t in texts]
    lines = {"csv": ["said,label", *rows], "jsonl": objects, "txt": texts}[ending]
    file.write_text("\n".join(lines))
    words = ["--text", "said"] if ending != "txt" else []
    out = tmp_path / "out.csv"
    done = told(capfd, "predict", said, file, *words, "--out", out)
    assert done.code == 0, done.err
    assert ("of 2 labelled samples" in done.out + done.err) == (ending != "txt")
    deployed = load(said)
    shares = deployed.predict(texts)
    assert np.array_equal(shares, deployed.predict({"said": texts}))
    assert np.array_equal(deployed.preprocess(texts), SAID.words.apply(np.array(texts, object)))
    best = [row["class"] for row in csv.DictReader(out.read_text().splitlines())]
    assert best == [SAID.classes[k] for k in shares.argmax(axis=1)]


def test_numbers_are_no_texts(said):
    with pytest.raises(ConfigError, match=r"are no texts.*'said'"):
        load(said).predict(np.zeros((2, 16)))


def test_more_than_a_screen_is_counted(image, tmp_path, capfd):
    np.savez(tmp_path / "x.npz", x=np.zeros((30, 8, 8)) + np.arange(30)[:, None, None] / 2)
    said = told(capfd, "predict", image, tmp_path / "x.npz")
    assert "... and 10 more: --out FILE.csv takes all" in said.out


def decoder(folder, classes=()):
    made = tokenizers.plain_bytes()
    one = LanguageModel(name="llama:32x1", vocabulary=257, context=16, classes=len(classes) or None)
    spec = DataSpec(kind="text", shape=(16,), classes=classes, tokenizer=made.digest)
    trained = TrainedModel(model=one, weights=to_arrays(one.build(2)), size="small")
    write_folder(folder, contents("m", trained, CardFacts(), spec, made))
    return folder


def test_texts_are_gone_on_with_greedily_and_drawn(tmp_path, capfd):
    folder = decoder(tmp_path / "m")
    (tmp_path / "t.txt").write_text("once\n\nupon\n")
    loaded = load(folder)
    said = told(capfd, "predict", folder, tmp_path / "t.txt", "--tokens", 4)
    assert said.code == 0, said.err
    assert said.out.startswith(f"once{loaded.generate('once', tokens=4)}")
    out = tmp_path / "o.jsonl"
    drawn = ["--temperature", 1.5, "--seed", 7, "--tokens", 4, "--out", out]
    assert told(capfd, "predict", folder, tmp_path / "t.txt", *drawn).code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["text"] for row in rows] == ["once", "upon"]
    assert rows[1]["continuation"] == loaded.generate("upon", tokens=4, temperature=1.5, seed=8)


def test_texts_are_classed_and_scored(tmp_path, capfd):
    folder = decoder(tmp_path / "m", ("good", "bad"))
    lines = [{"text": "a day", "label": "good"}, {"text": "a night", "label": "odd"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    said = told(capfd, "predict", folder, tmp_path / "t.jsonl")
    assert said.code == 0, said.err
    assert "of 1 labelled samples" in said.out
    assert "a night" in said.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["{}/table", "{}/absent.csv"], "absent.csv: no such file or folder"),
        (["{}/absent", "{}/rows.csv"], "absent: no such folder; expected that of a model"),
        (["{}/table", "{}/rows.csv", "--out", "{}/p.txt"], "a name that ends in .csv or .jsonl"),
        (["{}/table", "{}/rows.csv", "--out", "{}/old.csv"], "old.csv is there already"),
        (["{}/table", "{}/rows.csv", "--batch", "0"], "--batch is 0; it must be at least 1"),
        (["{}/image", "{}/rows.csv"], "rows.csv: a table, but the model's run is none"),
        (["{}/table", "{}/other.csv"], "no feature column 'place'"),
        (["{}/table", "{}/x.npz"], "x.npz: "),
    ],
)
def test_mistakes_end_in_one_sentence(words, expected, table, image, tmp_path, capfd):
    written(tmp_path / "rows.csv", ROWS[:2], labelled=False)
    (tmp_path / "other.csv").write_text("heat,where\n1,2\n")
    (tmp_path / "old.csv").write_text("")
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 9)))
    said = told(capfd, "predict", *(word.format(tmp_path) for word in words))
    assert said.code == 2
    assert said.err.startswith("distilfleet: ")
    assert expected in said.err
    assert said.err.count("\n") == 1


def test_a_full_disk_leaves_no_file_of_that_name(table, tmp_path, capfd):
    written(tmp_path / "rows.csv", ROWS[:2], labelled=False)
    (tmp_path / "taken.csv.unfinished").mkdir()
    said = told(capfd, "predict", table, tmp_path / "rows.csv", "--out", tmp_path / "taken.csv")
    assert said.code == 2
    assert "taken.csv cannot be written" in said.err
    assert not (tmp_path / "taken.csv").exists()


# --- without torch --------------------------------------------------------------------------------


def test_a_folder_without_an_exported_form_says_what_it_needs(table):
    with pytest.raises(ConfigError, match=r"no model\.onnx, which machines without torch need"):
        onnx.load(table)


def test_preprocessing_and_player_load_no_torch():
    rooms = ", ".join(f"distilfleet.deploy.{name}" for name in ("onnx", "samples", "predict"))
    script = f"import sys, {rooms}\nprint('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.split() == [b"False", b"False"]


def test_an_exported_form_says_what_torch_says(image, tmp_path, capfd):
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 17, (300, 8, 8)).astype(np.float64)
    np.savez(tmp_path / "x.npz", x=pixels, y=rng.integers(0, 3, 300))
    said = told(capfd, "export", image, "--to", "onnx", "--check", tmp_path / "x.npz")
    assert said.code == 0, said.err
    played = onnx.load(image)
    loaded = load(image)
    inputs = loaded.preprocess(pixels).numpy()
    assert np.allclose(played.probabilities(inputs), loaded.predict(pixels), atol=1e-5)

import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from distilfleet.core.errors import ConfigError, RecordError
from distilfleet.export import files
from distilfleet.export.exportable import answers, exportable
from distilfleet.export.files import EXPORTS, Exports, Wish, export
from distilfleet.export.judge import Check
from distilfleet.export.play import onnx as play
from distilfleet.export.runtimes import RUNTIMES, runtime
from distilfleet.nn import zoo

SHAPE = (1, 8, 8)
SAMPLES = np.random.default_rng(0).normal(size=(40, *SHAPE)).astype(np.float32)
ONNX = RUNTIMES["onnx"]


@pytest.fixture(scope="module")
def net():
    return zoo.model("conv-xs", SHAPE, 4).build(seed=0).eval()


@pytest.fixture(scope="module")
def trial(net):
    expected = answers(net, SAMPLES)
    return Check(inputs=SAMPLES, labels=expected.argmax(-1), expected=expected, data="noise")


@pytest.fixture(scope="module")
def folder(net, trial, tmp_path_factory):
    """A folder with the net in three precisions."""
    made = tmp_path_factory.mktemp("model")
    for precision in ONNX.precisions:
        wish = Wish(runtime=ONNX, precision=precision, most_loss=100)
        export(exportable(net, SAMPLES), wish, trial, made)
    return made


@pytest.fixture(scope="module")
def verdicts(folder):
    return {verdict.precision: verdict for verdict in files.read(folder).exports}


def test_a_file_answers_as_torch_does_for_any_number_of_samples(folder, net):
    player = play.load(folder / "model.onnx")
    for count in (1, 2, 5):
        np.testing.assert_allclose(
            player(SAMPLES[:count]), answers(net, SAMPLES[:count]), atol=2e-5
        )


def test_a_file_has_its_weights_in_it_and_no_notes_of_where_it_was_made(folder, verdicts):
    data = (folder / "model.onnx").read_bytes()
    assert not [
        word for word in (b".py", b"distilfleet", b"stack_trace", b"torch.nn") if word in data
    ]
    assert verdicts["float32"].bytes == len(data) < 1.6 * verdicts["float32"].weight_bytes
    assert sorted(file.name for file in folder.iterdir()) == [
        EXPORTS,
        "model.float16.onnx",
        "model.int8.onnx",
        "model.onnx",
    ]


def test_a_verdict_says_what_the_file_is_worth(verdicts, net):
    whole = verdicts["float32"]
    assert whole.largest_difference < 2e-5
    assert (whole.accuracy, whole.same_class_share, whole.lost_points) == (1, 1, 0)
    assert whole.weight_bytes == 4 * sum(weight.numel() for weight in net.parameters())
    assert 0 < whole.sample_s < 1
    assert 1 << 20 < whole.peak_memory_bytes < 300 << 20
    assert whole.version.startswith("onnxruntime 1.")


def test_fewer_bits_differ_more(verdicts):
    differences = [verdicts[precision].largest_difference for precision in ONNX.precisions]
    assert differences == sorted(set(differences))
    assert verdicts["float16"].bytes < verdicts["float32"].bytes


def test_a_file_that_loses_more_than_it_may_is_not_kept(net, trial, tmp_path):
    others = exportable(zoo.model("conv-xs", SHAPE, 4).build(seed=1).eval(), SAMPLES)
    with pytest.raises(ConfigError, match=r"loses \d+\.\d+ points, at most 1 are allowed"):
        export(others, Wish(runtime=ONNX), trial, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_answer_that_is_no_number_is_refused(net, trial, tmp_path):
    broken = zoo.model("conv-xs", SHAPE, 4).build(seed=0).eval()
    with torch.no_grad():
        broken.head[-1].bias[0] = torch.inf
    with pytest.raises(ConfigError, match=r"answers with numbers that are not finite"):
        export(exportable(broken, SAMPLES), Wish(runtime=ONNX), trial, tmp_path)


def test_a_model_that_cannot_be_written_is_refused_in_a_sentence(trial, tmp_path):
    class Sorting(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvalsh(x[:, 0])[:, :4]

    with pytest.raises(ConfigError, match=r"this model cannot be written for onnx: "):
        export(exportable(Sorting(), SAMPLES), Wish(runtime=ONNX), trial, tmp_path)


def test_what_a_runtime_does_not_offer_is_refused_with_what_it_does(net, trial, tmp_path):
    alone = replace(Wish(runtime=ONNX), runtime=msgspec.structs.replace(ONNX, of_others=False))
    with pytest.raises(ConfigError, match="onnx is not for classifiers"):
        export(exportable(net, SAMPLES), alone, trial, tmp_path)
    whole = msgspec.structs.replace(ONNX, precisions=("float32",))
    with pytest.raises(ConfigError, match="not written in int8; there is float32"):
        export(exportable(net, SAMPLES), Wish(runtime=whole, precision="int8"), trial, tmp_path)
    with pytest.raises(ConfigError, match=r"no runtime 'onxx' .*did you mean onnx"):
        runtime("onxx")
    with pytest.raises(ConfigError, match="at least 2 samples"):
        exportable(net, SAMPLES[:1])


def test_an_older_verdict_on_a_file_gives_way(folder, verdicts):
    files._note(folder, msgspec.structs.replace(verdicts["float32"], data="other"))
    assert sorted(kept.precision for kept in files.read(folder).exports) == sorted(ONNX.precisions)
    assert {kept.data for kept in files.read(folder).exports} == {"other", "noise"}


def test_verdicts_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / EXPORTS).write_text('{"exports": 3}')
    with pytest.raises(RecordError, match=r"exports\.json is damaged .*export again"):
        files.read(tmp_path)
    (tmp_path / EXPORTS).write_bytes(msgspec.json.encode(Exports(schema=99)))
    with pytest.raises(RecordError, match="of schema 99; this version reads 1"):
        files.read(tmp_path)


def test_a_file_is_played_without_torch():
    script = (
        "import sys, distilfleet.export.measure, distilfleet.export.play.onnx\n"
        "print(*{'torch', 'transformers', 'sklearn', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_a_language_model_takes_texts_of_any_number_and_length(tmp_path):
    class Reader(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(20, 8)
            self.head = torch.nn.Linear(8, 20)

        def forward(self, ids):
            summed = self.table(ids).cumsum(1)
            return self.head(summed)

    torch.manual_seed(0)
    ids = np.random.default_rng(0).integers(0, 20, (6, 9)).astype(np.int32)
    model = exportable(Reader(), ids, language=True)
    expected = answers(model.module, ids)
    trial = Check(inputs=ids, labels=expected.argmax(-1), expected=expected, data="ids")
    assert export(model, Wish(runtime=ONNX), trial, tmp_path).accuracy == 1
    player = play.load(tmp_path / "model.onnx")
    np.testing.assert_allclose(player(ids[:1, :4]), answers(model.module, ids[:1, :4]), atol=1e-5)

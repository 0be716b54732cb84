"""Whether a model comes trained is decided by what lies in its folder, however that is called."""

from dataclasses import replace

import pytest
import torch
import transformers

from distilfleet.data import tokenizer
from distilfleet.nn.language import DTYPE, LanguageModel
from distilfleet.recipes.language import TEXT, Language, comes_trained, text_setup

LINE = "turn the light on and the music off please\n"


def saved(folder):
    """A trained model with its tokenizer, and its weights."""
    made = tokenizer.train([LINE], 280)
    settings = transformers.LlamaConfig(
        vocab_size=made.vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=32,
    )
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(settings, **{DTYPE: torch.float32})
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(made.data)
    return made, model


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text(LINE * 200)
    return tmp_path


@pytest.mark.parametrize(
    "spelled",
    [
        "mine",
        "llama-mine",
        "llama-tiny",
        "./llama-3.2-1b/",
        "llama:32x1",
        "llama:32x1/",
        "bytes",
        "{here}/sources",
    ],
)
def test_a_folder_with_weights_comes_trained(here, spelled):
    spelled = spelled.format(here=here)
    made, model = saved(here / spelled)
    one = text_setup(
        replace(TEXT, data="notes.txt", devices=2),
        Language(teacher=spelled, student="llama:32x2", context=16),
    )
    assert one.pretraining_data is None
    assert one.source.tokenizer.digest == made.digest
    built = one.teacher.build(0)
    assert torch.equal(built.lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize("name", ["llama-tiny", "llama:32x1", "llama-3.1-8b"])
def test_a_folder_without_a_model_changes_no_name(here, name):
    assert not comes_trained(name)
    (here / name).mkdir()
    (here / name / "metrics.jsonl").write_text("{}")
    assert not comes_trained(name)


def test_new_models_are_trained_first(here):
    one = text_setup(
        replace(TEXT, data="notes.txt", devices=2),
        Language(teacher="llama:32x1", student="llama:32x1", context=16),
    )
    assert len(one.pretraining_data) > 0
    assert isinstance(one.teacher, LanguageModel)


def test_settings_of_a_training_that_does_not_take_place_are_named(here):
    saved(here / "llama-mine")
    asked = Language(teacher="llama-mine", student="llama:32x1", context=16, pretrain_steps=5)
    one = text_setup(replace(TEXT, data="notes.txt", devices=2), asked)
    assert "--pretrain-steps not used: llama-mine comes trained" in one.source.notes

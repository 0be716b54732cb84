"""Folders of tiny pretrained models, as `save_pretrained` writes them: random weights, a few
thousand of them."""

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "turn", "the", "light", "on", "off"]
WORDS += ["please", "play", "some", "music", "now"]
ENCODER = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
BERT = {**ENCODER, "vocab_size": len(WORDS), "max_position_embeddings": 12}


def saved(net, folder):
    net.save_pretrained(folder)
    return f"hf:{folder}"


def names(labels):
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: at for at, label in enumerate(labels)},
    }


def picture_model(folder, labels=("cat", "dog", "eel"), side=8, channels=3):
    """A ViT for pictures of 8 by 8, and its processor."""
    torch.manual_seed(1)
    config = transformers.ViTConfig(
        **ENCODER, image_size=side, patch_size=4, num_channels=channels, **names(labels)
    )
    facts = {
        "size": {"height": side, "width": side},
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.4],
    }
    transformers.ViTImageProcessor(**facts).save_pretrained(folder)
    return saved(transformers.ViTForImageClassification(config), folder)


def text_model(folder, labels=("on", "off"), kind=transformers.BertForSequenceClassification):
    """A BERT, and a tokenizer of few words."""
    torch.manual_seed(2)
    tokenizer(folder)
    return saved(kind(transformers.BertConfig(**BERT, **names(labels))), folder)


def tokenizer(folder):
    split = Tokenizer(
        models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    split.pre_tokenizer = pre_tokenizers.Whitespace()
    split.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
    }
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=split, model_max_length=10, **special
    )
    fast.save_pretrained(folder)


def sound_model(folder, labels=("clap", "hum", "ring")):
    """A wav2vec 2.0 for sounds at 16 kHz."""
    torch.manual_seed(3)
    config = transformers.Wav2Vec2Config(
        **ENCODER,
        **names(labels),
        conv_dim=(8, 8),
        conv_kernel=(8, 4),
        conv_stride=(4, 4),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        mask_time_prob=0.0,
        vocab_size=8,
    )
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=16000).save_pretrained(folder)
    return saved(transformers.Wav2Vec2ForSequenceClassification(config), folder)


def series_model(folder, labels=("rest", "walk"), channels=2, steps=24):
    """A PatchTST for series of two channels."""
    torch.manual_seed(4)
    config = transformers.PatchTSTConfig(
        **names(labels),
        num_input_channels=channels,
        context_length=steps,
        patch_length=6,
        patch_stride=6,
        num_targets=len(labels),
        d_model=16,
        num_attention_heads=2,
        ffn_dim=24,
        num_hidden_layers=2,
        use_cls_token=True,
    )
    return saved(transformers.PatchTSTForClassification(config), folder)


def spectra_model(folder, labels=("clap", "hum", "ring")):
    """An audio spectrogram transformer, whose extractor makes spectra of waves."""
    torch.manual_seed(5)
    bands = {"num_mel_bins": 16, "max_length": 32}
    config = transformers.ASTConfig(**ENCODER, **bands, **names(labels), patch_size=16)
    transformers.ASTFeatureExtractor(**bands).save_pretrained(folder)
    return saved(transformers.ASTForAudioClassification(config), folder)


def without_a_base(folder, labels=("cat", "dog", "eel")):
    """A SigLIP for pictures, whose class has its encoder under another name than it says."""
    torch.manual_seed(6)
    sizes = {**ENCODER, "image_size": 8, "patch_size": 4}
    config = transformers.SiglipConfig(
        vision_config=sizes, text_config={**ENCODER, "vocab_size": 8}, **names(labels)
    )
    transformers.ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(folder)
    return saved(transformers.SiglipForImageClassification(config), folder)


def mobile_model(folder, labels=("cat", "dog", "eel")):
    """A MobileNetV1, which reads the strides of its convolutions itself."""
    torch.manual_seed(7)
    config = transformers.MobileNetV1Config(depth_multiplier=0.1, image_size=32, **names(labels))
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return saved(transformers.MobileNetV1ForImageClassification(config), folder)

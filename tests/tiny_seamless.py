# SPDX-License-Identifier: GPL-3.0-or-later
"""A SeamlessM4T v2 of random weights, small enough for tests, in a folder."""

from pathlib import Path

import numpy as np

WIDTH, LAYERS = 16, 2
SENTENCE = "the quick brown fox jumps over the lazy dog and runs away from {} cats"
SMALL = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 1,
    "speech_encoder_layers": 2,
    "speech_encoder_attention_heads": 2,
    "speech_encoder_intermediate_size": 32,
    "encoder_layers": 1,
    "encoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_layers": LAYERS,
    "decoder_ffn_dim": 32,
    "decoder_attention_heads": 2,
    "max_position_embeddings": 512,
}


def write_tiny_seamless(folder: Path, sure: float = 1.0) -> None:
    """Writes config, weights, tokenizer and feature extractor.

    Args:
        folder: that is made.
        sure: factor of the logits; with a large one the model is sure of what it says.
    """
    import sentencepiece
    import torch
    from transformers import (
        SeamlessM4TFeatureExtractor,
        SeamlessM4TTokenizer,
        SeamlessM4Tv2Config,
        SeamlessM4Tv2ForSpeechToText,
    )

    folder.mkdir()
    pieces, text = folder / "pieces", folder / "text"
    text.write_text("\n".join(SENTENCE.format(n) for n in range(200)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(pieces), vocab_size=60, model_type="bpe", unk_id=0,
        bos_id=1, eos_id=2, pad_id=-1, minloglevel=2,
    )  # fmt: skip
    words = SeamlessM4TTokenizer(
        str(pieces.with_suffix(".model")), additional_special_tokens=["__eng__", "__fra__"]
    )
    torch.manual_seed(0)
    model = SeamlessM4Tv2ForSpeechToText(SeamlessM4Tv2Config(vocab_size=len(words), **SMALL))
    with torch.no_grad():
        model.text_decoder.layer_norm.weight.mul_(sure)
        for parameter in model.speech_encoder.inner_layer_norm.parameters():
            parameter.add_(0.1 * torch.randn(WIDTH))
        for number in range(LAYERS):
            for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
                attention = model.text_decoder.layers[number].cross_attention
                getattr(attention, name).weight.normal_(0.0, 0.7)
    model.generation_config.text_decoder_lang_to_code_id = {
        name: words.convert_tokens_to_ids(f"__{name}__") for name in ("eng", "fra")
    }
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    SeamlessM4TFeatureExtractor().save_pretrained(folder)


def murmur(seconds: float, rate_hz: int = 24000) -> np.ndarray:
    """What is no speech and sounds like it: a voice whose pitch and vowels change, and noise."""
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    phase = 2.0 * np.pi * np.cumsum(120.0 + 30.0 * np.sin(4.0 * time_s)) / rate_hz
    tones = sum(np.sin(n * phase) * (1.0 + np.sin(n * 3.0 * time_s)) / n for n in range(1, 20))
    noise = np.random.default_rng(0).normal(size=len(time_s))
    return (0.05 * tones + 0.003 * noise).astype(np.float32)

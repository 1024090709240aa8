# SPDX-License-Identifier: GPL-3.0-or-later
"""Whisper as CTranslate2 stores it, as a ``WhisperModel`` of transformers, so that it can teach.

faster-whisper's models are files of CTranslate2 (``model.bin``), which only infers. A gradient
needs the same weights in torch.
"""

import struct
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import WhisperConfig, WhisperModel

# Of CTranslate2's `DataType`.
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
MOST_VARIABLES = 10_000
HEAD_WIDTH = 64
# Name in transformers of the parts of one layer, by CTranslate2's.
NORMS = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
}
LINEAR = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}


def read_variables(path: Path) -> dict[str, np.ndarray]:
    """Variables of a ``model.bin`` by name, those in 8 bit scaled back to float32.

    Raises:
        ValueError: the file is missing, cut, or of another kind.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing: give a folder of a faster-whisper model")
    data, at = path.read_bytes(), 0

    def take(form: str) -> tuple:
        nonlocal at
        found = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return found

    def text() -> str:
        (size,) = take("H")
        (found,) = take(f"{size}s")
        return found.rstrip(b"\0").decode()

    try:
        (version,) = take("I")
        kind = text()
        _, count = take("II")
        if kind != "WhisperSpec" or version < 4 or count > MOST_VARIABLES:
            raise ValueError(f"it is a {kind!r} of format {version}")
        found = {}
        for _ in range(count):
            name, (rank,) = text(), take("B")
            shape = take(f"{rank}I")
            kind_of, size = take("BI")
            if at + size > len(data):
                raise ValueError(f"it ends within {name}")
            values = np.frombuffer(data, TYPES[kind_of], size // TYPES[kind_of]().nbytes, at)
            found[name] = values.reshape(shape)
            at += size
        for _ in range(take("I")[0]):
            alias, name = text(), text()
            found[alias] = found[name]
    except (struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no Whisper model of CTranslate2 ({error})") from error
    return {name: scaled(name, found) for name in found if not name.endswith("_scale")}


def scaled(name: str, variables: dict[str, np.ndarray]) -> np.ndarray:
    """Returns a variable's values; 8-bit ones are divided by their scale."""
    value, scale = variables[name], variables.get(f"{name}_scale")
    if value.dtype != np.int8 or scale is None:
        return value
    return value.astype(np.float32) / scale.reshape(-1, *(1,) * (value.ndim - 1))


def whisper_of(folder: Path) -> WhisperModel:
    """Whisper in evaluation mode and float32, without gradients of its own.

    Args:
        folder: of a faster-whisper model.

    Raises:
        ValueError: ``model.bin`` is missing, or no Whisper model.
    """
    found = read_variables(folder / "model.bin")
    width = found["encoder/conv1/bias"].shape[0]
    layers = {part: layers_of(found, part) for part in ("encoder", "decoder")}
    config = WhisperConfig(
        vocab_size=found["decoder/embeddings/weight"].shape[0],
        num_mel_bins=found["encoder/conv1/weight"].shape[1],
        d_model=width,
        encoder_layers=layers["encoder"],
        decoder_layers=layers["decoder"],
        encoder_attention_heads=width // HEAD_WIDTH,
        decoder_attention_heads=width // HEAD_WIDTH,
        encoder_ffn_dim=found["encoder/layer_0/ffn/linear_0/bias"].shape[0],
        decoder_ffn_dim=found["decoder/layer_0/ffn/linear_0/bias"].shape[0],
        max_source_positions=found["encoder/position_encodings/encodings"].shape[0],
        max_target_positions=found["decoder/position_encodings/encodings"].shape[0],
    )
    # Weights take their places without others there before, which would be drawn and thrown away.
    with torch.device("meta"):
        model = WhisperModel(config)
    missing, unexpected = model.load_state_dict(state_of(found, layers), strict=False, assign=True)
    # Keys have no bias, which transformers' layers leave out as well.
    if unexpected or missing:
        raise ValueError(f"{folder} lacks {missing[:3]} and has {unexpected[:3]}")
    return model.eval().requires_grad_(False)


def layers_of(found: dict[str, np.ndarray], part: str) -> int:
    """Returns how many layers ``part`` of the model has."""
    return sum(n.startswith(f"{part}/layer_") and n.endswith("ffn/linear_0/bias") for n in found)


def state_of(found: dict[str, np.ndarray], layers: dict[str, int]) -> dict[str, torch.Tensor]:
    """``state_dict`` of ``WhisperModel``, from CTranslate2's variables."""

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(found[name].astype(np.float32))

    state = {}
    for part in ("encoder", "decoder"):
        state[f"{part}.embed_positions.weight"] = tensor(f"{part}/position_encodings/encodings")
        norms = {f"{part}/layer_norm": f"{part}.layer_norm"}
        for number in range(layers[part]):
            theirs, ours = f"{part}/layer_{number}", f"{part}.layers.{number}"
            norms |= {f"{theirs}/{a}": f"{ours}.{b}" for a, b in NORMS.items()}
            for name, parts in LINEAR.items():
                if f"{theirs}/{name}/weight" not in found:
                    continue
                for kind in ("weight", "bias"):
                    pieces = tensor(f"{theirs}/{name}/{kind}").chunk(len(parts))
                    for piece, projection in zip(pieces, parts, strict=True):
                        if not (kind == "bias" and projection.endswith("k_proj")):
                            state[f"{ours}.{projection}.{kind}"] = piece.clone()
        for theirs, ours in norms.items():
            if f"{theirs}/gamma" in found:
                state[f"{ours}.weight"] = tensor(f"{theirs}/gamma")
                state[f"{ours}.bias"] = tensor(f"{theirs}/beta")
    for number in (1, 2):
        for kind in ("weight", "bias"):
            state[f"encoder.conv{number}.{kind}"] = tensor(f"encoder/conv{number}/{kind}")
    state["decoder.embed_tokens.weight"] = tensor("decoder/embeddings/weight")
    return state


def encoded(whisper: nn.Module, mel: torch.Tensor) -> torch.Tensor:
    """Features ``[B, T / 2, width]`` of log-mel frames ``[B, bands, T]``, T even, at most 3000.

    ``WhisperEncoder`` itself takes windows of 30 s only.
    """
    encoder = whisper.encoder
    x = nn.functional.gelu(encoder.conv1(mel))
    x = nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
    x = x + encoder.embed_positions.weight[: x.shape[1]]
    for layer in encoder.layers:
        x = layer(x, attention_mask=None, layer_head_mask=None)[0]
    return encoder.layer_norm(x)


def token_logits(whisper: nn.Module, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Logits ``[B, n, vocabulary]`` of what follows each of ``tokens`` ``[B, n]``."""
    hidden = whisper.decoder(
        input_ids=tokens, encoder_hidden_states=features, use_cache=False
    ).last_hidden_state
    return hidden @ whisper.decoder.embed_tokens.weight.T

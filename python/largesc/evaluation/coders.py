# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech coders without a link, ours and others, all alike: speech in, speech out, bits counted."""

from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

RATE_HZ = 24000
FRAME_SAMPLES = 1920


class OwnCoder:
    """Our codec with the first ``tokens`` tokens of each frame.

    Args:
        source: model source, see :func:`..models.loader.load_codec`.
        tokens: 1 to 8.
    """

    def __init__(self, source: str, tokens: int) -> None:
        from ..models.loader import load_codec

        self.codec, self.tokens = load_codec(source), tokens
        self.name = f"{tokens} token" + ("s" if tokens > 1 else "")
        self.payload_bps = tokens * 11 * 12.5

    def code(self, samples: np.ndarray) -> np.ndarray:
        """Decoded speech, aligned and as long, float32 at 24 kHz."""
        import torch

        delay, length = self.codec.delay_samples, len(samples)
        frames = -(-(length + delay) // FRAME_SAMPLES)
        padded = np.zeros(frames * FRAME_SAMPLES, dtype=np.float32)
        padded[:length] = samples
        with torch.inference_mode():
            codes = self.codec.model.encode(torch.from_numpy(padded)[None, None])
            decoded = self.codec.model.decode(codes[:, : self.tokens])
        return decoded[0, 0, delay : delay + length].numpy()


class Lyra:
    """Lyra v2 from its TFLite models: 16 kHz, frames of 20 ms, 4 bit a stage.

    Args:
        folder: holds ``soundstream_encoder.tflite``, ``quantizer.tflite``, ``lyragan.tflite``.
        bps: 3200, 6000 or 9200.
    """

    STAGES = {3200: 16, 6000: 30, 9200: 46}

    def __init__(self, folder: Path, bps: int) -> None:
        self.folder, self.stages = folder, self.STAGES[bps]
        self.name, self.payload_bps = f"Lyra v2 {bps / 1000:.1f} kbps", float(bps)

    def code(self, samples: np.ndarray) -> np.ndarray:
        """Decoded speech, aligned and as long, float32 at 24 kHz."""
        from ai_edge_litert.interpreter import Interpreter

        # A new interpreter for each utterance: the state of the networks lives in it.
        models = [
            Interpreter(str(self.folder / f"{name}.tflite"))
            for name in ("soundstream_encoder", "quantizer", "lyragan")
        ]
        encode, decode = (models[i].get_signature_runner("serving_default") for i in (0, 2))
        quantise = models[1].get_signature_runner("encode")
        look_up = models[1].get_signature_runner("decode")
        heard = resample_poly(samples, 2, 3).astype(np.float32)
        frames = -(-len(heard) // 320)
        padded = np.zeros(frames * 320, dtype=np.float32)
        padded[: len(heard)] = heard
        out = []
        for frame in padded.reshape(frames, 1, 320):
            features = encode(input_audio=frame)["output_0"]
            found = quantise(input_frames=features, num_quantizers=np.int32(self.stages))
            restored = look_up(encoding_indices=found["output_0"])["output_0"]
            out.append(decode(input_audio=restored)["output_0"][0])
        return align(samples, resample_poly(np.concatenate(out), 3, 2))


class Codec2:
    """Codec 2 of the in-tree gr-vocoder, 8 kHz.

    Args:
        bps: 1200 or 2400.
    """

    def __init__(self, bps: int) -> None:
        self.bps = bps
        self.name, self.payload_bps = f"Codec 2 {bps}", float(bps)

    def code(self, samples: np.ndarray) -> np.ndarray:
        """Decoded speech, aligned and as long, float32 at 24 kHz."""
        from gnuradio import blocks, gr, vocoder

        mode = getattr(vocoder.codec2, f"MODE_{self.bps}")
        heard = np.clip(32767 * resample_poly(samples, 1, 3), -32768, 32767).astype(int)
        tb = gr.top_block()
        sink = blocks.vector_sink_s()
        tb.connect(
            blocks.vector_source_s([*heard.tolist(), *([0] * 960)]),
            vocoder.codec2_encode_sp(mode),
            vocoder.codec2_decode_ps(mode),
            sink,
        )
        tb.run()
        decoded = np.array(sink.data(), dtype=np.float32) / 32768.0
        return align(samples, resample_poly(decoded, 3, 1))


def align(original: np.ndarray, decoded: np.ndarray, most: int = 2400) -> np.ndarray:
    """Decoded speech moved by the delay that fits best, 0 to ``most`` samples, cut to length."""
    size = len(original) + most
    spectra = [np.fft.rfft(envelope(x), 2 * size) for x in (original, decoded[:size])]
    match = np.fft.irfft(np.conj(spectra[0]) * spectra[1])[: most + 1]
    delay = int(np.argmax(match))
    out = np.zeros(len(original), dtype=np.float32)
    part = decoded[delay : delay + len(original)]
    out[: len(part)] = part
    return out


def envelope(samples: np.ndarray) -> np.ndarray:
    """Smoothed magnitude: coders that do not keep the phase still keep the envelope."""
    smooth = np.ones(120) / 120
    return np.convolve(np.abs(samples), smooth, "same") - np.mean(np.abs(samples))

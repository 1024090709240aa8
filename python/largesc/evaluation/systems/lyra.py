# SPDX-License-Identifier: GPL-3.0-or-later
"""Lyra v2 (SoundStream) from its TFLite models, with repetition or a neural concealer."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ...channel.loss_timeline import LossChannel
from .system import Decoded, Latency, Packets, bare_packets, framed, heard_at, speech_of

RATE_HZ, FRAME = 16000, 320
FRAMES_A_PACKET = 4
STAGES = {3200: 16, 6000: 30, 9200: 46}
# Gain of the frames of 20 ms of a gap: a packet is repeated, then it fades over two more.
FADE = np.concatenate(
    [np.ones(FRAMES_A_PACKET), np.linspace(1.0, 0.0, 2 * FRAMES_A_PACKET + 1)[1:]]
)
HOP = 160


class Lyra:
    """Lyra v2, four frames of 20 ms a packet, so that headers cost as much as ours.

    Args:
        folder: holds ``soundstream_encoder.tflite``, ``quantizer.tflite``, ``lyragan.tflite``.
        bps: 3200, 6000 or 9200.
        concealer: TFLite file of tPLCnet, which fills gaps of the decoded speech; None: the last
            features are repeated and fade.
    """

    def __init__(self, folder: Path | None, bps: int, concealer: Path | None = None) -> None:
        self.folder, self.bps, self.concealer = folder, bps, concealer
        self.name = f"Lyra v2 {bps / 1000:.1f} kbit/s" + (", tPLCnet" if concealer else "")
        # tPLCnet looks 10 ms ahead.
        self.latency = Latency(80.0, 10.0 if concealer else 0.0)

    def missing(self) -> str:
        if find_spec("ai_edge_litert") is None:
            return "ai-edge-litert (requirements-evaluation.txt)"
        if self.folder is None or not (self.folder / "lyragan.tflite").exists():
            return "Lyra's models: --lyra FOLDER, from github.com/google/lyra"
        if self.concealer and not self.concealer.exists():
            return f"tPLCnet's model: {self.concealer} is missing"
        return ""

    def _runner(self, path: Path, signature: str = "serving_default") -> object:
        from ai_edge_litert.interpreter import Interpreter

        # A new interpreter for each utterance: the state of the networks lives in it.
        return Interpreter(str(path)).get_signature_runner(signature)

    def encode(self, speech: np.ndarray, channel: LossChannel) -> Packets:
        encode = self._runner(self.folder / "soundstream_encoder.tflite")
        quantise = self._runner(self.folder / "quantizer.tflite", "encode")
        look_up = self._runner(self.folder / "quantizer.tflite", "decode")
        stages = np.int32(STAGES[self.bps])
        frames = framed(heard_at(speech, RATE_HZ), FRAME * FRAMES_A_PACKET).reshape(-1, 1, FRAME)
        features = []
        for frame in frames:
            latent = encode(input_audio=frame)["output_0"]
            found = quantise(input_frames=latent, num_quantizers=stages)["output_0"]
            features.append(look_up(encoding_indices=found)["output_0"])
        size = self.bps * 80 // 1000 // 8
        count = len(frames) // FRAMES_A_PACKET
        packets = bare_packets([bytes(size)] * count, 80.0)
        groups = [features[FRAMES_A_PACKET * n :][:FRAMES_A_PACKET] for n in range(count)]
        return Packets(packets.leave_ms, packets.radio_bytes, packets.payload_bits, groups)

    def decode(self, packets: Packets, lost: np.ndarray, samples: int) -> Decoded:
        decode = self._runner(self.folder / "lyragan.tflite")
        out, last, run = [], None, 0
        for group, gone in zip(packets.data, lost, strict=True):
            for features in group:
                run = run + 1 if gone else 0
                if not gone:
                    last = features
                if last is None:
                    out.append(np.zeros(FRAME, dtype=np.float32))
                    continue
                pcm = decode(input_audio=last)["output_0"][0]
                gain = FADE[min(run, len(FADE)) - 1] if run and not self.concealer else 1.0
                out.append(gain * pcm)
        pcm = np.concatenate(out)
        if self.concealer:
            pcm = self._concealed(pcm, np.repeat(lost, FRAMES_A_PACKET * FRAME // HOP))
        return Decoded(speech_of(pcm, RATE_HZ, 0, samples))

    def _concealed(self, pcm: np.ndarray, lost: np.ndarray) -> np.ndarray:
        """``pcm`` whose ``lost`` frames of 10 ms are made up from the four before each.

        The model takes six frames, the lost ones zero, and returns the fifth and sixth; with the
        sixth it fades into what comes next.
        """
        conceal = self._runner(self.concealer)
        frames = pcm.reshape(-1, HOP).copy()
        frames[lost] = 0.0
        history = np.vstack(
            [np.zeros((4, HOP), np.float32), frames, np.zeros((1, HOP), np.float32)]
        )
        up = np.linspace(0.0, 1.0, HOP, dtype=np.float32)
        for n in np.flatnonzero(lost):
            made = conceal(in_1=history[n : n + 6][None].astype(np.float32))
            pair = next(iter(made.values()))[0].reshape(2, HOP)
            history[n + 4] = pair[0]
            if n + 1 < len(lost) and not lost[n + 1]:
                history[n + 5] = up * history[n + 5] + (1.0 - up) * pair[1]
        return history[4:-1].ravel()

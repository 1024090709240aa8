# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of the study `task`: the teacher as a judge, of speech as it is and behind speech links."""

import time
from pathlib import Path

import numpy as np
import torch

from ..channel.loss_timeline import LossChannel
from ..evaluation.systems.codec2 import Codec2
from ..evaluation.systems.own import OwnSystem
from ..evaluation.systems.system import System
from ..evaluation.task_link import Heard
from ..features.student import padded
from ..speech.format import SAMPLE_RATE_HZ
from ..tables import read_csv
from ..training.command_teacher import WhisperFeatures
from ..training.recipes.task_teacher import load_heads

# Weights of the encoder of Whisper base.
WHISPER_WEIGHTS = 20_590_592
PIECE = 32
# Silence about a recording, which the links need to begin and to end.
AROUND = SAMPLE_RATE_HZ // 2
SNRS_DB = (-5.0, 0.0, 2.0, 3.0, 5.0, 10.0, 20.0)


class Teacher:
    """Whisper's encoder with the head that has heard all speakers of the training set.

    Args:
        work: folder of ``largesc train task-teacher``.
        labels: that it must know.

    Raises:
        ValueError: there is none, or it knows others.
    """

    def __init__(self, work: Path, labels: tuple[str, ...]) -> None:
        state, heads = load_heads(work)
        if tuple(state["labels"]) != labels:
            raise ValueError(f"the teacher in {work} knows other labels than the model: train it")
        self.name, self._head = f"Whisper {state['recogniser']}", heads["all"]
        self._whisper = WhisperFeatures(state["recogniser"])
        self.weights = WHISPER_WEIGHTS + sum(p.numel() for p in self._head.parameters())

    @torch.no_grad()
    def __call__(self, speech: list[np.ndarray]) -> torch.Tensor:
        """Returns the teacher's logits ``[clips, labels]`` of recordings."""
        found = []
        for first in range(0, len(speech), PIECE):
            heard = np.stack([padded(s) for s in speech[first : first + PIECE]])
            found.append(self._head(torch.from_numpy(self._whisper(heard))))
        return torch.cat(found)

    def encoder_ms(self, speech: list[np.ndarray]) -> float:
        """Processor time of one command, the median over recordings."""
        times = []
        for samples in speech:
            began = time.process_time()
            self([samples])
            times.append(1e3 * (time.process_time() - began))
        return round(float(np.median(times)), 1)


def lost_at(table: Path) -> tuple[np.ndarray, np.ndarray]:
    """Es/N0 in dB and share of lost packets of the profile `ssb`, from ``radio_per.csv``.

    Raises:
        ValueError: the table is missing, or another one.
    """
    known = read_csv(table) if table.is_file() else []
    rows = [r for r in known if r.get("setting") == "ssb: QPSK, convolutional"]
    if not rows:
        raise ValueError(f"{table} has no rows of the profile ssb: give docs/results/radio_per.csv")
    rows.sort(key=lambda r: float(r["esn0_db"]))
    return (
        np.array([float(r["esn0_db"]) for r in rows]),
        np.array([float(r["per"]) for r in rows]),
    )


def packet_loss(kind: str, snr_db: float, curve: tuple, rng: np.random.Generator) -> float:
    """Share of packets that are lost; with fading, of one drawn state of the channel."""
    gain = 1.0 if kind == "awgn" else float(rng.exponential())
    here_db = snr_db + 10.0 * np.log10(max(gain, 1e-6))
    es_n0_db, per = curve
    # Beyond the ends of the curve all is lost, or nothing.
    return float(np.interp(here_db, es_n0_db, per, left=1.0, right=0.0))


def through_speech_links(
    teacher: Teacher, heard: Heard, clips: int, table: Path, seed: int
) -> list[dict]:
    """What the teacher understands of speech behind our link and Codec 2 over the modem `ssb`."""
    curve = lost_at(table)
    spoken = np.flatnonzero(heard.label < heard.label.max())
    chosen = np.random.default_rng(seed).choice(spoken, min(clips, len(spoken)), replace=False)
    systems: dict[str, System] = {
        "our speech link": OwnSystem("ours", policy="fixed", tokens=(8, 0)),
        "Codec 2 700C": Codec2("700C"),
    }
    rows = []
    for name, system in systems.items():
        if system.missing():
            print(f"{name} is left out: {system.missing()}", flush=True)
            continue
        sent, decoded = [], {}
        for n in chosen:
            speech = np.pad(heard.speech[n], AROUND)
            sent.append((speech, system.encode(speech, LossChannel(0.0))))
        for kind in ("awgn", "rayleigh"):
            for snr_db in SNRS_DB:
                rng, played = np.random.default_rng(seed), []
                for number, (speech, packets) in enumerate(sent):
                    share = packet_loss(kind, snr_db, curve, rng)
                    lost = rng.random(len(packets.data)) < share
                    # Mostly all is lost, or nothing.
                    if (key := (number, lost.tobytes())) not in decoded:
                        decoded[key] = system.decode(packets, lost, len(speech)).speech
                    played.append(decoded[key][AROUND:-AROUND])
                found = teacher(played).argmax(1).numpy()
                right = float((found == heard.label[chosen]).mean())
                rows.append(
                    {
                        "system": name, "channel": kind, "snr_db": snr_db,
                        "commands": len(chosen), "right": round(right, 4),
                    }
                )  # fmt: skip
                print(rows[-1], flush=True)
    return rows

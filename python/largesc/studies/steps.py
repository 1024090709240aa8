# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws what policies do while the loss probability steps, as the paper's Fig. 9.

    largesc study steps --speech eval.tsv --output FOLDER

Losses are independent and the same for all policies; the controller knows p as it is. Writes
``steps.png``, and ``steps.csv`` with a row a frame and policy.
"""

import argparse
from pathlib import Path

import numpy as np

from .._core import TOKEN_BITS
from ..concealment.concealer import known_tokens
from ..control.policies import Channel, Decision
from ..evaluation.systems import own
from ..evaluation.systems.own import OwnSystem
from ..evaluation.systems.system import Packets
from ..evaluation.utterances import utterances
from ..speech.files import read_audio
from ..speech.format import FRAME_MS, FRAME_SAMPLES
from .picture import STATES, Transmission, draw
from .study import add_common, save_figure, save_rows

LOSSES = (0.0, 0.05, 0.2, 0.1, 0.3, 0.1)
STEP_FRAMES = 40


def fates(decisions: list[Decision], lost: np.ndarray, received: np.ndarray) -> np.ndarray:
    """Fate of each token, index into ``STATES``, ``[frames, 8]``."""
    states = np.zeros((len(decisions), 8), dtype=int)
    names = {name: number for number, name in enumerate(STATES)}
    for n, d in enumerate(decisions):
        sent, copied = "sent", "sent twice"
        if lost[n]:
            sent, copied = "lost", "lost, copy arrived" if received[n] else "lost"
        states[n, : d.tokens_sent] = names[sent]
        states[n, : d.tokens_repeated] = names[copied]
    return states


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser)
    parser.add_argument("--policies", default="table,exact,learned")
    parser.add_argument("--budget", type=float, default=1500.0, help="bit/s of payload")


def transmission(
    policy: str, budget_bps: float, speech: np.ndarray, seed: int
) -> tuple[Transmission, list[dict]]:
    """What becomes of ``speech``, and a row a frame."""
    system = OwnSystem(policy, policy=policy, deadline_ms=160)
    frames, encode_ms = own.encoded(system.codec, speech.tobytes())
    steps = [LOSSES[min(n // STEP_FRAMES, len(LOSSES) - 1)] for n in range(len(frames))]
    decisions = system.decide(frames, [Channel(p) for p in steps], budget_bps)
    lost = np.random.default_rng(seed).random(len(frames)) < np.array(steps)
    data = own.packed(frames, decisions, system.layout)
    arrived = own.arrived(data, lost, system.layout, len(frames), True)
    received = np.array([known_tokens(frame.tokens) for frame in arrived])
    facts = {"frames": frames, "encode_ms": encode_ms}
    packets = Packets(np.zeros(0), np.zeros(0), 0.0, data, facts)
    decoded = system.play(packets, arrived, len(speech)).speech
    tokens = np.array([d.tokens_sent + d.tokens_repeated for d in decisions])
    payload = 1000.0 * tokens * TOKEN_BITS / FRAME_MS
    title = f"{policy}, {payload.mean():.0f} bit/s: loss " + ", ".join(
        f"{100 * p:g}" for p in LOSSES
    )
    states = fates(decisions, lost, received)
    rows = [
        {
            "policy": policy,
            "frame": n,
            "loss": steps[n],
            "packet_lost": int(lost[n]),
            "tokens_sent": d.tokens_sent,
            "tokens_repeated": d.tokens_repeated,
            "tokens_received": int(received[n]),
        }
        for n, d in enumerate(decisions)
    ]
    return Transmission(f"{title} %", speech, decoded, states, payload, lost), rows


def study(args: argparse.Namespace) -> None:
    """Draws and writes what each policy does."""
    samples = len(LOSSES) * STEP_FRAMES * FRAME_SAMPLES
    files = [row["file"] for row in utterances(args.speech, 4)]
    speech = np.concatenate([read_audio(Path(file)) for file in files])[:samples]
    found = [
        transmission(policy, args.budget, speech, args.seed) for policy in args.policies.split(",")
    ]
    save_figure(args, "steps", draw([shown for shown, _ in found]), dpi=80)
    save_rows(args, "steps", [row for _, rows in found for row in rows])

# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws what policies do while the loss probability steps, as the paper's Fig. 9.

    python -m gnuradio.largesc.evaluation.steps_picture --speech eval.tsv --output steps.png

Losses are independent and the same for all policies; the controller knows p as it is.
"""

import argparse
from pathlib import Path

import numpy as np

from .._core import TOKEN_BITS
from ..concealment.concealer import known_tokens
from ..control.policies import Channel, Decision
from ..speech_files import read_audio
from .picture import STATES, Transmission, draw
from .systems import own
from .systems.own import FRAME_SAMPLES, OwnSystem
from .systems.system import Packets
from .table import utterances

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--speech", type=Path, required=True, help="tsv: path, corpus, speaker")
    parser.add_argument("--policies", default="table,exact,learned")
    parser.add_argument("--budget", type=float, default=1500.0, help="bit/s of payload")
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    args = parser.parse_args()
    samples = len(LOSSES) * STEP_FRAMES * FRAME_SAMPLES
    rows = utterances(args.speech, 4)
    speech = np.concatenate([read_audio(Path(row["file"])) for row in rows])[:samples]
    shown = []
    for policy in args.policies.split(","):
        system = OwnSystem(policy, policy=policy, deadline_ms=160)
        frames, encode_ms = own.encoded(system.codec, speech.tobytes())
        steps = [LOSSES[min(n // STEP_FRAMES, len(LOSSES) - 1)] for n in range(len(frames))]
        decisions = system.decide(frames, [Channel(p) for p in steps], args.budget)
        lost = np.random.default_rng(1).random(len(frames)) < np.array(steps)
        data = own.packed(frames, decisions, system.layout)
        arrived = own.arrived(data, lost, system.layout, len(frames), True)
        received = np.array([known_tokens(frame.tokens) for frame in arrived])
        facts = {"frames": frames, "encode_ms": encode_ms}
        packets = Packets(np.zeros(0), np.zeros(0), 0.0, data, facts)
        decoded = system.play(packets, arrived, len(speech)).speech
        tokens = np.array([d.tokens_sent + d.tokens_repeated for d in decisions])
        payload = 1000.0 * tokens * TOKEN_BITS / own.FRAME_MS
        title = f"{policy}, {payload.mean():.0f} bit/s: loss " + ", ".join(
            f"{100 * p:g}" for p in LOSSES
        )
        states = fates(decisions, lost, received)
        shown.append(Transmission(f"{title} %", speech, decoded, states, payload, lost))
    draw(shown, args.output)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast the sender follows a step of the loss, with reports over a lossy way back.

    largesc study closed_loop --output FOLDER

Packetizer, channel, live depacketizer, report format, pacing and controller are those of the link;
only the codec and the clock are missing, so that minutes take a second. Every frame is as loud and
as hard to code as the usual one. Writes closed_loop.csv and closed_loop.png.
"""

import argparse
from dataclasses import dataclass

import numpy as np

from .._core import Depacketizer, LossModel, PacketDecision, Packetizer
from ..control.policies import Channel, Controller, Frame
from ..control.report_follower import ReportFollower, ReportPacer
from ..packets.report import Report, decode, encode
from ..speech.format import FRAME_MS, FRAME_S
from .study import add_common, at_least_one, plt, save_figure, save_rows

TICK_MS = 10
FRAME = Frame(np.zeros(1, dtype=np.float32), -25.0)
TOKENS = list(range(8))


@dataclass(frozen=True)
class Loop:
    """A closed loop, and the step that it has to follow.

    Attributes:
        before_s, after_s: seconds before and behind the step of the loss from 0 to ``loss``.
        mean_burst_packets: of the loss behind the step, 1: independent.
        back_loss: independent, of the reports.
        one_way_ms: time of packets and reports on their way, a multiple of 10.
        deadline_ms: of the receiver.
    """

    policy: str = "exact"
    budget_bps: float = 1100.0
    loss: float = 0.3
    mean_burst_packets: float = 1.0
    back_loss: float = 0.3
    interval_ms: float = 600.0
    one_way_ms: int = 50
    deadline_ms: int = FRAME_MS
    before_s: float = 20.0
    after_s: float = 6.0


@dataclass(frozen=True)
class Course:
    """What one run did, a value a frame from the first one on.

    Attributes:
        p: loss probability that the controller goes by, ``[frames]``.
        tokens_repeated: its decision, ``[frames]``.
        report_bps: of all bits of the reports that were sent, CRC included.
    """

    p: np.ndarray
    tokens_repeated: np.ndarray
    report_bps: float


def run(loop: Loop, seed: int) -> Course:
    """Simulates one run, in simulated time, and returns its course."""
    random = np.random.default_rng(seed)
    kind = "bernoulli" if loop.mean_burst_packets == 1.0 else "gilbert_elliott"
    forward = LossModel(kind, loop.loss, loop.mean_burst_packets, seed=seed)
    back = LossModel("bernoulli", loop.back_loss, seed=seed + 1_000_000)
    sender, receiver = Packetizer(), Depacketizer(live=True, deadline_ms=loop.deadline_ms)
    controller = Controller(loop.policy, loop.budget_bps, loop.deadline_ms)
    pacer, follower = ReportPacer(loop.interval_ms), ReportFollower()
    # Each receiver has phases of its own.
    first_report_at = int(random.integers(1000))
    pull_at = TICK_MS * int(random.integers(FRAME_MS // TICK_MS))
    there: list[tuple[int, bytes]] = []
    here: list[tuple[int, bytes]] = []
    p, repeated, sequence, bits = [], [], 0, 0
    for now in range(0, int(1000 * (loop.before_s + loop.after_s)), TICK_MS):
        while here and here[0][0] <= now:
            follower.take(*decode(here.pop(0)[1], True), now)
        if now % FRAME_MS == 0:
            belief = follower.belief(now)
            channel = Channel(belief.loss_probability, belief.mean_burst_packets)
            how = controller.decide(FRAME, channel)
            p.append(channel.loss_probability)
            repeated.append(how.tokens_repeated)
            decision = PacketDecision(how.tokens_sent, how.tokens_repeated, how.copy_distance)
            for packet in sender.push(TOKENS, decision):
                if now < 1000 * loop.before_s or not forward.lost():
                    there.append((now + loop.one_way_ms, packet))
        while there and there[0][0] <= now:
            receiver.push(there.pop(0)[1], now * 1_000_000)
        if now % FRAME_MS == pull_at and receiver.pull(now * 1_000_000):
            report = Report(
                receiver.loss_probability, receiver.mean_burst, None, receiver.buffered_frames
            )
            if now >= first_report_at and pacer.due(report.loss_probability, now):
                data = encode(report, sequence, True)
                sequence += 1
                bits += 8 * len(data)
                if not back.lost():
                    here.append((now + loop.one_way_ms, data))
    return Course(np.array(p), np.array(repeated), bits / (loop.before_s + loop.after_s))


@dataclass(frozen=True)
class Following:
    """How the median of all runs follows the step; times in seconds behind it.

    Attributes:
        p_s: p is half of the loss.
        decision_s: tokens_repeated is half of what the policy takes when it knows p.
        changes: of the median decision in the 2 s behind ``decision_s``.
        most_changes: the same, of the single run that changes most.
    """

    p_s: float
    decision_s: float
    changes: int
    most_changes: int


def behind_step(loop: Loop, values: list[np.ndarray]) -> np.ndarray:
    """``[runs, frames]`` from the step on."""
    return np.array(values)[:, int(1000 * loop.before_s) // FRAME_MS :]


def reached_s(curve: np.ndarray, level: float) -> float:
    """Seconds until the curve is at the level; infinite where it never is."""
    found = np.flatnonzero(curve >= level)
    return FRAME_S * float(found[0]) if len(found) else float("inf")


def known_level(loop: Loop) -> float:
    """Mean of tokens_repeated when the controller knows the loss."""
    controller = Controller(loop.policy, loop.budget_bps, loop.deadline_ms)
    channel = Channel(loop.loss, loop.mean_burst_packets)
    return float(np.mean([controller.decide(FRAME, channel).tokens_repeated for _ in range(100)]))


def changes(curve: np.ndarray, from_s: float) -> int:
    """Changes of level in the 2 s behind ``from_s``."""
    first = round(1000 * from_s / FRAME_MS)
    return int(np.count_nonzero(np.diff(curve[first : first + 1 + 2000 // FRAME_MS])))


def following(loop: Loop, courses: list[Course]) -> Following:
    """Judges the median of the runs."""
    p = behind_step(loop, [course.p for course in courses])
    repeated = behind_step(loop, [course.tokens_repeated for course in courses])
    # Of an even number of runs the lower of the two in the middle: a decision, and no mean of two.
    median = np.percentile(repeated, 50, axis=0, method="lower")
    level = known_level(loop) / 2
    decision_s = reached_s(median, level)
    single = [changes(one, reached_s(one, level)) for one in repeated if one.max() >= level]
    return Following(
        reached_s(np.median(p, axis=0), loop.loss / 2),
        decision_s,
        changes(median, decision_s) if np.isfinite(decision_s) else -1,
        max(single, default=-1),
    )


# What is measured beside the default.
LOOPS = {
    "exact": Loop(),
    "exact, bursts of 3": Loop(mean_burst_packets=3.0),
    "exact, no loss on the way back": Loop(back_loss=0.0),
    "exact, 200 ms each way": Loop(one_way_ms=200),
    "exact, 1500 bit/s, deadline 320 ms": Loop(budget_bps=1500.0, deadline_ms=320),
    "table": Loop(policy="table"),
    "table, bursts of 3": Loop(policy="table", mean_burst_packets=3.0),
}


def draw(loop: Loop, courses: list[Course]) -> plt.Figure:
    """p and decision of all runs, and their medians."""
    figure, axes = plt.subplots(2, 1, figsize=(8, 5.5), sharex=True)
    labels = ["p that the controller goes by", "copied tokens a frame"]
    curves = [[c.p for c in courses], [c.tokens_repeated for c in courses]]
    for axis, values, label in zip(axes, curves, labels, strict=True):
        values = np.array(values)
        time = FRAME_S * np.arange(values.shape[1]) - loop.before_s
        axis.plot(time, values.T, color="C0", alpha=0.2, linewidth=0.8, drawstyle="steps-post")
        middle = np.percentile(values, 50, axis=0, method="lower")
        axis.plot(time, middle, color="C1", linewidth=2, drawstyle="steps-post", label="median")
        axis.axvline(0, color="k", linewidth=0.8)
        axis.axvline(1.5, color="k", linewidth=0.8, linestyle=":", label="1.5 s")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].axhline(
        loop.loss / 2, color="k", linewidth=0.8, linestyle="--", label="half of the step"
    )
    axes[0].legend(fontsize=8)
    axes[1].set_xlabel(f"seconds behind the step of the loss from 0 to {100 * loop.loss:g} %")
    axes[1].set_xlim(-1, loop.after_s)
    figure.tight_layout()
    return figure


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, speech=False)
    parser.add_argument("--runs", type=at_least_one, default=20, help="drawings of the losses [20]")


def study(args: argparse.Namespace) -> None:
    """Runs each loop, prints and writes what it did; ``--seed`` is that of the first run."""
    rows = []
    for name, loop in LOOPS.items():
        courses = [run(loop, seed) for seed in range(args.seed, args.seed + args.runs)]
        found = following(loop, courses)
        rates = [course.report_bps for course in courses]
        rows.append(
            {"loop": name, "runs": args.runs, "seed": args.seed}
            | {"p_s": round(found.p_s, 2), "decision_s": round(found.decision_s, 2)}
            | {"changes": found.changes, "most_changes": found.most_changes}
            | {"report_bps": round(float(np.mean(rates)), 1)}
            | {"most_report_bps": round(max(rates), 1)}
        )
        print(rows[-1], flush=True)
        if name == "exact":
            save_figure(args, "closed_loop", draw(loop, courses), dpi=100)
    save_rows(args, "closed_loop", rows)

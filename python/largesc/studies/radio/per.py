# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures packet error rates of the radio profiles against Eb/N0, writes CSV files and a PNG.

    largesc study radio_per --output FOLDER

Eb/N0 counts the energy of header and payload (CRC and code included) for each bit of the packet;
`ebn0_burst_db` that of sync and preamble as well. Every run of bursts has its own carrier offset,
up to 1 % of the symbol rate, and sample clock, up to 50 ppm. With --noise the receivers also
listen to nothing but noise.
"""

import argparse
import math

import numpy as np
from scipy import stats

from ...radio.profiles import PROFILES
from ..processes import alone
from ..study import add_common, at_least_one, plt, save_figure, save_rows
from .runs import Setting, energies, listen, random_packets, receive, transmit
from .theory import crossing, packet_error_rate

# Settings and Eb/N0 at which they are measured.
SETTINGS = {
    Setting("ssb_bpsk"): np.arange(7.0, 12.1, 1.0),
    Setting("ssb", "qpsk", "none"): np.arange(7.0, 12.1, 1.0),
    Setting("ssb", "bpsk", "convolutional"): np.arange(2.0, 7.1, 1.0),
    Setting("ssb"): np.arange(2.0, 7.1, 1.0),
    Setting("narrow"): np.arange(2.0, 7.1, 1.0),
    Setting("wide", "bpsk", "none"): np.arange(10.0, 16.1, 1.0),
    Setting("wide"): np.arange(11.0, 17.1, 1.0),
}
RUN_PACKETS = 100
# Of a curve's last point: errors of 1 % are known to a third by then.
ENOUGH_PER = 0.002
TARGET_PER = 0.01


def decibels(ratio: float) -> float:
    """Returns a ratio of powers in dB."""
    return 10 * math.log10(ratio)


def measure(
    setting: Setting, ebn0_db: float, packets: int, packet_bytes: int, seed: int
) -> dict[str, object]:
    """One row: packets lost at one Eb/N0."""
    radio, energy, bits = setting.radio, energies(setting, packet_bytes), 8 * packet_bytes
    noise_power = energy.used / bits / 10 ** (ebn0_db / 10)
    random = np.random.default_rng([seed, round(100 * ebn0_db)])
    lost = false = 0
    each = min(RUN_PACKETS, packets)
    total = each * -(-packets // each)
    for run in range(total // each):
        sent = random_packets(each, packet_bytes, seed + run)
        offset, ppm = random.uniform(-0.01, 0.01), random.uniform(-50, 50)
        received, _ = receive(
            setting,
            transmit(setting, sent),
            noise_power,
            int(random.integers(1, 2**31 - 1)),
            carrier_offset_hz=offset * radio.symbol_rate,
            clock_ppm=ppm,
        )
        lost += len(set(sent) - set(received))
        false += len(set(received) - set(sent))
    es_n0 = energy.symbol / noise_power
    low, high = stats.binomtest(lost, total).proportion_ci(method="wilson")
    return {
        "setting": setting.label,
        "packet_bytes": packet_bytes,
        "ebn0_db": ebn0_db,
        "ebn0_burst_db": round(ebn0_db + decibels(energy.burst / energy.used), 2),
        "esn0_db": round(decibels(es_n0), 2),
        "packets": total,
        "lost": lost,
        "false": false,
        "per": lost / total,
        "per_low": round(low, 5),
        "per_high": round(high, 5),
        "per_payload_theory": packet_error_rate(radio, packet_bytes, es_n0),
        "seed": seed,
    }


def ideal_per(ebn0_db: float, packet_bytes: int) -> float:
    """PER of uncoded bits in number, 8 for each byte, all energy theirs."""
    bit_error_rate = stats.norm.sf(math.sqrt(2 * 10 ** (ebn0_db / 10)))
    return float(1 - (1 - bit_error_rate) ** (8 * packet_bytes))


def summary(setting: Setting, rows: list[dict]) -> dict[str, object]:
    """Eb/N0 at a PER of 1 %, and how far that is from theory."""
    ebn0 = [row["ebn0_db"] for row in rows]
    esn0 = [row["esn0_db"] for row in rows]
    packet_bytes = rows[0]["packet_bytes"]
    fine = np.arange(-2.0, 18.0, 0.01).tolist()
    uncoded = crossing(fine, [ideal_per(x, packet_bytes) for x in fine], TARGET_PER)
    rates = [row["per"] for row in rows]
    at = crossing(ebn0, rates, TARGET_PER)
    payload = [packet_error_rate(setting.radio, packet_bytes, 10 ** (x / 10)) for x in fine]
    burst = rows[0]["ebn0_burst_db"] - ebn0[0]
    return {
        "setting": setting.label,
        "packet_bytes": packet_bytes,
        "airtime_ms": round(1000 * setting.radio.airtime(packet_bytes), 2),
        "bandwidth_hz": setting.radio.bandwidth_hz,
        "ebn0_db_at_1_percent": round(at, 2),
        "ebn0_burst_db_at_1_percent": round(at + burst, 2),
        "uncoded_theory_db": round(uncoded, 2),
        "above_uncoded_theory_db": round(at - uncoded, 2),
        "esn0_db_at_1_percent": round(crossing(esn0, rates, TARGET_PER), 2),
        "esn0_db_payload_theory": round(crossing(fine, payload, TARGET_PER), 2),
    }


def draw(curves: dict[Setting, list[dict]]) -> plt.Figure:
    """PER against Eb/N0, measured and by theory."""
    figure, axis = plt.subplots(figsize=(9, 6))
    for n, (setting, rows) in enumerate(curves.items()):
        colour = f"C{n}"
        shown = [row for row in rows if row["per"] > 0]
        x = [row["ebn0_db"] for row in shown]
        rate = np.array([row["per"] for row in shown])
        spread = np.abs(
            [rate - [r["per_low"] for r in shown], [r["per_high"] for r in shown] - rate]
        )
        axis.errorbar(x, rate, spread, marker="o", capsize=2, color=colour, label=setting.label)
        energy = energies(setting, rows[0]["packet_bytes"])
        fine = np.arange(-1.0, 16.0, 0.1)
        ratio = energy.symbol * 8 * rows[0]["packet_bytes"] / energy.used
        theory = [
            packet_error_rate(setting.radio, rows[0]["packet_bytes"], ratio * 10 ** (v / 10))
            for v in fine
        ]
        axis.plot(fine, theory, "--", color=colour, linewidth=0.8)
    fine = np.arange(4.0, 12.0, 0.1)
    size = rows[0]["packet_bytes"]
    ideal = [ideal_per(v, size) for v in fine]
    axis.plot(fine, ideal, "k:", label="uncoded, all energy in the packet's bits")
    axis.set_yscale("log")
    axis.set_ylim(1e-3, 1.1)
    axis.set_xlim(-2.0, 18.0)
    axis.set_xlabel("Eb/N0 (dB), energy of header and payload for each bit of the packet")
    axis.set_ylabel(f"packets lost, {size} bytes; dashed: the payload's theory")
    axis.grid(True, which="both", alpha=0.3)
    figure.legend(fontsize=8, loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    return figure


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, speech=False)
    parser.add_argument("--packets", type=at_least_one, default=1000, help="for each point")
    parser.add_argument("--bytes", type=at_least_one, default=25, help="of a packet")
    parser.add_argument("--noise", type=float, default=0.0, help="seconds of noise to listen to")
    parser.add_argument("--only", default="", help="settings whose label contains this")


def study(args: argparse.Namespace) -> None:
    """Measures the packet error rate, writes the rows and draws them."""
    chosen = {s: points for s, points in SETTINGS.items() if args.only in s.label}
    if not chosen:
        raise ValueError(f"--only {args.only!r} leaves no setting")
    if args.noise < 0:
        raise ValueError(f"--noise {args.noise:g} is negative: use 0 or more seconds")
    curves: dict[Setting, list[dict]] = {}
    for setting, points in chosen.items():
        for ebn0_db in points:
            row = alone(measure, setting, float(ebn0_db), args.packets, args.bytes, args.seed)
            curves.setdefault(setting, []).append(row)
            print(f"{setting.label}: Eb/N0 {ebn0_db:g} dB, PER {row['per']:.4f}", flush=True)
            if row["per"] <= ENOUGH_PER:
                break
    save_rows(args, "radio_per", [row for rows in curves.values() for row in rows])
    save_rows(args, "radio_summary", [summary(s, rows) for s, rows in curves.items()])
    save_figure(args, "radio_per", draw(curves), dpi=100)
    if args.noise:
        noise = []
        for name in PROFILES:
            accepted, counters = alone(listen, Setting(name), args.noise, args.seed)
            noise.append(
                {"profile": name, "seconds": args.noise, "accepted": accepted}
                | {k: counters[k] for k in ("syncs", "headers", "crc_failures")}
            )
            print(noise[-1], flush=True)
        save_rows(args, "radio_noise", noise)

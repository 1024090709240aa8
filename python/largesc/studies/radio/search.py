# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets missed and processor time against the carrier offset, for a receiver that searches.

    largesc study radio_search --output FOLDER

Bursts of 25 bytes every 160 ms at the Es/N0 that loses 1 % near the centre and 2 dB above, with
offsets up to the end of the search. The first burst of each run counts apart: nothing is known of
the carrier by then. With --noise the receivers also listen to nothing but noise.
"""

import argparse
import time

import numpy as np

from ...radio.burst import make_burst
from ...radio.codes import PacketCode
from ...radio.profiles import PROFILES, RadioProfile
from ...radio.pulses import pulse_taps
from ...radio.receiver import BurstReceiver
from ...radio.search import most_search_hz, searched_profile
from ..study import add_common, at_least_one, plt, save_figure, save_rows

# Es/N0 at which 1 % of the packets are lost, by the study radio_per.
ES_N0_DB = {"ssb": 3.6, "narrow": 3.2}
ABOVE_DB = (0.0, 2.0)
# Of 20 ppm at 433.5 MHz; 0 is what costs no higher sample rate.
SEARCHES_HZ = (0.0, 8700.0)
OFFSETS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PACKET_BYTES = 25
INTERVAL_SECONDS = 0.16
CHUNK = 1024


def bursts(profile: RadioProfile, packets: list[bytes]) -> np.ndarray:
    """Samples of packets, one each 160 ms, of power 1 within a burst."""
    code, slot = PacketCode(profile.code), round(INTERVAL_SECONDS * profile.symbol_rate)
    symbols = np.zeros(slot * (len(packets) + 1), dtype=complex)
    for n, packet in enumerate(packets):
        burst = make_burst(packet, profile, code)
        first = slot // 2 + n * slot
        symbols[first : first + len(burst)] = burst
    spread = np.zeros(len(symbols) * profile.samples_per_symbol, dtype=complex)
    spread[:: profile.samples_per_symbol] = symbols
    return np.convolve(spread, pulse_taps(profile.samples_per_symbol))


def noise(random: np.random.Generator, count: int, power: float) -> np.ndarray:
    """Returns complex white noise of mean power ``power``, ``[count]``."""
    parts = random.standard_normal((2, count))
    return np.sqrt(power / 2) * (parts[0] + 1j * parts[1])


def listen(receiver: BurstReceiver, samples: np.ndarray, sent: set[bytes]) -> tuple[list, float]:
    """Bursts that are found as samples come, and the processor's share of their time."""
    found, begin = [], time.thread_time()
    for start in range(0, len(samples), CHUNK):
        for burst in receiver.push(samples[start : start + CHUNK]):
            if burst.packet in sent:
                receiver.accepted(burst)
            found.append(burst)
    seconds = len(samples) / receiver.profile.sample_rate
    return found, (time.thread_time() - begin) / seconds


def measure(
    name: str, search_hz: float, share: float, above_db: float, runs: int, packets: int, seed: int
) -> dict[str, object]:
    """One row: packets missed at one offset, a share of the search."""
    profile = searched_profile(PROFILES[name], search_hz)
    widest = search_hz or most_search_hz(profile, profile.sample_rate)
    es_n0_db = ES_N0_DB[name] + above_db
    missed = first_missed = 0
    loads = []
    for run in range(runs):
        random = np.random.default_rng([seed, run, round(1000 * share)])
        sent = [random.bytes(PACKET_BYTES + 2) for _ in range(packets)]
        sign = 1 if run % 2 else -1
        turn = 2j * np.pi * sign * share * widest / profile.sample_rate
        x = bursts(profile, sent)
        x = x * np.exp(turn * np.arange(len(x)))
        x = x + noise(random, len(x), profile.samples_per_symbol / 10 ** (es_n0_db / 10))
        found, load = listen(BurstReceiver(profile, search_hz), x, set(sent))
        there = {burst.packet for burst in found}
        missed += sum(packet not in there for packet in sent)
        first_missed += sent[0] not in there
        loads.append(load)
    return {
        "profile": name,
        "search_hz": round(widest),
        "sample_rate": profile.sample_rate,
        "offset_hz": round(share * widest),
        "esn0_db": round(es_n0_db, 2),
        "packets": runs * packets,
        "missed": missed,
        "runs": runs,
        "first_missed": first_missed,
        "processor_percent": round(100 * float(np.median(loads)), 1),
        "seed": seed,
    }


def listen_to_noise(name: str, search_hz: float, seconds: float, seed: int) -> dict[str, object]:
    """One row: what a receiver makes of noise alone."""
    profile = searched_profile(PROFILES[name], search_hz)
    receiver = BurstReceiver(profile, search_hz)
    random = np.random.default_rng(seed)
    load, accepted, crc = [], 0, _crc()
    for _ in range(max(1, round(seconds))):
        found, share = listen(receiver, noise(random, int(profile.sample_rate), 1.0), set())
        load.append(share)
        accepted += sum(crc(burst.packet) for burst in found)
    return {
        "profile": name,
        "search_hz": round(search_hz or most_search_hz(profile, profile.sample_rate)),
        "seconds": max(1, round(seconds)),
        "syncs": receiver.counters["syncs"],
        "headers": receiver.counters["headers"],
        "accepted": accepted,
        "processor_percent": round(100 * float(np.median(load)), 1),
        "word": receiver.diagnosis(),
        "seed": seed,
    }


def _crc() -> object:
    """Whether the last two bytes of a packet are the CRC of the others."""
    from gnuradio import digital

    crc = digital.crc(16, 0x1021, 0xFFFF, 0, False, False)
    return lambda packet: crc.compute(list(packet[:-2])) == int.from_bytes(packet[-2:], "big")


def draw(rows: list[dict]) -> plt.Figure:
    """Packets missed and processor time against the offset."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5))
    for name in ES_N0_DB:
        for search in sorted({row["search_hz"] for row in rows if row["profile"] == name}):
            mine = [r for r in rows if (r["profile"], r["search_hz"]) == (name, search)]
            for es_n0 in sorted({row["esn0_db"] for row in mine}):
                points = [row for row in mine if row["esn0_db"] == es_n0]
                x = [row["offset_hz"] / 1000 for row in points]
                share = [100 * row["missed"] / row["packets"] for row in points]
                label = f"{name}, {es_n0:g} dB, within {search / 1000:.1f} kHz"
                (line,) = left.plot(x, share, marker="o", label=label)
                load = [row["processor_percent"] for row in points]
                right.plot(x, load, marker="o", color=line.get_color())
    left.set_ylabel("packets missed (%)")
    right.set_ylabel("of one core (%)")
    for axis in (left, right):
        axis.set_xlabel("carrier offset (kHz)")
        axis.set_ylim(bottom=0)
        axis.grid(True, alpha=0.3)
    left.legend(fontsize=7)
    figure.tight_layout()
    return figure


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, speech=False)
    parser.add_argument("--runs", type=at_least_one, default=20, help="for each point")
    parser.add_argument("--packets", type=at_least_one, default=25, help="in a run")
    parser.add_argument("--noise", type=float, default=0.0, help="seconds of noise to listen to")


def study(args: argparse.Namespace) -> None:
    """Measures the search for bursts, writes the rows and draws them."""
    if not args.noise >= 0:
        raise ValueError(f"--noise {args.noise:g} is negative: use 0 or more seconds")
    rows, heard = [], []
    for name in ES_N0_DB:
        for search_hz in SEARCHES_HZ:
            for share in OFFSETS:
                for above_db in ABOVE_DB:
                    counts = args.runs, args.packets, args.seed
                    rows.append(measure(name, search_hz, share, above_db, *counts))
                    print(rows[-1], flush=True)
            save_rows(args, "radio_search", rows)
            if args.noise:
                heard.append(listen_to_noise(name, search_hz, args.noise, args.seed))
                print(heard[-1], flush=True)
                save_rows(args, "radio_search_noise", heard)
    save_figure(args, "radio_search", draw(rows))

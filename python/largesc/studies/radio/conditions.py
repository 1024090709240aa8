# SPDX-License-Identifier: GPL-3.0-or-later
"""What carrier and clock offsets, key-up, fades and multipath cost, as a CSV file.

    largesc study radio_conditions --output FOLDER

Every trial is an over of its own, with a receiver that has heard nothing before. Es/N0 is that of
a payload symbol or carrier, 3 dB above what loses 1 % of the packets; 20 dB on average where
the signal fades. In the over with a fade packets leave as live speech sends them, one in 160 ms or
as soon as the one before is over; the fade begins somewhere in the first second and silences
the samples in it.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..processes import alone
from ..study import add_common, at_least_one, save_rows
from .runs import Setting, energies, in_time, random_packets, receive, transmit

# Es/N0 in dB.
PROFILES = {"ssb": 6.5, "ssb_bpsk": 12.0, "narrow": 6.0, "wide": 12.0}
FADING_DB = 20.0
FADE_S, FADE_BEGINS_S, SLOT_S = 2.0, 1.0, 0.16


@dataclass(frozen=True)
class Condition:
    """One row of the table.

    Attributes:
        packets: in an over.
        packet_bytes: of each.
        key_up_ms: single carrier only.
        offset: of the carrier, as a share of the symbol rate; either sign in turn.
        clock_ppm: either sign in turn.
        fade: 2 s of silence in an over at the pace of speech.
        doppler_hz, delay_us: of Rayleigh fading, by profile; a delay makes it selective.
    """

    name: str
    packets: int = 1
    packet_bytes: int = 25
    key_up_ms: float = 0.0
    offset: float = 0.0
    clock_ppm: float = 0.0
    fade: bool = False
    doppler_hz: dict = field(default_factory=dict)
    delay_us: dict = field(default_factory=dict)


SLOW = {"ssb": 1.0, "ssb_bpsk": 1.0, "narrow": 10.0, "wide": 20.0}
SHORT = {"ssb": 100.0, "ssb_bpsk": 100.0, "narrow": 10.0, "wide": 5.0}
LONG = {"ssb": 1000.0, "ssb_bpsk": 1000.0, "narrow": 100.0, "wide": 40.0}
CONDITIONS = (
    Condition("cold burst"),
    Condition("cold burst, carrier off by 1 %, clock by 50 ppm", offset=0.01, clock_ppm=50.0),
    Condition("the same, 110 bytes", packet_bytes=110, offset=0.01, clock_ppm=50.0),
    Condition("cold burst, carrier off by 10 %, no key-up", offset=0.1, clock_ppm=50.0),
    Condition("key-up of 200 ms, carrier off by 10 %", 3, 25, 200.0, 0.1, 50.0),
    Condition("fade of 2 s in an over of 20", 20, offset=0.01, clock_ppm=50.0, fade=True),
    Condition("Rayleigh", 20, doppler_hz=SLOW),
    Condition("Rayleigh, two paths a little apart", 20, doppler_hz=SLOW, delay_us=SHORT),
    Condition("Rayleigh, two paths far apart", 20, doppler_hz=SLOW, delay_us=LONG),
)


@dataclass(frozen=True)
class Over:
    """What became of the packets of one over.

    Attributes:
        arrived: bool, of each packet.
        faded: bool, whether any of its burst lay in the fade.
    """

    arrived: np.ndarray
    faded: np.ndarray


def faded(
    setting: Setting, samples: np.ndarray, sizes: list[int], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Samples at the pace of speech, silent in a fade, and which bursts it touches."""
    x, spans = in_time(setting, samples, sizes, SLOT_S)
    rate = setting.radio.sample_rate
    begin = round(np.random.default_rng([2, seed]).uniform(0, FADE_BEGINS_S) * rate)
    end = begin + round(FADE_S * rate)
    x[begin:end] = 0
    return x, (spans[:, 0] < end) & (spans[:, 1] > begin)


def over(setting: Setting, condition: Condition, seed: int) -> Over:
    """Sends one over, and returns which of its packets arrived."""
    radio, energy = setting.radio, energies(setting, condition.packet_bytes)
    es_n0_db = FADING_DB if condition.doppler_hz else PROFILES[setting.profile]
    packets = random_packets(condition.packets, condition.packet_bytes, seed)
    key_up_ms = 0.0 if radio.waveform == "ofdm" else condition.key_up_ms
    x = transmit(setting, packets, key_up_ms)
    touched = np.zeros(len(packets), dtype=bool)
    if condition.fade:
        x, touched = faded(setting, x, [len(packet) for packet in packets], seed)
        # The receiver wants to see behind the last burst.
        x = np.concatenate([x, np.zeros(1000, dtype=np.complex64)])
    # The receiver hears noise before the first burst.
    before = 1000 + np.random.default_rng(seed).integers(0, 500)
    x = np.concatenate([np.zeros(before, dtype=np.complex64), x])
    sign = 1 - 2 * (seed % 2)
    channel: dict[str, object] = {
        "carrier_offset_hz": sign * condition.offset * radio.symbol_rate,
        "clock_ppm": sign * condition.clock_ppm,
    }
    if condition.doppler_hz:
        channel["doppler_hz"] = condition.doppler_hz[setting.profile]
        channel["fading"] = "selective" if condition.delay_us else "rayleigh"
    if condition.delay_us:
        channel["delay_us"] = condition.delay_us[setting.profile]
    noise_power = energy.symbol / 10 ** (es_n0_db / 10)
    received = set(receive(setting, x, noise_power, seed, **channel)[0])
    return Over(np.array([packet in received for packet in packets]), touched)


def measure(setting: Setting, condition: Condition, overs: int, seed: int) -> dict[str, object]:
    """One row: packets lost, those that lay in a fade, overs whose first packet was lost."""
    results = [over(setting, condition, number) for number in range(seed, seed + overs)]
    arrived = np.array([result.arrived for result in results])
    in_fade = np.array([result.faded for result in results])
    return {
        "profile": setting.profile,
        "condition": condition.name,
        "esn0_db": FADING_DB if condition.doppler_hz else PROFILES[setting.profile],
        "doppler_hz": condition.doppler_hz.get(setting.profile, ""),
        "delay_us": condition.delay_us.get(setting.profile, ""),
        "overs": overs,
        "packets": arrived.size,
        "lost": int(np.sum(~arrived)),
        "in_fade": int(np.sum(in_fade)) if condition.fade else "",
        "lost_beside_fade": int(np.sum(~arrived & ~in_fade)) if condition.fade else "",
        "first_lost": int(np.sum(~arrived[:, 0])),
        "longest_loss": max(map(longest_loss, arrived)),
    }


def longest_loss(got: np.ndarray) -> int:
    """Length of the longest run of lost packets."""
    longest = now = 0
    for there in got:
        now = 0 if there else now + 1
        longest = max(longest, now)
    return longest


def run(overs: Callable[[Condition], int], seed: int) -> list[dict]:
    """All rows; ``seed`` is that of the first over."""
    rows = []
    for name in PROFILES:
        for condition in CONDITIONS:
            rows.append(alone(measure, Setting(name), condition, overs(condition), seed))
            print(rows[-1], flush=True)
    return rows


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, speech=False)
    parser.add_argument(
        "--overs", type=at_least_one, default=20, help="of many packets; of few, 5 times that"
    )


def study(args: argparse.Namespace) -> None:
    """Measures all conditions and writes their rows."""
    rows = run(lambda condition: args.overs * (1 if condition.packets > 3 else 5), args.seed)
    save_rows(args, "radio_conditions", rows)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Receiver reports on the wire; the bytes are defined in docs/packet-format.md."""

import math
from dataclasses import dataclass

from .._core import CODE_REPORT, CRC_BYTES, REPORT_BYTES, append_crc, has_right_crc

LOWEST_SNR_DB, UNKNOWN_SNR = -16, 63
UNKNOWN_FRAMES = 15


@dataclass(frozen=True)
class Report:
    """What a receiver says of the channel.

    Attributes:
        loss_probability: 0 to 1; the wire keeps 64 steps, finer where it is small.
        mean_burst_packets: 1 or more; the wire keeps 16 steps up to 13.5.
        snr_db: None where it is not known; the wire keeps whole dB, -16 to 46.
        buffered_frames: frames that wait for playout; None where it is not known; the wire keeps
            0 to 14.
    """

    loss_probability: float
    mean_burst_packets: float = 1.0
    snr_db: float | None = None
    buffered_frames: int | None = None


def clamped(value: float, low: int, high: int) -> int:
    """Nearest whole number in the range; ``low`` for what is no number."""
    return low if math.isnan(value) else round(min(max(value, low), high))


def encode(report: Report, sequence: int, crc: bool) -> bytes:
    """Bytes of a report: 4, or 6 with CRC. Values out of range are cut."""
    loss = clamped(63 * math.sqrt(max(report.loss_probability, 0.0)), 0, 63)
    burst = clamped(4 * math.log2(max(report.mean_burst_packets, 1.0)), 0, 15)
    snr, frames = UNKNOWN_SNR, UNKNOWN_FRAMES
    if report.snr_db is not None:
        snr = clamped(report.snr_db - LOWEST_SNR_DB, 0, UNKNOWN_SNR - 1)
    if report.buffered_frames is not None:
        frames = clamped(report.buffered_frames, 0, UNKNOWN_FRAMES - 1)
    fields = loss << 10 | burst << 6 | snr
    data = bytes([sequence % 256, CODE_REPORT << 4 | frames]) + fields.to_bytes(2, "big")
    return append_crc(data) if crc else data


def is_report(data: bytes, crc: bool) -> bool:
    """Whether a packet claims to be a report; its CRC may still be wrong."""
    size = REPORT_BYTES + (CRC_BYTES if crc else 0)
    return len(data) == size and data[1] >> 4 == CODE_REPORT


def decode(data: bytes, crc: bool) -> tuple[int, Report] | None:
    """Sequence number and report; None for what is no report or has a wrong CRC."""
    if not is_report(data, crc) or (crc and not has_right_crc(data)):
        return None
    fields = int.from_bytes(data[2:4], "big")
    snr, frames = fields & 63, data[1] & 15
    return data[0], Report(
        ((fields >> 10) / 63) ** 2,
        2.0 ** ((fields >> 6 & 15) / 4),
        None if snr == UNKNOWN_SNR else float(snr + LOWEST_SNR_DB),
        None if frames == UNKNOWN_FRAMES else frames,
    )

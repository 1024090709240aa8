# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of flowgraphs, made from options and wired where that takes more than a line.

The caller keeps every block that it gets: a Python block that nobody refers to is gone, connected
or not.
"""

import os
from dataclasses import asdict

from .._blocks import loss_channel
from ..blocks.packet_security import packet_signer, packet_verifier
from ..blocks.report_rx import report_rx
from ..blocks.report_tx import report_tx
from ..options import ChannelOptions, LinkOptions, ReceiverOptions, ReportOptions, SenderOptions


def shared(link: LinkOptions) -> dict:
    """Arguments that speech_tx and speech_rx share."""
    return {
        "codec": link.codec,
        "frames_per_packet": link.frames_per_packet,
        "layout": link.layout,
        "crc": link.has_crc,
        "threads": link.threads,
    }


def make_tx(link: LinkOptions, sender: SenderOptions) -> object:
    """Makes a speech_tx from checked options."""
    # It loads torch, which a channel does without.
    from ..blocks.speech_tx import speech_tx

    return speech_tx(**shared(link.checked()), **asdict(sender.checked()))


def make_rx(link: LinkOptions, receiver: ReceiverOptions) -> object:
    """Makes a speech_rx from checked options."""
    from ..blocks.speech_rx import speech_rx

    return speech_rx(**shared(link.checked()), **asdict(receiver.checked()))


def make_channel(channel: ChannelOptions) -> loss_channel:
    """Makes a loss_channel; a trace that cannot be used raises ValueError."""
    arguments = asdict(channel.checked())
    try:
        # A file name in any encoding; one that is no UTF-8 makes a message of C++ unreadable.
        return loss_channel(**arguments | {"trace": os.fsencode(channel.trace)})
    except ValueError as error:
        if str(error):
            raise
        raise ValueError(f"trace {channel.trace!r} is no file of flags 0 and 1") from error


def make_report_tx(link: LinkOptions, reports: ReportOptions) -> report_tx:
    """Makes a report_tx from checked options."""
    return report_tx(interval_ms=reports.checked().interval_ms, crc=link.has_crc)


def make_report_rx(link: LinkOptions, sender: SenderOptions, reports: ReportOptions) -> report_rx:
    """Makes a report_rx that starts with what the sender expects."""
    reports = reports.checked()
    return report_rx(
        timeout_ms=reports.timeout_ms,
        cautious_loss=reports.cautious_loss,
        crc=link.has_crc,
        loss_probability=sender.loss_probability,
        mean_burst_packets=sender.mean_burst_packets,
    )


def signed(tb: object, block: object, key: str, direction: str = "forward") -> object:
    """The block whose port `packets` goes on the channel: itself, or a signer behind it."""
    if not key:
        return block
    signer = packet_signer(key_file=key, direction=direction)
    tb.msg_connect(block, "packets", signer, "packets")
    return signer


def verified(
    tb: object, block: object, port: str, key: str, direction: str = "forward"
) -> tuple[object, str]:
    """Block and port from which packets come: as given, or a verifier behind it."""
    if not key:
        return block, port
    verifier = packet_verifier(key_file=key, direction=direction)
    tb.msg_connect(block, port, verifier, "packets")
    return verifier, "packets"

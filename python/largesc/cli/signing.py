# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed packets on the command line."""

import argparse


def add_key(parser: argparse.ArgumentParser) -> None:
    """The option that signs, or asks for signatures."""
    parser.add_argument(
        "--key",
        default="",
        metavar="FILE",
        help="sign packets and reports, and refuse others; 32 bytes or 64 hex digits, the same at "
        "both ends; takes the place of the CRC",
    )


def signed(tb: object, block: object, key: str, direction: str = "forward") -> object:
    """The block whose port `packets` goes on the channel: itself, or a signer behind it.

    The caller keeps it: a Python block that nobody refers to is gone, connected or not.
    """
    if not key:
        return block
    from ..blocks.packet_security import packet_signer

    signer = packet_signer(key, direction=direction)
    tb.msg_connect(block, "packets", signer, "packets")
    return signer


def verified(
    tb: object, block: object, port: str, key: str, direction: str = "forward"
) -> tuple[object, str]:
    """Block and port from which packets come: as given, or a verifier behind it, for the caller to
    keep as well.
    """
    if not key:
        return block, port
    from ..blocks.packet_security import packet_verifier

    verifier = packet_verifier(key, direction=direction)
    tb.msg_connect(block, port, verifier, "packets")
    return verifier, "packets"

# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of the network, as users write them."""

import socket


def address(text: str) -> tuple[str, int]:
    """``host:port`` to both parts; an IPv6 host may stand in brackets.

    Raises:
        ValueError: it has another form.
    """
    host, _, port = text.rpartition(":")
    # int() reads the digits of every script, and as many as there are.
    good = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
    if not host or not good:
        raise ValueError(
            f"address {text!r} is not of the form host:port, as 127.0.0.1:5000, [::1]:5000, or "
            "*:5000 for all of this machine"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def resolved(text: str, passive: bool, kind: int = socket.SOCK_DGRAM) -> tuple:
    """Family and socket address of ``host:port``, for datagrams or another kind of socket.

    Raises:
        ValueError: it has another form, or there is no such host.
    """
    host, port = address(text)
    flags = socket.AI_PASSIVE if passive else 0
    try:
        found = socket.getaddrinfo(None if host == "*" else host, port, type=kind, flags=flags)
    except OSError as error:
        raise ValueError(f"host {host!r} was not found: {error.strerror}") from error
    except ValueError as error:
        # No name can be so long, or have such characters.
        raise ValueError(f"host {host!r} is no name of a host") from error
    return found[0][0], found[0][4]


def bind(to_bind: socket.socket, where: tuple, text: str) -> None:
    """Binds, or raises ValueError that names the address."""
    try:
        to_bind.bind(where)
    except OSError as error:
        to_bind.close()
        raise ValueError(
            f"{text} cannot be listened at: {error.strerror}; use an address of this machine and a "
            "port that no other program has"
        ) from error

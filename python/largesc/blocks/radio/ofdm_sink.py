# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: equalised carriers to packets."""

import logging
from collections.abc import Callable

import numpy as np
import pmt
from gnuradio import gr

from ..._core import CRC_BYTES, has_right_crc, keys
from ...radio.ofdm import OfdmReader
from ...radio.profiles import RadioProfile
from ..block_base import STATUS_FRAMES, TokenBlock
from ..messages import make_packet
from .ofdm_demodulator import carrier_order

CHANNEL_TAG = "ofdm_sync_chan_taps"
COUNTERS = ("syncs", "headers", "crc_failures", "other_lengths", "accepted")
# Two seconds of speech at two frames a packet.
UNREAD_SYNCS = 12
# That messages come to, each of which ends.
PORTS = 2
log = logging.getLogger(__name__)


class ofdm_sink(TokenBlock, gr.basic_block):  # noqa: N801
    """Decodes OFDM payloads and keeps those whose CRC is right.

    Input: message ports `symbols`, `header` of an ofdm_demodulator. Output: message ports
    `packets` (PDUs of bytes, no metadata), `status`.

    Where bursts begin for two seconds and none becomes a packet, the log says so once.

    Args:
        profile: of OFDM.
        on_stop: called when a run is over.
    """

    def __init__(
        self, *, profile: RadioProfile, on_stop: Callable[[], None] = lambda: None
    ) -> None:
        gr.basic_block.__init__(self, "ofdm_sink", None, None)
        inputs = {"symbols": self._on_symbols, "header": self._on_header}
        self.open_ports(inputs, ["packets"], "symbols")
        self._reader = OfdmReader(profile, carrier_order())
        self._on_stop = on_stop
        self.counters |= dict.fromkeys(COUNTERS, 0)
        self.begin()

    def begin(self) -> None:
        self._es_n0_db = 0.0
        self._told = False
        self._ports_done = 0

    def _on_system(self, message: object) -> None:
        # The headers may be done long before the last payload is.
        self._ports_done += 1
        if self._ports_done >= PORTS:
            super()._on_system(message)

    def halt(self) -> None:
        self._on_stop()

    def diagnosis(self) -> str:
        """What was heard and what to try, where no packet was accepted; empty for noise alone."""
        syncs, headers = self.counters["syncs"], self.counters["headers"]
        if self.counters["accepted"] or syncs < UNREAD_SYNCS:
            return ""
        if headers < UNREAD_SYNCS:
            return (
                f"{syncs} bursts began and {headers} had a header that could be read: they are "
                "too weak, or of another modem"
            )
        return (
            f"{headers} bursts were read and none was right: is the sender's modulation or code "
            "another one?"
        )

    def hearing(self) -> str:
        """What was heard so far, in words: packets, why there are none, or nothing."""
        if self.counters["accepted"]:
            return "packets come"
        heard = self.diagnosis()
        return f"no packet: {heard}" if heard else "noise alone"

    def spectrum_db(self) -> tuple[np.ndarray, np.ndarray]:
        """Nothing: the in-tree receiver does not tell."""
        return np.zeros(0), np.zeros(0)

    def _on_header(self, message: object) -> None:
        self.counters["syncs"] += 1
        self.counters["headers"] += pmt.is_dict(message)
        if not self._told and (heard := self.diagnosis()):
            self._told = True
            log.warning("no packet yet: %s", heard)

    def _on_symbols(self, message: object) -> None:
        if not pmt.is_pair(message):
            self.refuse("expected a PDU of complex symbols")
            return
        meta, vector = pmt.car(message), pmt.cdr(message)
        if pmt.is_dict(meta) and pmt.dict_has_key(meta, pmt.intern(keys.end_of_stream)):
            self.finish()
            return
        if not pmt.is_c32vector(vector):
            self.refuse("expected a PDU of complex symbols")
            return
        found = self._reader.read(np.array(pmt.c32vector_elements(vector)), self._channel(meta))
        if found is None:
            self.counters["other_lengths"] += 1
            return
        if not has_right_crc(found[0]):
            self.counters["crc_failures"] += 1
            return
        self.counters["accepted"] += 1
        self._es_n0_db = found[1]
        self.publish("packets", make_packet(found[0][:-CRC_BYTES]))
        if self.counters["accepted"] % STATUS_FRAMES == 0:
            self.publish_status()

    @staticmethod
    def _channel(meta: object) -> np.ndarray | None:
        if not pmt.is_dict(meta):
            return None
        taps = pmt.dict_ref(meta, pmt.intern(CHANNEL_TAG), pmt.PMT_NIL)
        return np.array(pmt.c32vector_elements(taps)) if pmt.is_c32vector(taps) else None

    def statistics(self) -> dict[str, int | float]:
        """Counters, and Es/N0 in dB of the last packet that was accepted."""
        return {**self.counters, "es_n0_db": self._es_n0_db}

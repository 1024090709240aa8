# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: complex samples to the equalised carriers of OFDM payloads."""

import numpy as np
from gnuradio import analog, blocks, digital, fft, gr, pdu
from gnuradio.digital import ofdm_txrx

from ...radio.profiles import OFDM_LENGTH, OFDM_PREFIX

# The in-tree receiver's 0.9 wants 14 dB; its decisions are hard and it hides what it refuses.
SYNC_THRESHOLD = 0.6
CARRIERS = ofdm_txrx._def_occupied_carriers
PILOTS = ofdm_txrx._def_pilot_carriers
PILOT_SYMBOLS = ofdm_txrx._def_pilot_symbols
FRAME_TAG, PACKET_TAG, NUMBER_TAG = "rx_frame_len", "rx_packet_len", "rx_packet_num"
# Sync words and header.
HEAD_SYMBOLS = 3


class ofdm_demodulator(gr.hier_block2):  # noqa: N801
    """The parts of the in-tree `ofdm_rx`, with an earlier trigger and soft symbols.

    For one run of a flowgraph: the parts keep where in a burst they were when it ended, and the
    next one would find no length tag there.

    Input: complex stream of `ofdm_tx` with its default carriers. Output: message ports `symbols`
    (PDUs of complex carriers, with the metadata `ofdm_sync_chan_taps`), `header` (what the parser
    of the headers says: a dict, or false).

    Args:
        bits_per_symbol: of the payload, 1 or 2.
    """

    def __init__(self, *, bits_per_symbol: int) -> None:
        gr.hier_block2.__init__(
            self,
            "ofdm_demodulator",
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
            gr.io_signature(0, 0, 0),
        )
        self._bits_per_symbol = bits_per_symbol
        for port in ("symbols", "header"):
            self.message_port_register_hier_out(port)
        length, prefix = OFDM_LENGTH, OFDM_PREFIX
        sync = digital.ofdm_sync_sc_cfb(length, prefix, False, SYNC_THRESHOLD)
        delay = blocks.delay(gr.sizeof_gr_complex, length + prefix)
        oscillator = analog.frequency_modulator_fc(-2.0 / length)
        mixer = blocks.multiply_cc()
        demux = digital.header_payload_demux(HEAD_SYMBOLS, length, prefix, FRAME_TAG, "", True)
        self.connect(self, sync, oscillator, (mixer, 1))
        self.connect(self, delay, (mixer, 0), (demux, 0))
        self.connect((sync, 1), (demux, 1))

        word1 = ofdm_txrx._make_sync_word1(length, CARRIERS, PILOTS)
        word2 = ofdm_txrx._make_sync_word2(length, CARRIERS, PILOTS)
        header = digital.packet_header_ofdm(
            CARRIERS, 1, PACKET_TAG, FRAME_TAG, NUMBER_TAG, 1, self._bits_per_symbol, False
        )
        parser = digital.packet_headerparser_b(header.formatter())
        for block in (parser, demux):
            # They tell of every false alarm.
            block.set_log_level("warn")
        bpsk = digital.constellation_bpsk()
        self.connect(
            (demux, 0),
            fft.fft_vcc(length, True, (), True),
            digital.ofdm_chanest_vcvc(word1, word2, 1),
            self._equalizer(bpsk, 0, 1),
            digital.ofdm_serializer_vcc(length, CARRIERS, FRAME_TAG),
            digital.constellation_decoder_cb(bpsk.base()),
            parser,
        )

        to_pdu = pdu.tagged_stream_to_pdu(gr.types.complex_t, PACKET_TAG)
        self.connect(
            (demux, 1),
            fft.fft_vcc(length, True, (), True),
            self._equalizer(None, 1, 0),
            digital.ofdm_serializer_vcc(length, CARRIERS, FRAME_TAG, PACKET_TAG, 1),
            to_pdu,
        )
        self.msg_connect(parser, "header_data", demux, "header_data")
        self.msg_connect(to_pdu, "pdus", self, "symbols")
        self.msg_connect(parser, "header_data", self, "header")

    def _equalizer(self, constellation: object, skipped: int, symbols: int) -> object:
        """Equalises frames; the header is the first of ``symbols``, the payload skips it.

        The payload is only divided by the channel: decisions come later, by the whole burst.
        """
        allocation = (CARRIERS, PILOTS, PILOT_SYMBOLS, skipped)
        if symbols:
            equalizer = digital.ofdm_equalizer_simpledfe(
                OFDM_LENGTH, constellation.base(), *allocation
            )
        else:
            equalizer = digital.ofdm_equalizer_static(OFDM_LENGTH, *allocation)
        return digital.ofdm_frame_equalizer_vcvc(
            equalizer.base(), OFDM_PREFIX, FRAME_TAG, True, symbols
        )


def carrier_order() -> list[int]:
    """Data carriers in the order in which they are filled."""
    return [int(c) for c in np.ravel(CARRIERS[0])]

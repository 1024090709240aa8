// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "packet_format.h"

#include <vector>

namespace largesc {

/// What the controller decided for one frame.
struct decision {
    int tokens_sent = TOKENS_PER_FRAME; ///< n_s
    /// n_c, copies of this frame's first tokens; parity layout: sums of earlier frames' tokens
    int tokens_repeated = 0;
    int copy_distance = 0;    ///< packets between a frame and its copies, 0: none
    bool comfort = false;     ///< silence may follow
    bool skip = false;        ///< send nothing (DTX)
    int tokens_protected = 0; ///< parity layout: tokens of each earlier frame in the sums
};

/// A packet on its way out.
struct packet {
    std::vector<std::uint8_t> bytes;
    std::uint64_t first_frame = 0; ///< index of its first frame slot
    int frames = 0;                ///< frame slots that it covers
};

/// Frame slots of a packet slot in which nothing was sent.
struct push_result {
    std::vector<packet> packets;
    std::uint64_t skipped_first = 0;
    int skipped_frames = 0;
};

/// Packets and bytes count the end packet, too. In `frames_skipped` frames nothing was sent (DTX);
/// `copies_skipped` tokens were asked for and never sent, since the distance changed or the stream
/// ended; `tokens_invalid` were no tokens, and taken for missing ones.
struct packetizer_counters {
    std::uint64_t frames = 0, packets = 0, bytes = 0, tokens_sent = 0, tokens_repeated = 0,
                  frames_skipped = 0, copies_skipped = 0, tokens_invalid = 0;

    /// Calls `visit(name, value)` for each, the one list of their names.
    template <typename Visit>
    void for_each(Visit&& visit) const
    {
        visit("frames", frames);
        visit("packets", packets);
        visit("bytes", bytes);
        visit("tokens_sent", tokens_sent);
        visit("tokens_repeated", tokens_repeated);
        visit("frames_skipped", frames_skipped);
        visit("copies_skipped", copies_skipped);
        visit("tokens_invalid", tokens_invalid);
    }
};

/// Turns token frames into packets.
///
/// A packet slot covers `frames_per_packet` frame slots, sent or not, and is numbered modulo 256.
/// Sequential layout: a packet holds its own frames and, for each, copies of the first tokens of
/// the frame `copy_distance` packets before. Pair layout: even-index tokens of two frames swap
/// places between two packets, and a copy rides in the packet that its original does not. Parity
/// layout: behind its own frames a packet holds sums of tokens of the PARITY_WINDOW slots before
/// it.
class packetizer
{
public:
    /// Throws std::invalid_argument that names the refused value.
    packetizer(int frames_per_packet, layout kind, bool crc = false);

    /// Takes a frame; a decision beyond what the frame or the format holds is cut to it, and only
    /// the tokens before the first one that is erased, or no token at all, are sent.
    push_result push(tokens_t tokens, const decision& d);
    /// Ends the stream: sends an unfinished packet, its missing frames marked empty, and the tail.
    push_result flush();
    /// Two bytes, and the CRC, that say how many packet slots there were.
    packet end_packet();

    const packetizer_counters& counters() const { return d_counters; }

private:
    struct pending {
        tokens_t tokens;
        decision how;
        bool empty = false;
    };
    struct sent_slot {
        std::array<pending, MAX_FRAMES_PER_PACKET> frames;
        bool copied = true;

        int copies() const;
    };

    push_result build();
    void build_sequential(push_result& result);
    void build_pair(push_result& result);
    void build_parity(push_result& result);
    void build_tail(push_result& result);
    void append_parity(packet_fields& fields, std::uint64_t slot, int wanted, int depth);
    void emit(packet_fields& fields, push_result& result);
    packet made(packet_fields& fields);
    packet made(packet_fields& fields, std::uint64_t slot);
    static slot header_slot(const pending& frame);

    const int d_frames_per_packet;
    const layout d_layout;
    const bool d_crc;
    std::uint64_t d_slot = 0;
    int d_tail_tokens = 0; ///< parity tokens of each packet of the tail, 0: none is wanted
    std::vector<pending> d_pending;
    std::array<sent_slot, std::max(MAX_COPY_DISTANCE, PARITY_WINDOW) + 1> d_history;
    packetizer_counters d_counters;
};

} // namespace largesc

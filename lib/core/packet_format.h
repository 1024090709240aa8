// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "crc16.h"
#include "token_frame.h"
#include "token_parity.h"

#include <optional>
#include <vector>

namespace largesc {

/// Codes of a frame slot in the header: 0-8 are tokens of speech, 9-12 a comfort frame with 0-3.
/// With parity there are no comfort frames, and 9 to 11 in all places tell the first to third of
/// the tail.
constexpr int CODE_COMFORT = 9;
constexpr int CODE_EMPTY = 13;
constexpr int CODE_END = 14;
/// In the place of the first code: no speech, but a receiver's report.
constexpr int CODE_REPORT = 15;
constexpr std::size_t REPORT_BYTES = 4;
/// The whole byte in that place where a longer packet holds text.
constexpr int TEXT_BYTE = 0xFE;
constexpr int MAX_COMFORT_TOKENS = 3;

/// Slots of one packet: up to 4 frames, or 8 half frames in the pair layout.
constexpr int MAX_SLOTS = 2 * MAX_FRAMES_PER_PACKET;

/// One frame slot of a packet.
struct slot {
    int code = 0;   ///< 0-8 speech, 9-12 comfort, 13 empty
    int copies = 0; ///< tokens of an earlier frame (sequential) or of this frame (pair)

    bool comfort() const { return code >= CODE_COMFORT && code < CODE_EMPTY; }
    bool empty() const { return code == CODE_EMPTY; }
    /// Tokens that the slot's frame sends.
    int tokens() const { return comfort() ? code - CODE_COMFORT : empty() ? 0 : code; }
};

/// A packet as header fields and tokens in the order of the wire.
struct packet_fields {
    std::uint8_t sequence = 0;
    bool end = false;
    int distance = 0; ///< packets back to the copied frames, sequential layout only
    parity_span sums; ///< parity layout only
    int tail = 0;     ///< parity layout: 1 to PARITY_TAIL of a packet of parity alone, 0: of frames
    int slots = 0;
    std::array<slot, MAX_SLOTS> slot_list{};
    int token_count = 0;
    std::array<std::uint16_t, MAX_SLOTS * 2 * TOKENS_PER_FRAME> tokens{};

    /// Tokens of the frames themselves, without copies or parity.
    int own_tokens() const;
};

/// Which tokens of a pair's frame travel in which packet: the first sending of token `j` of the
/// frame of half `frame_half` (0 or 1). Even indices are swapped (LargeSC, interleaving).
constexpr int pair_half(int frame_half, int j)
{
    return j % 2 == 0 ? 1 - frame_half : frame_half;
}

/// Tokens that one pair packet (`half` 0 or 1) holds of a frame with n sent and c repeated.
int pair_tokens(int half, int frame_half, int sent, int repeated);

/// A receiver's report that shares the link, see docs/packet-format.md.
inline bool is_report(const std::uint8_t* data, std::size_t size)
{
    return size == REPORT_BYTES && data[1] >> 4 == CODE_REPORT;
}

/// Text that shares the link, see docs/packet-format.md.
inline bool is_text(const std::uint8_t* data, std::size_t size)
{
    return size > REPORT_BYTES && data[1] == TEXT_BYTE;
}

/// Bytes of a packet, without CRC. `out` is overwritten.
void write_packet(const packet_fields& fields, layout kind, std::vector<std::uint8_t>& out);

/// Parses bytes of any origin; nothing when they are no packet of this link.
std::optional<packet_fields>
read_packet(const std::uint8_t* data, std::size_t size, layout kind, int frames_per_packet);

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "packet_format.h"

#include <string>

namespace largesc {

/// What both ends of a link must be set to alike, and no bit of a packet tells.
struct link_settings {
    int frames_per_packet = 1;
    layout kind = layout::sequential;
    bool crc = false;

    /// Whether bytes are a packet of such a link, a report or an end packet among them.
    bool fit(const std::uint8_t* data, std::size_t size) const;
    std::string words() const;
};

/// Tells why a receiver refuses most of what comes.
///
/// After each 2 s, and 8 packets, it asks with which other settings the last packets would all make
/// sense. A wrong setting takes up to two thirds of the packets for its own, and plays them as
/// noise: so settings that fit nearly all are believed from a fifth of refused packets on.
class refusal_watch
{
public:
    explicit refusal_watch(const link_settings& own)
        : d_own(own)
    {
    }

    /// A packet has come; `taken` tells whether it was one of this link.
    void add(const std::uint8_t* data, std::size_t size, bool taken, std::int64_t now_ns);
    /// Judges what has come, though 2 s are not over: the stream has ended.
    void settle();
    /// Why most packets are refused, in words for a log; empty while they are not.
    const std::string& reason() const { return d_reason; }

private:
    static constexpr std::int64_t WINDOW_NS = 2'000'000'000;
    static constexpr int LEAST_PACKETS = 8;
    static constexpr std::size_t KEPT = 16, MOST_BYTES = 128;

    struct kept_packet {
        std::array<std::uint8_t, MOST_BYTES> bytes{};
        std::size_t size = 0;
    };

    void judge();
    int fits(const link_settings& settings) const;
    std::string explained() const;

    const link_settings d_own;
    std::array<kept_packet, KEPT> d_kept;
    std::int64_t d_since_ns = 0;
    int d_packets = 0, d_refused = 0;
    std::string d_reason;
};

} // namespace largesc

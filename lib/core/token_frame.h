// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace largesc {

constexpr int TOKENS_PER_FRAME = 8;
constexpr int TOKEN_BITS = 11;
constexpr int TOKEN_VALUES = 1 << TOKEN_BITS;
constexpr std::uint16_t ERASED_TOKEN = 0xFFFF;
constexpr int FRAME_MS = 80;
constexpr int MAX_COPY_DISTANCE = 8;
constexpr int MAX_FRAMES_PER_PACKET = 4;

/// Tokens of one 80 ms frame; ERASED_TOKEN where there is none.
using tokens_t = std::array<std::uint16_t, TOKENS_PER_FRAME>;

inline tokens_t erased_frame()
{
    tokens_t t;
    t.fill(ERASED_TOKEN);
    return t;
}

/// Whether any token is not erased.
inline bool any_known(const tokens_t& tokens)
{
    return std::any_of(
        tokens.begin(), tokens.end(), [](std::uint16_t t) { return t != ERASED_TOKEN; });
}

/// Number of tokens before the first erased one, 0 to 8.
inline int prefix_length(const tokens_t& tokens)
{
    int n = 0;
    while (n < TOKENS_PER_FRAME && tokens[n] != ERASED_TOKEN)
        ++n;
    return n;
}

/// How frames share packets: one after the other with copies of earlier ones, swapped between two
/// packets, or one after the other with parity over earlier ones.
enum class layout { sequential, pair, parity };

inline layout layout_from_string(const std::string& name)
{
    if (name == "sequential")
        return layout::sequential;
    if (name == "pair")
        return layout::pair;
    if (name == "parity")
        return layout::parity;
    throw std::invalid_argument("layout '" + name +
                                "' is unknown: use 'sequential', 'pair' or 'parity'");
}

inline const char* name_of(layout kind)
{
    return kind == layout::pair ? "pair" : kind == layout::parity ? "parity" : "sequential";
}

inline int checked_frames_per_packet(int frames)
{
    if (frames < 1 || frames > MAX_FRAMES_PER_PACKET)
        throw std::invalid_argument("frames_per_packet " + std::to_string(frames) +
                                    " is out of range: use 1 to 4");
    return frames;
}

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
// Streams of packets and a player, for the tests of the depacketizer.
#pragma once

#include "depacketizer.h"
#include "packetizer.h"

#include <boost/test/unit_test.hpp>

using namespace largesc;

constexpr std::int64_t MS = 1'000'000;

/// A frame that tells its number and its sender.
inline tokens_t numbered(int n, int sender = 0)
{
    tokens_t tokens;
    for (int j = 0; j < TOKENS_PER_FRAME; ++j)
        tokens[j] = (n * 8 + j + sender * 1000) % TOKEN_VALUES;
    return tokens;
}

inline std::vector<packet>
stream(int count, const decision& how = {}, int sender = 0, int frames = 1, layout kind = {})
{
    packetizer tx(frames, kind);
    std::vector<packet> out;
    const auto add = [&](push_result result) {
        for (packet& p : result.packets)
            out.push_back(std::move(p));
    };
    for (int n = 0; n < count; ++n)
        add(tx.push(numbered(n, sender), how));
    add(tx.flush());
    return out;
}

inline void push(depacketizer& rx, const packet& p, std::int64_t now_ns = 0)
{
    BOOST_REQUIRE(rx.push(p.bytes.data(), p.bytes.size(), now_ns));
}

inline std::vector<received_frame> take(depacketizer& rx)
{
    std::vector<received_frame> out;
    while (auto f = rx.pop())
        out.push_back(*f);
    return out;
}

/// A player that pulls each 80 ms once it has started, each 10 ms before.
class player
{
public:
    player(depacketizer& rx, double speed = 1.0)
        : d_rx(rx),
          d_frame_ns(80 * MS / speed)
    {
    }

    void play_until(std::int64_t now_ns)
    {
        while (d_due_ns <= now_ns) {
            const auto f = d_rx.pull(static_cast<std::int64_t>(d_due_ns));
            if (f)
                frames.push_back(*f);
            for (const auto& r : take(d_rx)) {
                BOOST_REQUIRE(r.repair);
                repairs.push_back(r);
            }
            d_due_ns += f ? d_frame_ns : 10 * MS;
        }
    }

    /// Stands still for so long.
    void pause(std::int64_t ns) { d_due_ns += ns; }

    std::vector<received_frame> frames, repairs;

private:
    depacketizer& d_rx;
    double d_frame_ns, d_due_ns = 3 * MS;
};

inline depacketizer_config live(int deadline_ms = 80)
{
    depacketizer_config config;
    config.live = true;
    config.deadline_ms = deadline_ms;
    return config;
}

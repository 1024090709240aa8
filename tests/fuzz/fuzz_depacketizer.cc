// SPDX-License-Identifier: GPL-3.0-or-later
// libFuzzer target: any bytes, in any order, at any time, into the depacketizer of any link.
//
// Input: 3 or 4 bytes choose the link, then come operations: a byte, and what it needs.
#include "depacketizer.h"
#include "packetizer.h"

#include <cstdlib>

using namespace largesc;

namespace {

class reader
{
public:
    reader(const std::uint8_t* data, std::size_t size)
        : d_data(data),
          d_left(size)
    {
    }
    bool empty() const { return d_left == 0; }
    std::uint8_t byte()
    {
        if (d_left == 0)
            return 0;
        --d_left;
        return *d_data++;
    }
    std::vector<std::uint8_t> bytes(std::size_t count)
    {
        count = std::min(count, d_left);
        std::vector<std::uint8_t> out(d_data, d_data + count);
        d_data += count;
        d_left -= count;
        return out;
    }

private:
    const std::uint8_t* d_data;
    std::size_t d_left;
};

void require(bool what)
{
    if (!what)
        std::abort();
}

class listener
{
public:
    void hear(const received_frame& f)
    {
        for (std::uint16_t token : f.tokens)
            require(token < TOKEN_VALUES || token == ERASED_TOKEN);
        if (f.repair)
            require(f.index < d_next);
        else
            require(f.index == d_next++);
        if (f.lost)
            require(f.received_tokens() == 0 && !f.silence);
    }
    // 128 slots of 4 frames, and a gap of 127 slots: no packet can release more.
    void drain(depacketizer& rx, int limit = 2048)
    {
        int count = 0;
        while (auto f = rx.pop()) {
            hear(*f);
            require(++count <= limit);
        }
    }

private:
    std::uint64_t d_next = 0;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    reader in(data, size);
    const std::uint8_t link = in.byte();
    depacketizer_config config;
    config.frames_per_packet = 1 + (link & 3);
    config.kind = link & 32 ? layout::parity : link & 4 ? layout::pair : layout::sequential;
    config.live = link & 8;
    config.deadline_ms = 10 * in.byte();
    config.hold_packets = 1 + in.byte() % 32;
    if (link & 16)
        config.max_deadline_ms = std::min(5000, config.deadline_ms + 20 * in.byte());
    depacketizer rx(config);
    std::optional<packetizer> tx(std::in_place, config.frames_per_packet, config.kind);
    listener out;
    std::int64_t now_ns = 0;

    while (!in.empty()) {
        const std::uint8_t op = in.byte();
        const int argument = op >> 3;
        switch (op & 7) {
        case 0: { // bytes of unknown origin
            const auto bytes = in.bytes(argument);
            rx.push(bytes.data(), bytes.size(), now_ns);
            break;
        }
        case 1: // the player
            for (int n = 0; n <= argument; ++n) {
                if (auto f = rx.pull(now_ns))
                    out.hear(*f);
                now_ns += FRAME_MS * 1'000'000LL;
            }
            break;
        case 2:   // an honest sender, with losses
        case 3: { // and with a damaged byte
            const std::uint8_t b = in.byte();
            tokens_t tokens;
            tokens.fill((b * 37 + argument) % TOKEN_VALUES);
            const decision how{ b & 0xF,       b >> 4,         argument % 9,
                                argument > 24, argument == 23, argument % 8 };
            for (auto& packet : tx->push(tokens, how).packets) {
                if ((op & 7) == 3)
                    packet.bytes[argument % packet.bytes.size()] ^= in.byte();
                else if (argument == 22)
                    continue;
                rx.push(packet.bytes.data(), packet.bytes.size(), now_ns);
            }
            break;
        }
        case 4: // time
            now_ns += std::int64_t(argument) * in.byte() * 1'000'000LL;
            break;
        case 5: // a sender that starts anew
            tx.emplace(config.frames_per_packet, config.kind);
            break;
        case 6: { // the sender's end
            const packet end = tx->end_packet();
            rx.push(end.bytes.data(), end.bytes.size(), now_ns);
            break;
        }
        default: // a long loss
            for (int n = 0; n < argument * config.frames_per_packet; ++n)
                tx->push(erased_frame(), { 0, 0, 0, false, true });
        }
        out.drain(rx);
    }
    rx.flush();
    out.drain(rx);
    rx.flush(link);
    out.drain(rx);
    const auto& c = rx.counters();
    require(c.frames_lost <= c.frames_released);
    require(rx.losses().loss_probability() >= 0.0 && rx.losses().loss_probability() <= 1.0);
    require(rx.losses().mean_burst() >= 1.0);
    require(rx.playout_delay_ns() >= 0);
    if (config.max_deadline_ms == 0)
        require(c.playout_grown + c.playout_shrunk == 0);
    require(rx.buffered_frames() >= 0);
    return 0;
}

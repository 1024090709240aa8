// SPDX-License-Identifier: GPL-3.0-or-later
// Frames a second on one core: packing and parsing, and the whole packetizer and depacketizer.
#include "depacketizer.h"
#include "packetizer.h"

#include <benchmark/benchmark.h>

#include <random>

using namespace largesc;

namespace {

std::vector<tokens_t> frames()
{
    std::mt19937 rng(1);
    std::vector<tokens_t> out(1024);
    for (tokens_t& tokens : out)
        for (auto& token : tokens)
            token = rng() % TOKEN_VALUES;
    return out;
}

/// One frame a packet: 8 tokens and 2 copies, to bytes and back to tokens.
void pack_and_parse(benchmark::State& state)
{
    const auto source = frames();
    packet_fields fields;
    fields.slots = 1;
    fields.slot_list[0] = { TOKENS_PER_FRAME, 2 };
    fields.distance = 1;
    std::vector<std::uint8_t> bytes;
    std::size_t n = 0;
    for (auto _ : state) {
        const tokens_t& own = source[n % 1024];
        const tokens_t& earlier = source[(n + 1023) % 1024];
        fields.sequence = static_cast<std::uint8_t>(n++);
        std::copy(own.begin(), own.end(), fields.tokens.begin());
        std::copy(earlier.begin(), earlier.begin() + 2, fields.tokens.begin() + TOKENS_PER_FRAME);
        fields.token_count = TOKENS_PER_FRAME + 2;
        write_packet(fields, layout::sequential, bytes);
        const auto parsed = read_packet(bytes.data(), bytes.size(), layout::sequential, 1);
        if (!parsed || parsed->tokens[9] != earlier[1])
            state.SkipWithError("the packet did not come back");
        benchmark::DoNotOptimize(parsed);
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(pack_and_parse);

/// Packetizer and depacketizer with their history, order and release; arguments: layout, frames.
void link(benchmark::State& state)
{
    const auto source = frames();
    const auto kind = static_cast<layout>(state.range(0));
    const int frames_per_packet = static_cast<int>(state.range(1));
    packetizer tx(frames_per_packet, kind);
    depacketizer rx({ frames_per_packet, kind });
    std::size_t n = 0;
    for (auto _ : state) {
        for (const packet& p : tx.push(source[n++ % 1024], { 8, 2, 1 }).packets)
            rx.push(p.bytes.data(), p.bytes.size(), 0);
        while (auto f = rx.pop())
            benchmark::DoNotOptimize(f->tokens[7]);
    }
    if (rx.counters().frames_released + 128 < n || rx.counters().packets_lost > 0)
        state.SkipWithError("frames were lost");
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(link)->ArgsProduct({ { 0, 1 }, { 1, 2, 4 } });

} // namespace

BENCHMARK_MAIN();

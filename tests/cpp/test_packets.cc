// SPDX-License-Identifier: GPL-3.0-or-later
#define BOOST_TEST_MODULE packets
#include <boost/test/unit_test.hpp>

#include "bit_packing.h"
#include "depacketizer.h"
#include "packetizer.h"

#include <random>

using namespace largesc;
using bytes = std::vector<std::uint8_t>;

namespace {

tokens_t counting(int first)
{
    tokens_t tokens;
    for (int j = 0; j < TOKENS_PER_FRAME; ++j)
        tokens[j] = (first + j) % TOKEN_VALUES;
    return tokens;
}

bytes only_packet(const push_result& result)
{
    BOOST_REQUIRE_EQUAL(result.packets.size(), 1u);
    return result.packets[0].bytes;
}

} // namespace

BOOST_AUTO_TEST_CASE(size_and_count_of_tokens_belong_together)
{
    for (std::size_t count = 0; count <= 128; ++count)
        BOOST_TEST(tokens_in(packed_size(count)) == static_cast<int>(count));
    BOOST_TEST(tokens_in(1) == -1);
    BOOST_TEST(tokens_in(4) == -1);
}

BOOST_AUTO_TEST_CASE(bits_survive_packing)
{
    std::mt19937 rng(1);
    std::vector<std::uint16_t> tokens(128);
    for (auto& token : tokens)
        token = rng() % TOKEN_VALUES;
    bytes packed;
    bit_writer writer(packed);
    for (auto token : tokens)
        writer.put(token);
    writer.finish();
    BOOST_TEST(packed.size() == packed_size(tokens.size()));
    bit_reader in(packed.data());
    for (auto token : tokens)
        BOOST_TEST(in.get() == token);
}

// Golden vectors: bit for bit what docs/packet-format.md says.
BOOST_AUTO_TEST_CASE(golden_sequential)
{
    packetizer tx(1, layout::sequential);
    // n_s 2: 00000000001 00000000010 and two bits of padding.
    BOOST_TEST(
        (only_packet(tx.push(counting(1), { 2, 1, 1 })) == bytes{ 0x00, 0x20, 0x00, 0x20, 0x08 }));
    // n_s 1, d 1: 11111111111, then the copy 00000000001 of the frame before.
    tokens_t ones;
    ones.fill(2047);
    BOOST_TEST((only_packet(tx.push(ones, { 1, 0, 1 })) == bytes{ 0x01, 0x11, 0xFF, 0xE0, 0x04 }));
    // A comfort frame with one token, then nothing, then the end behind four slots.
    BOOST_TEST((only_packet(tx.push(ones, { 8, 0, 0, true })) ==
                bytes{ 0x02, 0xC0, 0xFF, 0xFF, 0xFF, 0xFF, 0x80 }));
    const auto skipped = tx.push(ones, { 8, 0, 0, false, true });
    BOOST_TEST(skipped.packets.empty());
    BOOST_TEST(skipped.skipped_first == 3u);
    BOOST_TEST(skipped.skipped_frames == 1);
    BOOST_TEST((tx.end_packet().bytes == bytes{ 0x04, 0xE0 }));
}

BOOST_AUTO_TEST_CASE(golden_two_frames_a_packet)
{
    packetizer tx(2, layout::sequential);
    BOOST_TEST(tx.push(counting(1), { 1, 1, 1 }).packets.empty());
    BOOST_TEST((only_packet(tx.push(counting(2), { 1, 0, 1 })) ==
                bytes{ 0x00, 0x10, 0x10, 0x00, 0x20, 0x08 }));
    tx.push(counting(3), { 1, 0, 1 });
    // Own tokens 3 and 4, then the copy of token 1; the second slot has no copies.
    BOOST_TEST((only_packet(tx.push(counting(4), { 1, 0, 1 })) ==
                bytes{ 0x01, 0x11, 0x10, 0x00, 0x60, 0x10, 0x00, 0x80 }));
    tx.push(counting(5), { 1, 0, 0 });
    // The end of the stream pads with an empty slot.
    BOOST_TEST((only_packet(tx.flush()) == bytes{ 0x02, 0x10, 0xD0, 0x00, 0xA0 }));
}

BOOST_AUTO_TEST_CASE(golden_pair)
{
    packetizer tx(1, layout::pair);
    BOOST_TEST(tx.push(counting(1), { 2, 1, 0 }).packets.empty());
    const auto result = tx.push(counting(9), { 2, 0, 0 });
    BOOST_REQUIRE_EQUAL(result.packets.size(), 2u);
    // A: copy of a[0] = 1, a[1] = 2, b[0] = 9.
    BOOST_TEST(
        (result.packets[0].bytes == bytes{ 0x00, 0x21, 0x20, 0x00, 0x20, 0x08, 0x04, 0x80 }));
    // B: a[0] = 1, b[1] = 10.
    BOOST_TEST((result.packets[1].bytes == bytes{ 0x01, 0x21, 0x20, 0x00, 0x20, 0x28 }));
}

BOOST_AUTO_TEST_CASE(broken_packets_are_refused)
{
    const auto refused = [](const bytes& data, layout kind = layout::sequential, int frames = 1) {
        return !read_packet(data.data(), data.size(), kind, frames);
    };
    BOOST_TEST(refused({}));
    BOOST_TEST(refused({ 0x00 }));
    BOOST_TEST(!refused({ 0x00, 0x20, 0x00, 0x20, 0x08 }));
    BOOST_TEST(refused({ 0x00, 0x20, 0x00, 0x20 }));                   // truncated
    BOOST_TEST(refused({ 0x00, 0x20, 0x00, 0x20, 0x08, 0x00, 0x00 })); // a copy without distance
    BOOST_TEST(refused({ 0x00, 0xF0 }));                               // reserved code
    BOOST_TEST(refused({ 0x00, 0x09 }));                               // distance 9
    BOOST_TEST(refused({ 0x00, 0xE0, 0x00 }));                         // a long end packet
    BOOST_TEST(refused({ 0x00, 0xE1 }));
    BOOST_TEST(refused({ 0x00, 0xD0 })); // padding alone
    BOOST_TEST(refused({ 0x00, 0xD0, 0x00 }, layout::sequential, 2));
    BOOST_TEST(!refused({ 0x00, 0x00, 0xD0 }, layout::sequential, 2));
    BOOST_TEST(refused({ 0x00, 0x20, 0x20, 0x00 }, layout::pair));
}

BOOST_AUTO_TEST_CASE(lossless_loopback_is_bit_exact)
{
    std::mt19937 rng(2);
    for (layout kind : { layout::sequential, layout::pair })
        for (int frames = 1; frames <= 4; ++frames) {
            packetizer tx(frames, kind);
            depacketizer rx({ frames, kind });
            std::vector<tokens_t> sent(997);
            std::vector<int> count(sent.size());
            std::size_t next = 0;
            const auto receive = [&](const push_result& result) {
                for (const packet& p : result.packets)
                    BOOST_REQUIRE(rx.push(p.bytes.data(), p.bytes.size(), 0));
            };
            const auto compare = [&] {
                while (auto f = rx.pop()) {
                    BOOST_REQUIRE(!f->repair && !f->lost);
                    BOOST_REQUIRE_EQUAL(f->index, next);
                    BOOST_REQUIRE_EQUAL(f->received_tokens(), count[next]);
                    for (int j = 0; j < count[next]; ++j)
                        BOOST_REQUIRE_EQUAL(f->tokens[j], sent[next][j]);
                    ++next;
                }
            };
            for (std::size_t n = 0; n < sent.size(); ++n) {
                for (auto& token : sent[n])
                    token = rng() % TOKEN_VALUES;
                count[n] = rng() % 9;
                const int copies = rng() % 9, distance = rng() % 9;
                receive(tx.push(sent[n], { count[n], copies, distance }));
                compare();
            }
            receive(tx.flush());
            rx.flush(sent.size());
            compare();
            BOOST_TEST(next == sent.size());
            BOOST_TEST(rx.counters().packets_lost == 0u);
        }
}

BOOST_AUTO_TEST_CASE(decisions_out_of_range_are_cut)
{
    packetizer tx(1, layout::sequential);
    BOOST_TEST(only_packet(tx.push(counting(0), { 99, 99, 99 })).size() == 2 + packed_size(8));
    BOOST_TEST(only_packet(tx.push(counting(0), { -5, -5, -5 })).size() == 2u);
    tokens_t tokens = counting(0);
    tokens[3] = ERASED_TOKEN;
    BOOST_TEST(only_packet(tx.push(tokens, { 8, 0, 0 })).size() == 2 + packed_size(3));
}

BOOST_AUTO_TEST_CASE(every_copy_is_sent_once_or_counted)
{
    std::mt19937 rng(3);
    packetizer tx(2, layout::sequential);
    std::uint64_t asked = 0, carried = 0;
    const auto count = [&](const push_result& result) {
        for (const packet& p : result.packets) {
            const auto fields = read_packet(p.bytes.data(), p.bytes.size(), layout::sequential, 2);
            for (int i = 0; i < 2; ++i)
                carried += fields->slot_list[i].copies;
        }
    };
    for (int n = 0; n < 1001; ++n) {
        const int copies = rng() % 9;
        asked += copies;
        count(tx.push(counting(n), { 8, copies, static_cast<int>(rng() % 9) }));
    }
    count(tx.flush());
    BOOST_TEST(tx.counters().tokens_repeated == carried);
    BOOST_TEST(tx.counters().tokens_repeated + tx.counters().copies_skipped == asked);
    BOOST_TEST(tx.counters().tokens_sent == 8 * 1001u);
}

BOOST_AUTO_TEST_CASE(copies_are_sent_through_dtx)
{
    packetizer tx(1, layout::sequential);
    tx.push(counting(1), { 8, 3, 2 });
    BOOST_TEST(tx.push(counting(1), { 8, 0, 2, false, true }).packets.empty());
    BOOST_TEST(only_packet(tx.push(counting(1), { 8, 0, 2, false, true })).size() ==
               2 + packed_size(3));
}

BOOST_AUTO_TEST_CASE(bad_parameters_are_named)
{
    BOOST_CHECK_THROW(packetizer(0, layout::pair), std::invalid_argument);
    BOOST_CHECK_THROW(packetizer(5, layout::pair), std::invalid_argument);
    BOOST_CHECK_THROW(layout_from_string("spiral"), std::invalid_argument);
}

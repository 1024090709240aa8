// SPDX-License-Identifier: GPL-3.0-or-later
#define BOOST_TEST_MODULE refusal_watch
#include <boost/test/unit_test.hpp>

#include "streams.h"

#include <random>

namespace {

constexpr std::int64_t SECOND = 1000 * MS;

/// Packets of frames whose tokens and copies are drawn, as a controller decides them.
std::vector<packet> drawn(const link_settings& link, int count, int most_copies, unsigned seed)
{
    std::mt19937 rng(seed);
    packetizer tx(link.frames_per_packet, link.kind, link.crc);
    std::vector<packet> out;
    while (static_cast<int>(out.size()) < count) {
        tokens_t tokens;
        for (auto& token : tokens)
            token = rng() % TOKEN_VALUES;
        const int copies = most_copies ? rng() % (most_copies + 1) : 0;
        const decision how{ 2 + static_cast<int>(rng() % 7), copies, copies ? 2 : 0, false, false };
        for (packet& p : tx.push(tokens, how).packets)
            out.push_back(std::move(p));
    }
    return out;
}

std::vector<link_settings> all_settings()
{
    std::vector<link_settings> out;
    for (bool crc : { true, false })
        for (layout kind : { layout::sequential, layout::pair })
            for (int frames = 1; frames <= 4; ++frames)
                out.push_back({ frames, kind, crc });
    return out;
}

/// What a receiver says of packets that come each 80 ms times frames.
std::string reason_of(const link_settings& receiver, const link_settings& sender, int most_copies)
{
    refusal_watch watch(receiver);
    std::int64_t now = 5 * SECOND;
    for (const packet& p : drawn(sender, 40, most_copies, 7)) {
        watch.add(
            p.bytes.data(), p.bytes.size(), receiver.fit(p.bytes.data(), p.bytes.size()), now);
        now += 80 * MS * sender.frames_per_packet;
    }
    return watch.reason();
}

} // namespace

BOOST_AUTO_TEST_CASE(whatever_differs_is_named)
{
    for (int most_copies : { 0, 3 })
        for (const link_settings& sender : all_settings())
            for (const link_settings& receiver : all_settings()) {
                const std::string said = reason_of(receiver, sender, most_copies);
                BOOST_TEST_CONTEXT("sender " << sender.words() << ", receiver " << receiver.words())
                {
                    if (sender.words() == receiver.words())
                        BOOST_TEST(said.empty());
                    else
                        BOOST_TEST(said.find("they look like " + sender.words()) !=
                                   std::string::npos);
                }
            }
}

BOOST_AUTO_TEST_CASE(losses_and_a_few_bit_errors_are_no_reason)
{
    const link_settings link{ 1, layout::sequential, true };
    refusal_watch watch(link);
    int n = 0;
    for (packet& p : drawn(link, 1000, 2, 1)) {
        if (++n % 6 == 0)
            p.bytes[3] ^= 0x10;
        watch.add(
            p.bytes.data(), p.bytes.size(), link.fit(p.bytes.data(), p.bytes.size()), n * 80 * MS);
        BOOST_TEST(watch.reason().empty());
    }
}

BOOST_AUTO_TEST_CASE(garbage_is_no_setting_and_is_over_when_it_stops)
{
    const link_settings link{ 1, layout::sequential, true };
    refusal_watch watch(link);
    std::mt19937 rng(3);
    std::int64_t now = 0;
    for (int n = 0; n < 30; ++n, now += 80 * MS) {
        std::vector<std::uint8_t> bytes(10 + rng() % 20);
        for (auto& byte : bytes)
            byte = rng();
        watch.add(bytes.data(), bytes.size(), false, now);
    }
    BOOST_TEST(watch.reason().find("damaged on the way") != std::string::npos);
    for (const packet& p : drawn(link, 60, 0, 1)) {
        watch.add(p.bytes.data(), p.bytes.size(), true, now);
        now += 80 * MS;
    }
    BOOST_TEST(watch.reason().empty());
}

BOOST_AUTO_TEST_CASE(a_file_is_judged_at_its_end)
{
    const link_settings sender{ 2, layout::sequential, true }, link{ 1, layout::sequential, true };
    refusal_watch watch(link);
    for (const packet& p : drawn(sender, 20, 0, 1))
        watch.add(p.bytes.data(), p.bytes.size(), false, 0);
    BOOST_TEST(watch.reason().empty());
    watch.settle();
    BOOST_TEST(watch.reason().find("frames_per_packet 2") != std::string::npos);
}

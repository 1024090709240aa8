// SPDX-License-Identifier: GPL-3.0-or-later
#define BOOST_TEST_MODULE depacketizer_live
#include <boost/test/unit_test.hpp>

#include "streams.h"

#include <random>

BOOST_AUTO_TEST_CASE(live_plays_a_deadline_after_the_first_packet)
{
    depacketizer rx(live(200));
    BOOST_TEST(!rx.pull(0).has_value());
    const auto packets = stream(10);
    push(rx, packets[1], 100 * MS);
    push(rx, packets[0], 120 * MS); // overtaken, and still the first
    BOOST_TEST(!rx.pull((299 + PLAYOUT_MARGIN_MS) * MS).has_value());
    const auto f = rx.pull((301 + PLAYOUT_MARGIN_MS) * MS);
    BOOST_REQUIRE(f.has_value());
    BOOST_TEST(f->index == 0u);
    BOOST_TEST((f->tokens == numbered(0)));
}

BOOST_AUTO_TEST_CASE(live_long_pause_and_a_new_stream)
{
    depacketizer rx(live());
    player out(rx);
    std::int64_t now = 0;
    for (int sender = 0; sender < 3; ++sender) {
        for (const auto& p : stream(50, {}, sender)) {
            push(rx, p, now);
            out.play_until(now);
            now += 80 * MS;
        }
        now += 20'000 * MS;
        out.play_until(now);
    }
    BOOST_TEST(rx.counters().packets_received == 150u);
    BOOST_TEST(rx.counters().late == 0u);
    // 5 s after the last packet the player is told that nothing plays.
    BOOST_TEST(out.frames.size() < 3 * (50 + 66u));
    for (std::size_t n = 0; n < out.frames.size(); ++n)
        BOOST_REQUIRE_EQUAL(out.frames[n].index, n);
}

BOOST_AUTO_TEST_CASE(live_end_packet_ends_the_playout)
{
    depacketizer rx(live());
    player out(rx);
    std::int64_t now = 0;
    for (const auto& p : stream(30)) {
        push(rx, p, now);
        out.play_until(now);
        now += 80 * MS;
    }
    const std::uint8_t end[] = { 30, 0xE0 };
    BOOST_TEST(rx.push(end, 2, now));
    BOOST_TEST(!rx.ended());
    now += 1000 * MS;
    out.play_until(now);
    BOOST_TEST(rx.ended());
    BOOST_TEST(out.frames.size() == 30u);
    // A second copy of the end packet belongs to no stream.
    BOOST_TEST(rx.push(end, 2, now));
    for (const auto& p : stream(60, {}, 1)) {
        push(rx, p, now);
        out.play_until(now);
        now += 80 * MS;
    }
    out.play_until(now + 80 * MS);
    BOOST_TEST(out.frames.size() >= 89u);
    BOOST_TEST(rx.counters().frames_lost <= 1u);
}

BOOST_AUTO_TEST_CASE(live_skew_is_followed_both_ways)
{
    for (layout kind : { layout::sequential, layout::pair })
        for (double speed : { 0.999, 1.0, 1.001 }) {
            depacketizer_config config = live(160);
            config.kind = kind;
            depacketizer rx(config);
            player out(rx, speed);
            const auto packets = stream(12000, {}, 0, 1, kind);
            std::mt19937 rng(4);
            for (int n = 0; n < 12000; ++n) {
                const int at = kind == layout::pair ? n / 2 * 2 + 1 : n;
                const std::int64_t now = at * 80 * MS + rng() % 30 * MS;
                out.play_until(now);
                if (rng() % 10 != 0)
                    push(rx, packets[n], now);
            }
            const auto& c = rx.counters();
            BOOST_TEST_CONTEXT("speed " << speed << ", pair " << (kind == layout::pair))
            {
                // 960 s, a frame each 80 s.
                BOOST_TEST(c.skew_dropped >= (speed < 1.0 ? 10u : 0u));
                BOOST_TEST(c.skew_dropped <= (speed < 1.0 ? 13u : 0u));
                BOOST_TEST(c.skew_inserted >= (speed > 1.0 ? 9u : 0u));
                BOOST_TEST(c.skew_inserted <= (speed > 1.0 ? 13u : 0u));
                BOOST_TEST(c.late <= 20u);
            }
        }
}

BOOST_AUTO_TEST_CASE(live_stall_that_is_not_caught_up_is_followed)
{
    depacketizer rx(live());
    player out(rx);
    const auto packets = stream(300);
    for (int n = 0; n < 300; ++n) {
        const std::int64_t now = (n * 80 + (n >= 100 ? 900 : 0)) * MS;
        out.play_until(now);
        push(rx, packets[n], now);
    }
    BOOST_TEST(rx.counters().late < 20u);
    BOOST_TEST(rx.counters().skew_inserted >= 10u);
    BOOST_TEST(rx.counters().skew_inserted <= 15u);
    const auto good = std::count_if(out.frames.end() - 100, out.frames.end(), [](const auto& f) {
        return f.received_tokens() == 8;
    });
    BOOST_TEST(good == 100);
}

namespace {

/// Whole frames among those that were played, but for the first `from`.
int whole_frames(const player& out, std::size_t from)
{
    return std::count_if(out.frames.begin() + from, out.frames.end(), [](const auto& f) {
        return f.received_tokens() == TOKENS_PER_FRAME;
    });
}

} // namespace

BOOST_AUTO_TEST_CASE(live_pause_of_sender_and_player_together_costs_nothing)
{
    // Both stand still, as in one process that is suspended: the clock goes on, nothing else does.
    for (int pause_ms : { 500, 2000, 4000, 6000, 60000 })
        for (int most : { 0, 400 }) {
            depacketizer_config config = live();
            config.max_deadline_ms = most;
            depacketizer rx(config);
            player out(rx);
            const auto packets = stream(400);
            std::int64_t begin = 0;
            for (int n = 0; n < 400; ++n) {
                if (n == 100) {
                    begin += pause_ms * MS;
                    out.pause(pause_ms * MS);
                }
                out.play_until(begin + n * 80 * MS);
                push(rx, packets[n], begin + n * 80 * MS);
            }
            BOOST_TEST_CONTEXT("pause " << pause_ms << " ms, up to " << most)
            {
                const auto& c = rx.counters();
                BOOST_TEST(c.late + c.skew_dropped + c.skew_inserted + c.frames_lost == 0u);
                BOOST_TEST(whole_frames(out, 0) == static_cast<int>(out.frames.size()));
                BOOST_TEST(rx.playout_delay_ns() <= 200 * MS);
            }
        }
}

BOOST_AUTO_TEST_CASE(live_player_that_pauses_alone_catches_up_within_a_second)
{
    // The network keeps what comes meanwhile, and gives it at once.
    for (int pause_ms : { 1000, 4000, 8000, 20000 }) {
        depacketizer rx(live());
        player out(rx);
        const auto packets = stream(600);
        std::size_t resumed = 0;
        for (int n = 0; n < 600; ++n) {
            const std::int64_t sent = n * 80 * MS, end = 100 * 80 * MS + pause_ms * MS;
            if (n == 100)
                out.pause(pause_ms * MS);
            if (n >= 100 && sent < end) {
                push(rx, packets[n], end);
                continue;
            }
            if (resumed == 0 && n > 100)
                resumed = out.frames.size();
            out.play_until(sent);
            push(rx, packets[n], sent);
        }
        BOOST_TEST_CONTEXT("pause " << pause_ms << " ms")
        {
            BOOST_TEST(whole_frames(out, resumed) == static_cast<int>(out.frames.size() - resumed));
            BOOST_TEST(rx.counters().late == 0u);
            BOOST_TEST(rx.playout_delay_ns() <= 200 * MS);
            BOOST_TEST(out.frames.size() >= 590u - pause_ms / 80 - 2);
        }
    }
}

BOOST_AUTO_TEST_CASE(live_sender_that_pauses_alone_is_heard_at_once)
{
    for (int frames : { 1, 2 })
        for (int pause_ms : { 1000, 2000, 4000, 4900, 6000 }) {
            depacketizer_config config = live(80 * frames);
            config.frames_per_packet = frames;
            depacketizer rx(config);
            player out(rx);
            const auto packets = stream(400, {}, 0, frames);
            std::size_t resumed = 0;
            for (std::size_t n = 0; n < packets.size(); ++n) {
                const bool behind = n >= packets.size() / 2;
                const std::int64_t now = (80 * frames * n + (behind ? pause_ms : 0)) * MS;
                out.play_until(now);
                if (behind && resumed == 0)
                    resumed = out.frames.size();
                push(rx, packets[n], now);
            }
            BOOST_TEST_CONTEXT("pause " << pause_ms << " ms, frames " << frames)
            {
                // Four packets show that it is no jitter, and the deadline passes.
                const int gap = 4 * frames + 4;
                BOOST_TEST(whole_frames(out, resumed) >=
                           static_cast<int>(out.frames.size() - resumed) - gap);
                BOOST_TEST(rx.playout_delay_ns() <= (80 * frames + 120) * MS);
            }
        }
}

BOOST_AUTO_TEST_CASE(live_end_that_is_told_lets_the_player_play_all)
{
    for (int deadline : { 80, 400, 1000, 5000 }) {
        depacketizer rx(live(deadline));
        player out(rx);
        const auto packets = stream(40);
        for (int n = 0; n < 40; ++n) {
            out.play_until(n * 80 * MS);
            push(rx, packets[n], n * 80 * MS);
        }
        rx.expect_end();
        BOOST_TEST(!rx.ended());
        out.play_until(20'000 * MS);
        BOOST_TEST(rx.ended());
        BOOST_TEST(whole_frames(out, 0) == 40);
        BOOST_TEST(out.frames.size() == 40u);
    }
    depacketizer nothing(live());
    nothing.expect_end();
    BOOST_TEST(nothing.ended());
}

BOOST_AUTO_TEST_CASE(live_burst_after_a_jam_inserts_nothing)
{
    depacketizer rx(live());
    player out(rx);
    const auto packets = stream(300);
    for (int n = 0; n < 300; ++n) {
        const std::int64_t now = std::max<std::int64_t>(n * 80, n >= 100 ? 109 * 80 : 0) * MS;
        out.play_until(now);
        push(rx, packets[n], now);
    }
    BOOST_TEST(rx.counters().skew_inserted == 0u);
    BOOST_TEST(rx.counters().late >= 6u);
    BOOST_TEST(rx.counters().repairs == rx.counters().late);
}

BOOST_AUTO_TEST_CASE(live_gap_knows_the_packet_behind_it)
{
    depacketizer rx(live(80));
    const auto packets = stream(4);
    push(rx, packets[0], 0);
    BOOST_TEST(rx.pull((80 + PLAYOUT_MARGIN_MS) * MS).has_value());
    // Packet 1 is lost, and packet 2 is there when frame 1 is due.
    push(rx, packets[2], 160 * MS);
    const auto f = rx.pull((160 + PLAYOUT_MARGIN_MS) * MS);
    BOOST_REQUIRE(f.has_value());
    BOOST_TEST((f->lost && f->following == numbered(2)));
}

BOOST_AUTO_TEST_CASE(live_copies_are_in_time_though_the_first_packet_was_early)
{
    const decision how{ 6, 2, 1, false, false };
    const auto packets = stream(600, how);
    for (int early_ms : { 0, 15, 50 }) {
        depacketizer rx(live(80));
        player out(rx);
        std::mt19937 rng(early_ms);
        std::uint64_t repairs_settled = 0;
        for (int n = 0; n < 600; ++n) {
            const std::int64_t now = (n == 0 ? 100 - early_ms : 100 + n * 80) * MS;
            out.play_until(now);
            if (n % 5 != 3)
                push(rx, packets[n], now + rng() % 4 * MS);
            // A first packet that was too early is in the first window of 5 s, and two more are
            // needed.
            if (n == 210)
                repairs_settled = rx.counters().repairs;
        }
        BOOST_TEST_CONTEXT("early by " << early_ms)
        {
            BOOST_TEST(rx.counters().repairs == repairs_settled);
            BOOST_TEST(rx.counters().skew_inserted == (early_ms > PLAYOUT_MARGIN_MS ? 1u : 0u));
            BOOST_TEST((repairs_settled > 0) == (early_ms > PLAYOUT_MARGIN_MS));
        }
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
#define BOOST_TEST_MODULE playout
#include <boost/test/unit_test.hpp>

#include "streams.h"

#include <functional>
#include <random>

namespace {

constexpr int LEAST_MS = 80, MOST_MS = 400;

depacketizer_config adaptive(int least_ms = LEAST_MS, int most_ms = MOST_MS)
{
    depacketizer_config config = live(least_ms);
    config.max_deadline_ms = most_ms;
    return config;
}

/// A link whose packets are late by what a function of their number tells, and its player. Where
/// that is negative, the packet is lost.
class jittery_link
{
public:
    explicit jittery_link(const depacketizer_config& config = adaptive(), double speed = 1.0)
        : rx(config),
          out(rx, speed),
          d_frames(config.frames_per_packet)
    {
    }

    /// Sends the packets `first` to `last` - 1 of `packets`, and plays until the last one.
    void send(const std::vector<packet>& packets,
              const std::function<double(int)>& late_ms,
              int first,
              int last)
    {
        std::vector<std::pair<std::int64_t, int>> order;
        for (int n = first; n < last; ++n)
            if (const double late = late_ms(n); late >= 0)
                order.emplace_back(d_begin_ns + std::int64_t((n * 80 * d_frames + late) * MS), n);
        std::sort(order.begin(), order.end());
        for (const auto& [at_ns, n] : order) {
            out.play_until(at_ns);
            push(rx, packets[n], at_ns);
            delay_ms = rx.playout_delay_ns() / MS;
            most_ms = std::max(most_ms, delay_ms);
        }
        now_ns = order.back().first;
    }
    /// What is sent next begins so much later than what was sent last.
    void pause(std::int64_t ms)
    {
        d_begin_ns += ms * MS;
        out.play_until(d_begin_ns);
    }
    /// Frames played from the `from`-th on that are not whole.
    int broken(std::size_t from = 0) const
    {
        return std::count_if(out.frames.begin() + from, out.frames.end(), [](const auto& f) {
            return f.received_tokens() < TOKENS_PER_FRAME;
        });
    }
    void check_continuity() const
    {
        for (std::size_t n = 0; n < out.frames.size(); ++n)
            BOOST_REQUIRE_EQUAL(out.frames[n].index, n);
    }

    depacketizer rx;
    player out;
    std::int64_t now_ns = 0, delay_ms = 0, most_ms = 0;

private:
    const int d_frames;
    std::int64_t d_begin_ns = 0;
};

std::function<double(int)> uniform(double most_ms, int seed = 1)
{
    auto rng = std::make_shared<std::mt19937>(seed);
    return [=](int) { return std::uniform_real_distribution<>(0, most_ms)(*rng); };
}

} // namespace

BOOST_AUTO_TEST_CASE(limits_are_checked)
{
    for (int most : { -1, 79, 5001 })
        BOOST_CHECK_THROW(depacketizer{ adaptive(80, most) }, std::invalid_argument);
    depacketizer(adaptive(80, 80));
    depacketizer(adaptive(0, 0));
}

BOOST_AUTO_TEST_CASE(constant_arrival_changes_nothing)
{
    for (int frames : { 1, 2, 4 }) {
        depacketizer_config config = adaptive(80 * frames);
        config.frames_per_packet = frames;
        jittery_link l(config);
        l.send(stream(4000, {}, 0, frames), uniform(20), 0, 4000 / frames);
        BOOST_TEST(l.rx.counters().playout_grown == 0u);
        BOOST_TEST(l.rx.counters().playout_shrunk == 0u);
        BOOST_TEST(l.broken() == 0);
        BOOST_TEST(l.delay_ms >= 80 * frames);
        BOOST_TEST(l.delay_ms <= 80 * frames + PLAYOUT_MARGIN_MS + 30);
    }
}

BOOST_AUTO_TEST_CASE(step_of_jitter_is_followed_and_forgotten)
{
    jittery_link l;
    const auto packets = stream(6000);
    const auto bad = uniform(200);
    l.send(packets, uniform(10), 0, 1000);
    BOOST_TEST(l.broken() == 0);
    l.send(packets, bad, 1000, 1025);
    // Within 2 s it waits long enough.
    const std::size_t settled = l.out.frames.size();
    BOOST_TEST(l.rx.counters().playout_grown >= 1u);
    BOOST_TEST(l.rx.counters().playout_grown <= 2u);
    l.send(packets, bad, 1025, 3000);
    BOOST_TEST(l.broken(settled) <= 8);
    BOOST_TEST(l.most_ms <= 290);
    l.send(packets, uniform(10), 3000, 6000);
    BOOST_TEST(l.delay_ms <= LEAST_MS + 80);
    const auto& c = l.rx.counters();
    BOOST_TEST(c.playout_shrunk >= c.playout_grown - 1);
    BOOST_TEST(c.playout_grown <= 4u);
    BOOST_TEST(c.skew_inserted + c.skew_dropped == 0u);
    l.check_continuity();
}

BOOST_AUTO_TEST_CASE(pairs_and_several_frames_a_packet_are_followed)
{
    for (layout kind : { layout::sequential, layout::pair })
        for (int frames : { 1, 2, 4 }) {
            // The two packets of a pair come together.
            const int together = kind == layout::pair ? 2 : 1;
            depacketizer_config config = adaptive(80 * frames, 80 * frames + 320);
            config.kind = kind;
            config.frames_per_packet = frames;
            const int count = 8000 / frames;
            std::mt19937 rng(7);
            std::vector<double> late(count);
            for (int n = 0; n < count; ++n)
                late[n] = n % together ? late[n - 1] - 80 * frames
                                       : 80 * frames * (together - 1) + rng() % 180;
            jittery_link l(config);
            l.send(
                stream(8000, {}, 0, frames, kind), [&](int n) { return late[n]; }, 0, count);
            BOOST_TEST_CONTEXT("frames " << frames << ", pair " << (kind == layout::pair))
            {
                // Of the last three quarters, where it has settled.
                BOOST_TEST(l.broken(2000) <= 60);
                BOOST_TEST(l.delay_ms <= 80 * frames * together + 280);
                const auto& c = l.rx.counters();
                BOOST_TEST(c.playout_grown + c.playout_shrunk <= 12u);
            }
            l.check_continuity();
        }
}

BOOST_AUTO_TEST_CASE(a_fixed_deadline_loses_what_an_adaptive_one_keeps)
{
    const auto packets = stream(5000);
    jittery_link adapting, fixed(live(LEAST_MS));
    adapting.send(packets, uniform(200), 0, 5000);
    fixed.send(packets, uniform(200), 0, 5000);
    BOOST_TEST(adapting.rx.counters().late < 20u);
    BOOST_TEST(fixed.rx.counters().late > 200u);
    BOOST_TEST(fixed.rx.counters().playout_grown == 0u);
}

BOOST_AUTO_TEST_CASE(the_limit_holds)
{
    jittery_link l;
    std::mt19937 rng(3);
    std::exponential_distribution<> heavy(1 / 400.0);
    l.send(
        stream(5000), [&](int) { return heavy(rng); }, 0, 5000);
    // The fastest packets wait no longer than the limit, half a frame and a frame of skew.
    BOOST_TEST(l.most_ms <= MOST_MS + 40 + 80);
    BOOST_TEST(l.rx.counters().playout_grown < 200u);
    l.check_continuity();
}

BOOST_AUTO_TEST_CASE(one_jam_is_no_jitter_and_many_are)
{
    const auto jam = [](int n, int period) { return std::max(0, 320 - 80 * (n % period)); };
    jittery_link once;
    once.send(
        stream(1000), [&](int n) { return n < 500 ? 0 : jam(n - 500, 1000); }, 0, 1000);
    BOOST_TEST(once.rx.counters().playout_grown == 0u);
    jittery_link often;
    often.send(
        stream(3000), [&](int n) { return n < 500 ? 0 : jam(n, 50); }, 0, 3000);
    BOOST_TEST(often.rx.counters().playout_grown >= 3u);
    BOOST_TEST(often.rx.counters().late <= 10u);
    BOOST_TEST(often.most_ms <= MOST_MS + 40);
}

BOOST_AUTO_TEST_CASE(copies_of_lost_packets_are_waited_for)
{
    const decision how{ 6, 2, 1, false, false };
    const auto packets = stream(4000, how);
    jittery_link l;
    std::mt19937 rng(5);
    const auto late = [&](int n) { return n % 10 == 3 ? -1.0 : rng() % 60; };
    l.send(packets, late, 0, 4000);
    BOOST_TEST(l.delay_ms >= LEAST_MS + 50);
    int without = 0;
    for (auto f = l.out.frames.end() - 2000; f != l.out.frames.end(); ++f)
        without += f->received_tokens() == 0;
    BOOST_TEST(without <= 4);
}

BOOST_AUTO_TEST_CASE(drift_is_followed_within_the_limits)
{
    for (double speed : { 0.999, 1.001 }) {
        jittery_link l(adaptive(), speed);
        l.send(stream(12000), uniform(40), 0, 12000);
        BOOST_TEST_CONTEXT("speed " << speed)
        {
            // 960 s: 12 frames.
            const auto& c = l.rx.counters();
            const auto inserted = c.skew_inserted + c.playout_grown;
            const auto dropped = c.skew_dropped + c.playout_shrunk;
            const auto more = static_cast<int>(inserted) - static_cast<int>(dropped);
            BOOST_TEST(std::abs(more) >= 10);
            BOOST_TEST(std::abs(more) <= 14);
            BOOST_TEST(inserted + dropped <= 24u);
            BOOST_TEST(l.most_ms <= LEAST_MS + 240);
            BOOST_TEST(c.late <= 60u);
        }
        l.check_continuity();
    }
}

BOOST_AUTO_TEST_CASE(reorder_and_duplicates_ask_for_no_more_than_they_need)
{
    jittery_link l;
    // Every third packet is overtaken by the two behind it.
    l.send(
        stream(3000), [](int n) { return n % 3 == 0 ? 170 : 0; }, 0, 3000);
    BOOST_TEST(l.rx.counters().late <= 4u);
    BOOST_TEST(l.delay_ms <= 260);
    const auto grown = l.rx.counters().playout_grown;
    BOOST_TEST(grown <= 2u);
    BOOST_TEST(l.rx.counters().playout_shrunk == 0u);
}

BOOST_AUTO_TEST_CASE(sequence_wraps_and_senders_start_anew)
{
    jittery_link l;
    std::int64_t late = 0;
    for (int sender = 0; sender < 5; ++sender) {
        l.send(stream(700, {}, sender), uniform(200, sender), 0, 700);
        l.pause(700 * 80 + 7000);
        const std::int64_t now_late = l.rx.counters().late;
        // What was learnt serves the next stream.
        BOOST_TEST(now_late - late <= (sender == 0 ? 12 : 6));
        late = now_late;
    }
    BOOST_TEST(l.rx.counters().playout_grown <= 4u);
    // The first packet of a stream may be late, and then all others wait so much longer.
    BOOST_TEST(l.most_ms <= MOST_MS + 40);
    l.check_continuity();
}

BOOST_AUTO_TEST_CASE(stall_of_the_sender_is_followed)
{
    jittery_link l;
    l.send(
        stream(1000), [](int n) { return n < 200 ? 0 : 900; }, 0, 1000);
    const auto& c = l.rx.counters();
    BOOST_TEST(c.late < 20u);
    BOOST_TEST(c.skew_inserted + c.playout_grown >= 10u);
    BOOST_TEST(c.skew_inserted + c.playout_grown <= 16u);
    BOOST_TEST(l.broken(l.out.frames.size() - 300) == 0);
    BOOST_TEST(l.delay_ms <= MOST_MS + 40);
}

BOOST_AUTO_TEST_CASE(backlog_is_skipped)
{
    for (int most : { 0, MOST_MS }) {
        // The receiver was busy for 3 s, and takes all packets of that time at once.
        jittery_link l(adaptive(LEAST_MS, most));
        l.send(
            stream(1000), [](int n) { return std::max(0, 3000 - 80 * n); }, 0, 1000);
        // A second of it is played.
        BOOST_TEST(l.most_ms <= 1200);
        BOOST_TEST(l.delay_ms <= std::max(most, LEAST_MS) + 80);
        BOOST_TEST(l.rx.counters().skew_dropped <= 40u);
        BOOST_TEST(l.broken() == 0);
        l.check_continuity();
    }
}

BOOST_AUTO_TEST_CASE(a_frame_of_silence_goes_first)
{
    jittery_link l;
    packetizer tx(1, layout::sequential);
    std::vector<packet> packets;
    for (int n = 0; n < 3000; ++n) {
        const bool pause = n % 50 >= 40;
        const decision how{ pause ? 2 : 8, 0, 0, pause, false };
        for (auto& p : tx.push(numbered(n), how).packets)
            packets.push_back(p);
    }
    const auto bad = uniform(200);
    l.send(
        packets, [&](int n) { return n < 500 ? bad(n) : 0; }, 0, 3000);
    BOOST_TEST(l.rx.counters().playout_shrunk >= 1u);
    // Every whole frame behind the bad time is played, but for none: what is missing was silent.
    std::vector<bool> heard(3000);
    int next = 0;
    for (const auto& f : l.out.frames)
        for (int n = next; n < std::min(3000, next + 40); ++n)
            if (f.received_tokens() == 8 && f.tokens == numbered(n)) {
                heard[n] = true;
                next = n;
            }
    int missing = 0;
    for (int n = 600; n < 2990; ++n)
        missing += n % 50 < 40 && !heard[n];
    BOOST_TEST(missing == 0);
}

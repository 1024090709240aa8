// SPDX-License-Identifier: GPL-3.0-or-later
#define BOOST_TEST_MODULE parity
#include "galois.h"
#include "loss_model.h"
#include "parity_allocation.h"
#include "statistics.h"
#include "streams.h"

using namespace largesc::test;

namespace {

decision with_parity(int sent, int parity, int depth)
{
    decision how;
    how.tokens_sent = sent;
    how.tokens_repeated = parity;
    how.tokens_protected = depth;
    return how;
}

/// The tokens that were sent, and erased ones behind them.
tokens_t first_of(int n, int count)
{
    tokens_t tokens = numbered(n);
    std::fill(tokens.begin() + count, tokens.end(), ERASED_TOKEN);
    return tokens;
}

depacketizer offline(int frames = 1, bool crc = false)
{
    depacketizer_config config;
    config.frames_per_packet = frames;
    config.kind = layout::parity;
    config.crc = crc;
    return depacketizer(config);
}

} // namespace

BOOST_AUTO_TEST_CASE(the_field_is_one)
{
    std::vector<bool> seen(TOKEN_VALUES);
    std::uint16_t power = 1;
    for (int n = 1; n < TOKEN_VALUES; ++n) {
        BOOST_REQUIRE(!seen[power]);
        seen[power] = true;
        BOOST_REQUIRE(galois::multiply(power, galois::inverse(power)) == 1);
        power = galois::multiply(power, 2);
    }
    BOOST_TEST(galois::multiply(0, 5) == 0);
    BOOST_TEST(galois::multiply(1024, 2) == 5);
    for (int n = 0; n < 1000; ++n) {
        const std::uint16_t a = n * 37 % TOKEN_VALUES, b = n * 911 % TOKEN_VALUES,
                            c = n * 53 % TOKEN_VALUES;
        BOOST_REQUIRE(galois::multiply(a, b ^ c) ==
                      (galois::multiply(a, b) ^ galois::multiply(a, c)));
        BOOST_REQUIRE(galois::multiply(a, galois::multiply(b, c)) ==
                      galois::multiply(galois::multiply(a, b), c));
    }
}

BOOST_AUTO_TEST_CASE(coefficients_are_those_of_the_document)
{
    BOOST_TEST(parity_coefficient({ 0, 0 }, 1, 0, 0) == 1031);
    BOOST_TEST(parity_coefficient({ 255, 7 }, 12, 3, 6) == 985);
}

BOOST_AUTO_TEST_CASE(without_loss_every_frame_comes_as_it_was)
{
    for (int frames = 1; frames <= MAX_FRAMES_PER_PACKET; ++frames) {
        depacketizer rx = offline(frames);
        for (const packet& p : stream(600, with_parity(6, 2, 4), 0, frames, layout::parity))
            push(rx, p);
        rx.flush(600);
        const auto found = take(rx);
        BOOST_REQUIRE(found.size() == 600);
        for (int n = 0; n < 600; ++n)
            BOOST_REQUIRE(found[n].tokens == first_of(n, 6));
        BOOST_TEST(rx.counters().tokens_recovered == 0);
        BOOST_TEST(rx.counters().parity_conflicts == 0);
    }
}

BOOST_AUTO_TEST_CASE(lost_packets_come_back_to_their_depth)
{
    for (int frames = 1; frames <= MAX_FRAMES_PER_PACKET; ++frames) {
        depacketizer rx = offline(frames);
        const auto sent = stream(600, with_parity(6, 3, 3), 0, frames, layout::parity);
        std::vector<bool> lost(sent.size());
        // Singles, and bursts of up to four: each is paid back within eight packets. The first
        // packets of all are among them.
        for (std::size_t n = 0; n < sent.size(); ++n)
            lost[n] = n % 12 < (n / 12) % 5;
        for (std::size_t n = 0; n < sent.size(); ++n)
            if (!lost[n])
                push(rx, sent[n]);
        rx.flush(600);
        const auto found = take(rx);
        BOOST_REQUIRE(found.size() == 600);
        for (int n = 0; n < 600; ++n) {
            BOOST_TEST_INFO("frame " << n << " of " << frames << " a packet");
            BOOST_REQUIRE(found[n].tokens == first_of(n, lost[n / frames] ? 3 : 6));
            BOOST_REQUIRE(!found[n].lost);
        }
        BOOST_TEST(rx.counters().tokens_recovered > 100);
    }
}

BOOST_AUTO_TEST_CASE(the_last_frames_come_back_by_the_tail)
{
    for (const bool live : { false, true })
        for (int frames = 1; frames <= MAX_FRAMES_PER_PACKET; ++frames)
            for (int count = 45; count < 45 + frames; ++count) {
                depacketizer_config config;
                config.frames_per_packet = frames;
                config.kind = layout::parity;
                config.live = live;
                config.deadline_ms = 960 * frames;
                depacketizer rx(config);
                packetizer tx(frames, layout::parity);
                std::vector<packet> sent;
                const auto add = [&](push_result result) {
                    for (packet& p : result.packets)
                        sent.push_back(std::move(p));
                };
                for (int n = 0; n < count; ++n)
                    add(tx.push(numbered(n), with_parity(5, 3, 3)));
                add(tx.flush());
                const std::size_t slots = (count + frames - 1) / frames;
                BOOST_REQUIRE(sent.size() == slots + PARITY_TAIL);
                BOOST_TEST(tx.flush().packets.empty());
                sent.push_back(tx.end_packet());
                std::vector<received_frame> found;
                std::int64_t now = 0;
                for (std::size_t n = 0; n < sent.size(); ++n, now += 80 * frames * MS) {
                    // Two of the last three slots, and one of the tail.
                    if (n != slots - 1 && n != slots - 3 && n != slots + 1)
                        push(rx, sent[n], now);
                    for (int i = 0; live && i < frames; ++i)
                        if (auto f = rx.pull(now + i * 80 * MS))
                            found.push_back(*f);
                }
                if (!live)
                    rx.flush(count);
                for (; live && !rx.ended() && found.size() < 100; now += 80 * MS)
                    if (auto f = rx.pull(now))
                        found.push_back(*f);
                if (!live)
                    found = take(rx);
                BOOST_TEST_INFO("live " << live << " frames " << frames << " count " << count
                                        << ": " << found.size() << " found");
                // Where the last packet is lost, nobody knows that it was padded.
                BOOST_REQUIRE(found.size() == (live ? slots * frames : count));
                for (int n = 0; n < count; ++n) {
                    const int slot = n / frames;
                    const bool lost = slot == int(slots) - 1 || slot == int(slots) - 3;
                    BOOST_REQUIRE(found[n].tokens == first_of(n, lost ? 3 : 5));
                }
                BOOST_TEST(rx.ended());
            }
}

BOOST_AUTO_TEST_CASE(a_tail_tells_where_the_end_is)
{
    auto sent = stream(40, with_parity(5, 3, 3), 0, 1, layout::parity);
    // Without the end packet, and with any one packet of the tail alone.
    for (int kept = 0; kept < PARITY_TAIL; ++kept) {
        depacketizer rx = offline();
        for (int n = 0; n < 40; ++n)
            push(rx, sent[n]);
        push(rx, sent[40 + kept]);
        rx.flush();
        BOOST_TEST(take(rx).size() == 40);
    }
    depacketizer_config config;
    config.kind = layout::parity;
    config.live = true;
    config.deadline_ms = 0;
    depacketizer rx(config);
    std::int64_t now = 0;
    int played = 0;
    for (int n = 0; n < 43; ++n, now += 80 * MS) {
        push(rx, sent[n], now);
        played += rx.pull(now + 25 * MS).has_value();
    }
    // Late ones begin nothing.
    for (int n = 40; n < 43; ++n)
        for (int again = 0; again < 3; ++again, now += 80 * MS) {
            push(rx, sent[n], now);
            played += rx.pull(now + 25 * MS).has_value();
        }
    for (int n = 0; n < 80; ++n, now += 80 * MS)
        played += rx.pull(now).has_value();
    BOOST_TEST(played == 40);
    BOOST_TEST(rx.counters().resyncs == 0);
}

BOOST_AUTO_TEST_CASE(a_flood_of_sums_is_bounded)
{
    parity_solver solver(MAX_FRAMES_PER_PACKET);
    const std::vector<std::uint16_t> sums(TOKENS_PER_FRAME * MAX_FRAMES_PER_PACKET, 77);
    for (std::uint64_t slot = 300; slot < 330; ++slot)
        solver.add(slot, { MAX_PROTECTED_TOKENS, 1, PARITY_WINDOW }, sums);
    BOOST_TEST(solver.rows() <= PARITY_WINDOW * MAX_FRAMES_PER_PACKET * MAX_PROTECTED_TOKENS);
}

BOOST_AUTO_TEST_CASE(without_parity_there_is_no_tail)
{
    const auto sent = stream(20, with_parity(5, 0, 0), 0, 1, layout::parity);
    BOOST_TEST(sent.size() == 20);
}

BOOST_AUTO_TEST_CASE(what_comes_back_is_right_and_as_often_as_theory_says)
{
    constexpr int PACKETS = 20000, BLOCKS = 20;
    for (const auto& c : channel_cases())
        for (const parity_split split : { parity_split{ 3, 3 }, { 1, 2 }, { 2, 4 } }) {
            const auto losses = make_loss_model(c.burst > 0.0 ? "gilbert_elliott" : "bernoulli",
                                                c.p,
                                                c.burst > 0.0 ? c.burst : 1.0,
                                                "",
                                                80,
                                                20,
                                                1);
            packetizer tx(1, layout::parity);
            depacketizer rx = offline();
            std::vector<bool> gone(PACKETS);
            std::vector<double> lost(BLOCKS), missing(BLOCKS);
            const auto play = [&] {
                for (const auto& f : take(rx)) {
                    const int known = prefix_length(f.tokens);
                    for (int j = 0; j < TOKENS_PER_FRAME; ++j)
                        BOOST_REQUIRE(
                            (f.tokens[j] == ERASED_TOKEN || f.tokens[j] == numbered(f.index)[j]));
                    if (f.repair || !gone[f.index])
                        continue;
                    ++lost[f.index * BLOCKS / PACKETS];
                    missing[f.index * BLOCKS / PACKETS] += known < split.depth;
                }
            };
            for (int n = 0; n < PACKETS; ++n) {
                const decision how = with_parity(5, split.parity, split.depth);
                for (const packet& p : tx.push(numbered(n), how).packets) {
                    gone[n] = losses->lost();
                    if (!gone[n])
                        push(rx, p);
                }
                play();
            }
            rx.flush(PACKETS);
            play();
            std::vector<double> shares;
            for (int n = 0; n < BLOCKS; ++n)
                shares.push_back(missing[n] / lost[n]);
            const estimate found = plain_mean(shares);
            const double theory =
                not_recovered({ c.p, std::max(c.burst, 1.0) }, split, PARITY_WINDOW);
            // Losses that lie further apart than independent ones do better than it says, and where
            // it says that most are gone, what is older than the window counts for too much in it.
            const bool apart = c.burst > 0.0 && c.burst < 1.0 / (1.0 - c.p);
            const double below = apart ? theory : theory > 0.5 ? 0.12 : 0.02;
            const bool as_told = found.mean < theory + 0.02 + 3.0 * found.error &&
                                 found.mean > theory - below - 3.0 * found.error;
            BOOST_TEST(as_told,
                       "p " << c.p << " burst " << c.burst << " parity " << split.parity
                            << " depth " << split.depth << ": " << found.mean << " +- "
                            << found.error << ", theory " << theory);
            BOOST_TEST(rx.counters().parity_conflicts == 0);
        }
}

BOOST_AUTO_TEST_CASE(reordered_doubled_and_late_packets_change_nothing)
{
    depacketizer rx = offline();
    const auto sent = stream(400, with_parity(5, 3, 3), 0, 1, layout::parity);
    for (std::size_t n = 0; n + 3 < sent.size(); n += 4)
        for (const std::size_t k : { n + 2, n, n + 2, n + 3 })
            if (k % 7 != 3)
                push(rx, sent[k]);
    rx.flush(400);
    const auto found = take(rx);
    for (const auto& f : found) {
        if (f.index + PARITY_WINDOW >= 400)
            break;
        BOOST_REQUIRE(prefix_length(f.tokens) >= 3);
        BOOST_REQUIRE(f.tokens == first_of(f.index, prefix_length(f.tokens)));
    }
}

BOOST_AUTO_TEST_CASE(a_receiver_that_joins_late_makes_nothing_up)
{
    const auto sent = stream(700, with_parity(5, 3, 3), 0, 1, layout::parity);
    // Also just behind the wrap, where the sequence is that of a beginning.
    for (const int first : { 1, 5, 100, 256, 258, 263, 500 }) {
        depacketizer_config config;
        config.kind = layout::parity;
        config.live = true;
        config.deadline_ms = 960;
        depacketizer rx(config);
        std::int64_t now = 0;
        std::vector<received_frame> found;
        for (std::size_t n = first; n < sent.size(); ++n, now += 80 * MS) {
            if (n % 5 != 2)
                push(rx, sent[n], now);
            if (auto f = rx.pull(now + MS))
                found.push_back(*f);
        }
        BOOST_REQUIRE(found.size() > 100);
        std::size_t whole = 0;
        for (const auto& f : found) {
            for (int j = 0; j < TOKENS_PER_FRAME; ++j)
                BOOST_REQUIRE(
                    (f.tokens[j] == ERASED_TOKEN || f.tokens[j] == numbered(f.index + first)[j]));
            whole += prefix_length(f.tokens) >= 3;
        }
        BOOST_TEST(whole + PARITY_WINDOW >= found.size());
        BOOST_TEST(rx.counters().parity_conflicts == 0);
    }
}

BOOST_AUTO_TEST_CASE(a_sender_that_begins_anew_is_not_summed_with_the_old_one)
{
    depacketizer rx = offline();
    for (const packet& p : stream(100, with_parity(5, 3, 3), 0, 1, layout::parity))
        push(rx, p);
    std::size_t n = 0;
    for (const packet& p : stream(200, with_parity(5, 3, 3), 1, 1, layout::parity))
        if (n++ % 4 != 1)
            push(rx, p);
    rx.flush();
    BOOST_TEST(rx.counters().resyncs >= 1);
    std::size_t known = 0;
    for (const auto& f : take(rx)) {
        const auto first = f.tokens[0];
        for (int j = 1; j < prefix_length(f.tokens); ++j)
            BOOST_REQUIRE(f.tokens[j] == (first + j) % TOKEN_VALUES);
        known += first != ERASED_TOKEN;
    }
    BOOST_TEST(known > 280);
}

BOOST_AUTO_TEST_CASE(depth_follows_the_frames_that_sent_least)
{
    packetizer tx(1, layout::parity);
    depacketizer rx = offline();
    for (int n = 0; n < 60; ++n)
        for (const packet& p : tx.push(numbered(n), with_parity(n % 6 == 2 ? 2 : 6, 3, 5)).packets)
            if (n % 6 != 4)
                push(rx, p);
    rx.flush(60);
    for (const auto& f : take(rx))
        if (f.index + PARITY_WINDOW < 60 && f.index % 6 == 4)
            BOOST_REQUIRE(f.tokens == first_of(f.index, 2));
}

BOOST_AUTO_TEST_CASE(what_contradicts_is_counted_and_forgotten)
{
    const auto sent = stream(200, with_parity(5, 3, 3), 0, 1, layout::parity);
    depacketizer rx = offline();
    for (std::size_t n = 0; n < sent.size(); ++n) {
        packet p = sent[n];
        // A token of the frame itself: all sums over it are wrong then.
        if (n == 50)
            p.bytes[2] ^= 0x10;
        if (n % 5 != 2)
            push(rx, p);
    }
    rx.flush(200);
    BOOST_TEST(rx.counters().parity_conflicts >= 1);
    int wrong = 0, behind = 0;
    for (const auto& f : take(rx)) {
        wrong += f.tokens[0] != ERASED_TOKEN && f.tokens[0] != numbered(f.index)[0];
        behind += f.index > 70 && f.index % 5 == 2 && prefix_length(f.tokens) == 3;
    }
    BOOST_TEST(wrong <= 3);
    BOOST_TEST(rx.counters().parity_conflicts <= 2);
    // It begins anew, and brings back what is lost.
    BOOST_TEST(behind == 26);
}

BOOST_AUTO_TEST_CASE(other_layouts_are_told_apart)
{
    depacketizer parity = offline(), sequential({ 1, layout::sequential });
    const auto summed = stream(100, with_parity(5, 3, 3), 0, 1, layout::parity);
    decision copied;
    copied.tokens_sent = 5;
    copied.tokens_repeated = 3;
    copied.copy_distance = 1;
    int refused = 0;
    for (const packet& p : stream(100, copied))
        refused += !parity.push(p.bytes.data(), p.bytes.size(), 0);
    BOOST_TEST(refused >= 98 - PARITY_WINDOW);
    refused = 0;
    for (const packet& p : summed)
        refused += !sequential.push(p.bytes.data(), p.bytes.size(), 0);
    BOOST_TEST(refused >= 100 - PARITY_WINDOW);
    sequential.flush();
    BOOST_TEST(sequential.refusal_reason().find("layout parity") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(theory_has_its_limits)
{
    BOOST_TEST(not_recovered({ 0.0, 1.0 }, { 1, 1 }, 12) == 0.0);
    BOOST_TEST(not_recovered({ 0.3, 1.0 }, { 0, 3 }, 12) == 1.0);
    BOOST_TEST(not_recovered({ 0.3, 1.0 }, { 3, 3 }, 0) == 1.0);
    // One packet behind a lost one brings back as much, where nothing else was lost.
    BOOST_TEST(not_recovered({ 0.01, 1.0 }, { 3, 3 }, 1) < 0.03);
    for (int wait = 1; wait < PARITY_WINDOW; ++wait)
        BOOST_TEST(not_recovered({ 0.3, 1.0 }, { 3, 3 }, wait + 1) <=
                   not_recovered({ 0.3, 1.0 }, { 3, 3 }, wait));
}

BOOST_AUTO_TEST_CASE(the_best_split_follows_the_channel)
{
    const prefix_distortion usual{ 1.0, .245, .156, .111, .083, .063, .05, .039, .031 };
    BOOST_TEST(best_parity(8, usual, { 0.0, 1.0 }, 12).parity == 0);
    const parity_split light = best_parity(8, usual, { 0.1, 1.0 }, 12);
    const parity_split heavy = best_parity(8, usual, { 0.3, 1.0 }, 12);
    BOOST_TEST(light.parity >= 1);
    BOOST_TEST(heavy.parity > light.parity);
    BOOST_TEST(best_parity(1, usual, { 0.3, 1.0 }, 12).parity == 0);
    for (const double share : { 1.0, 2.0, 5.5, 8.0, 16.0 })
        for (const double p : { 0.0, 0.05, 0.3, 0.7, 1.0 }) {
            const parity_split found = best_parity(share, usual, { p, 3.0 }, 12);
            BOOST_TEST(found.parity <= share - 1);
            BOOST_TEST(found.depth <= std::min(7.0, share - found.parity));
        }
}

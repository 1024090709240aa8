// SPDX-License-Identifier: GPL-3.0-or-later
#define BOOST_TEST_MODULE channel
#include "channel.h"
#include "statistics.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <numeric>

using namespace largesc;
using namespace largesc::test;

namespace {

struct packet {
    int number = 0;
    std::vector<std::size_t> hits;
};

struct outcome {
    std::vector<packet> arrived;
    std::vector<double> lost;
    std::vector<int> packets_late; ///< packets that left between sending and arrival
    channel_counters counters;
};

outcome run(const impairments& how,
            int count,
            std::unique_ptr<loss_model> losses = std::make_unique<bernoulli_loss>(0.0, 1),
            std::size_t bits = 0,
            std::uint64_t seed = 1)
{
    channel<packet> link(std::move(losses), how, seed);
    outcome out;
    packet item;
    for (int n = 0; n < count; ++n) {
        const fate what =
            link.send({ n, {} }, bits, [](packet& p, std::size_t bit) { p.hits.push_back(bit); });
        out.lost.push_back(what == fate::lost);
        bool came = false;
        while (link.receive(item)) {
            came |= item.number == n;
            out.arrived.push_back(item);
            out.packets_late.push_back(n - item.number);
        }
        BOOST_REQUIRE(came == (what == fate::arrived));
    }
    while (link.receive(item, true))
        out.arrived.push_back(item);
    out.counters = link.counters();
    return out;
}

std::vector<int> numbers(const outcome& out)
{
    std::vector<int> n;
    for (const auto& p : out.arrived)
        n.push_back(p.number);
    return n;
}

} // namespace

BOOST_AUTO_TEST_CASE(clean_channel_passes_everything_at_once)
{
    const auto out = run({}, 1000);
    std::vector<int> all(1000);
    std::iota(all.begin(), all.end(), 0);
    BOOST_TEST(numbers(out) == all);
    BOOST_TEST(*std::max_element(out.packets_late.begin(), out.packets_late.end()) == 0);
    BOOST_TEST(out.counters.sent == 1000u);
    BOOST_TEST(out.counters.delayed + out.counters.dropped + out.counters.reordered == 0u);
}

BOOST_AUTO_TEST_CASE(loss_counters_measure_what_was_set)
{
    const auto out = run({}, 100000, std::make_unique<gilbert_elliott_loss>(0.2, 3.0, 3));
    const double error = both_lost_error({ 0.2, 3.0 }, 0, 100000);
    const auto burst = plain_mean(bursts(out.lost));
    BOOST_TEST(std::abs(out.counters.loss_probability() - 0.2) < 3.0 * error);
    BOOST_TEST(std::abs(out.counters.mean_burst() - 3.0) < 3.0 * burst.error);
    BOOST_TEST(std::abs(out.counters.mean_burst() - burst.mean) < 1e-9);
    BOOST_TEST(out.arrived.size() == out.counters.sent - out.counters.dropped);
}

BOOST_AUTO_TEST_CASE(jitter_below_the_packet_time_keeps_the_order)
{
    impairments how;
    how.jitter_ms = 79.0;
    const auto out = run(how, 1000);
    BOOST_TEST(out.counters.delayed == 1000u);
    BOOST_TEST(out.counters.reordered == 0u);
    BOOST_TEST(numbers(out).size() == 1000u);
    BOOST_TEST(*std::max_element(out.packets_late.begin(), out.packets_late.end()) == 1);
}

BOOST_AUTO_TEST_CASE(jitter_above_the_packet_time_reorders)
{
    impairments how;
    how.jitter_ms = 200.0;
    const auto out = run(how, 10000);
    const auto order = numbers(out);
    BOOST_TEST(!std::is_sorted(order.begin(), order.end()));
    int behind = 0, newest = -1;
    for (const int n : order) {
        behind += n < newest;
        newest = std::max(newest, n);
    }
    BOOST_TEST(out.counters.reordered == static_cast<std::uint64_t>(behind));
    BOOST_TEST(*std::max_element(out.packets_late.begin(), out.packets_late.end()) <= 3);
}

BOOST_AUTO_TEST_CASE(late_packets_arrive_while_others_are_lost)
{
    // Losses must not stop the time, or a late packet would wait for the next that gets through.
    struct only_first : loss_model {
        bool lost() override { return count++ > 0; }
        int count = 0;
    };
    impairments how;
    how.reorder_probability = 1.0;
    const auto out = run(how, 10, std::make_unique<only_first>());
    BOOST_REQUIRE(out.packets_late.size() == 1u);
    BOOST_TEST(out.packets_late[0] <= 3);
}

BOOST_AUTO_TEST_CASE(duplicates_arrive_twice_and_are_no_reordering)
{
    impairments how;
    how.duplicate_probability = 0.25;
    const auto out = run(how, 100000);
    BOOST_TEST(out.arrived.size() == 100000u + out.counters.duplicated);
    const double error = std::sqrt(0.25 * 0.75 / 100000);
    BOOST_TEST(std::abs(out.counters.duplicated / 100000.0 - 0.25) < 3.0 * error);
    BOOST_TEST(out.counters.reordered == 0u);
}

BOOST_AUTO_TEST_CASE(bit_errors_come_at_the_rate_set)
{
    impairments how;
    how.bit_error_rate = 0.01;
    const auto out = run(how, 2000, std::make_unique<bernoulli_loss>(0.0, 1), 400);
    std::size_t errors = 0, packets = 0;
    for (const auto& p : out.arrived) {
        errors += p.hits.size();
        packets += !p.hits.empty();
        for (const auto bit : p.hits)
            BOOST_TEST(bit < 400u);
    }
    const double bits = 2000.0 * 400.0;
    BOOST_TEST(std::abs(errors / bits - 0.01) < 3.0 * std::sqrt(0.01 * 0.99 / bits));
    BOOST_TEST(out.counters.corrupted == packets);
}

BOOST_AUTO_TEST_CASE(same_seed_same_fate)
{
    const impairments how{ 80.0, 150.0, 0.1, 0.1, 0.001 };
    const auto fate = [&how](std::uint64_t seed) {
        return numbers(run(how, 500, std::make_unique<bernoulli_loss>(0.1, 4), 100, seed));
    };
    BOOST_TEST(fate(5) == fate(5));
    BOOST_TEST(fate(5) != fate(6));
}

BOOST_AUTO_TEST_CASE(bad_values_are_named_with_a_remedy)
{
    const auto refused = [](impairments how, const std::string& words) {
        BOOST_CHECK_EXCEPTION(check(how), std::invalid_argument, [&](const auto& e) {
            return std::string(e.what()) == words;
        });
    };
    refused({ 0.0, 0, 0, 0, 0 }, "packet_ms 0 is out of range: use 1 to 10000");
    refused({ 80, -1, 0, 0, 0 }, "jitter_ms -1 is out of range: use 0 to 10000");
    refused({ 80, 0, 1.5, 0, 0 }, "reorder_probability 1.5 is out of range: use 0 to 1");
    refused({ 80, 0, 0, -0.5, 0 }, "duplicate_probability -0.5 is out of range: use 0 to 1");
    refused({ 80, 0, 0, 0, std::nan("") }, "bit_error_rate nan is out of range: use 0 to 1");
}

// SPDX-License-Identifier: GPL-3.0-or-later
#define BOOST_TEST_MODULE allocation
#include "allocation.h"
#include "loss_model.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

using namespace largesc;

namespace {

/// Books what `demand` wants of each frame, as far as it may.
std::vector<int> spend(double budget_bps, int frames, const std::function<int(int frame)>& demand)
{
    budget_window window(budget_bps);
    std::vector<int> used;
    for (int n = 0; n < frames; ++n) {
        const int allowed = window.allowance();
        BOOST_REQUIRE(allowed >= 0);
        BOOST_REQUIRE(allowed <= MAX_TOKENS_A_FRAME);
        used.push_back(std::min(demand(n), allowed));
        window.commit(used.back());
    }
    return used;
}

int most_in_a_window(const std::vector<int>& used)
{
    int most = 0;
    for (std::size_t n = 0; n + BUDGET_WINDOW_FRAMES <= used.size(); ++n)
        most = std::max(
            most, std::accumulate(used.begin() + n, used.begin() + n + BUDGET_WINDOW_FRAMES, 0));
    return most;
}

} // namespace

BOOST_AUTO_TEST_CASE(budget_holds_over_any_25_frames)
{
    std::mt19937_64 rng(1);
    std::uniform_real_distribution<double> budgets(137.5, 2200.0);
    for (int trial = 0; trial < 500; ++trial) {
        const double budget = trial == 0 ? 137.5 : trial == 1 ? 2200.0 : budgets(rng);
        // From steady to bursts of silence and speech.
        const int most = 1 + rng() % 16, change = 1 + rng() % 60;
        int level = most;
        const auto used = spend(budget, 600, [&](int n) {
            if (n % change == 0)
                level = rng() % 3 == 0 ? 0 : most;
            return static_cast<int>(level > 0 ? rng() % (level + 1) + (rng() % 2) * 16 : rng() % 2);
        });
        BOOST_TEST_INFO("budget " << budget);
        BOOST_TEST(most_in_a_window(used) * TOKEN_BITS <= budget * 2.0 + 1e-6);
    }
}

BOOST_AUTO_TEST_CASE(a_steady_demand_gets_the_whole_budget_evenly)
{
    for (double budget = 137.5; budget <= 2200.0; budget += 12.5) {
        const auto used = spend(budget, 1000, [](int) { return 16; });
        const double share = budget * 0.08 / TOKEN_BITS;
        const double mean = std::accumulate(used.begin(), used.end(), 0) / 1000.0;
        BOOST_TEST_INFO("budget " << budget << " share " << share << " mean " << mean);
        // No more than the fraction of a token that 25 frames cannot hold is given away.
        BOOST_TEST(mean > share - 1.0 / BUDGET_WINDOW_FRAMES - 0.01);
        BOOST_TEST(mean <= share + 1e-9);
        const auto [least, most] = std::minmax_element(used.begin(), used.end());
        BOOST_TEST_INFO("budget " << budget << ": " << *least << " to " << *most);
        BOOST_TEST(*most - *least <= 2);
    }
}

BOOST_AUTO_TEST_CASE(every_frame_gets_a_token_and_most_of_its_share)
{
    std::mt19937_64 rng(2);
    for (double budget = 137.5; budget <= 2200.0; budget += 30.0) {
        budget_window window(budget);
        for (int n = 0; n < 500; ++n) {
            const int allowed = window.allowance();
            BOOST_TEST_INFO("budget " << budget << " frame " << n);
            BOOST_TEST(allowed >= 1);
            BOOST_TEST(allowed >= static_cast<int>(0.75 * budget * 0.08 / TOKEN_BITS));
            window.commit(n / 20 % 2 == 1 || rng() % 4 == 0 ? 0 : allowed);
        }
    }
}

BOOST_AUTO_TEST_CASE(silence_leaves_bits_for_the_speech_behind_it)
{
    const auto used = spend(1100.0, 60, [](int n) { return n < 30 ? 1 : 16; });
    BOOST_TEST(used[29] == 1);
    BOOST_TEST(used[30] > 8);
    BOOST_TEST(used[59] >= 7);
}

BOOST_AUTO_TEST_CASE(bad_values_are_named_with_a_remedy)
{
    const auto refused = [](auto make_it, const std::string& words) {
        BOOST_CHECK_EXCEPTION(make_it(), std::invalid_argument, [&](const auto& e) {
            return std::string(e.what()).find(words) != std::string::npos;
        });
    };
    refused([] { budget_window(137.0); }, "budget_bps 137 is out of range: use 137.5 (one token");
    refused([] { budget_window(2201.0); }, "budget_bps 2201 is out of range");
    refused([] { budget_window(std::nan("")); }, "budget_bps nan");
    refused([] { budget_window(1100.0).commit(12); }, "tokens 12 do not fit");
    refused([] { budget_window(1100.0).commit(-1); }, "tokens -1 do not fit");
    refused([] { copy_distance(80, 5); }, "frames_per_packet 5");
}

BOOST_AUTO_TEST_CASE(table_repeats_more_as_the_loss_grows)
{
    const std::vector<std::pair<double, int>> rows = { { 0.0, 0 }, { 0.04, 0 }, { 0.05, 1 },
                                                       { 0.1, 1 }, { 0.2, 2 },  { 0.3, 4 },
                                                       { 0.6, 4 } };
    for (const auto& [p, copies] : rows)
        for (int allowed = 0; allowed <= 16; ++allowed) {
            const auto [sent, repeated] = split_table(allowed, p, false);
            BOOST_TEST_INFO("p " << p << " allowed " << allowed);
            BOOST_TEST(sent + repeated <= allowed);
            BOOST_TEST(repeated <= sent);
            BOOST_TEST(sent <= TOKENS_PER_FRAME);
            BOOST_TEST(repeated == std::min(copies, allowed / 2));
            BOOST_TEST(sent == std::min(TOKENS_PER_FRAME, allowed - repeated));
            const auto [quiet, none] = split_table(allowed, p, true);
            BOOST_TEST(quiet == std::min(allowed, 2));
            BOOST_TEST(none == 0);
        }
}

BOOST_AUTO_TEST_CASE(fixed_gives_up_its_copies_first)
{
    BOOST_TEST((split_fixed(16, 8, 3) == token_split{ 8, 3 }));
    BOOST_TEST((split_fixed(9, 8, 3) == token_split{ 8, 1 }));
    BOOST_TEST((split_fixed(5, 8, 3) == token_split{ 5, 0 }));
    BOOST_TEST((split_fixed(0, 8, 3) == token_split{ 0, 0 }));
    BOOST_TEST((split_fixed(16, 2, 8) == token_split{ 2, 2 }));
}

BOOST_AUTO_TEST_CASE(learned_takes_the_largest_L_that_fits)
{
    std::mt19937_64 rng(3);
    std::uniform_real_distribution<double> importance(0.0, 1.0);
    for (int trial = 0; trial < 2000; ++trial) {
        const double I_s = importance(rng), I_c = importance(rng);
        const int allowed = 1 + rng() % 16;
        token_split best{ 1, 0 };
        for (int step = 1; step <= 160000; step += 7) {
            const double L = step / 10000.0;
            const int n_s = std::min(8, static_cast<int>(L * I_s));
            const int n_c = std::min(n_s, static_cast<int>(L * I_c));
            if (n_s + n_c > allowed)
                break;
            if (n_s >= 1)
                best = { n_s, n_c };
        }
        BOOST_TEST_INFO(I_s << " " << I_c << " " << allowed);
        BOOST_TEST((split_learned(allowed, I_s, I_c) == best));
    }
}

BOOST_AUTO_TEST_CASE(learned_survives_any_network)
{
    const double nan = std::nan("");
    for (const double I_s : { 0.0, 1.0, -5.0, 7.0, nan, (double)INFINITY })
        for (const double I_c : { 0.0, 1.0, -5.0, 7.0, nan, (double)-INFINITY })
            for (int allowed = 0; allowed <= 16; ++allowed) {
                const auto [sent, repeated] = split_learned(allowed, I_s, I_c);
                BOOST_TEST(sent + repeated <= allowed);
                BOOST_TEST(sent >= (allowed > 0));
                BOOST_TEST(repeated <= sent);
                BOOST_TEST(repeated >= 0);
            }
    BOOST_TEST((split_learned(6, nan, nan) == token_split{ 6, 0 }));
}

BOOST_AUTO_TEST_CASE(exact_is_the_best_of_all_splits)
{
    std::mt19937_64 rng(4);
    std::uniform_real_distribution<double> unit(0.0, 1.0);
    for (int trial = 0; trial < 2000; ++trial) {
        prefix_distortion distortion;
        distortion[0] = 1.0 + unit(rng);
        for (int k = 1; k <= 8; ++k)
            distortion[k] = distortion[k - 1] * (0.5 + 0.5 * unit(rng));
        const channel_state channel{ 0.5 * unit(rng), 1.0 + 4.0 * unit(rng) };
        const int allowed = 1 + rng() % 16, distance = 1 + rng() % 8;
        const double price = 0.1 * unit(rng);
        const auto [tokens, expected] = split_exact(allowed, distortion, channel, distance, price);
        const auto [sent, repeated] = tokens;
        BOOST_TEST((1 <= sent && sent <= 8 && 0 <= repeated && repeated <= sent));
        BOOST_TEST(sent + repeated <= allowed);
        const double p = channel.loss_probability, both = both_lost(channel, distance);
        for (int n_s = 1; n_s <= std::min(8, allowed); ++n_s)
            for (int n_c = 0; n_c <= std::min(n_s, allowed - n_s); ++n_c) {
                const double other =
                    (1 - p) * distortion[n_s] + (p - both) * distortion[n_c] + both * distortion[0];
                BOOST_TEST(expected + price * (sent + repeated) <=
                           other + price * (n_s + n_c) + 1e-9);
            }
    }
}

BOOST_AUTO_TEST_CASE(exact_spends_where_it_helps)
{
    const prefix_distortion usual{ 100, 30, 15, 10, 7, 5, 4, 3, 2 };
    BOOST_TEST((split_exact(8, usual, { 0.0, 1.0 }, 1, 0.0).tokens == token_split{ 8, 0 }));
    BOOST_TEST(split_exact(8, usual, { 0.3, 1.0 }, 1, 0.0).tokens.second >= 2);
    // Hardly heard: one token, however many are allowed.
    BOOST_TEST((split_exact(16, usual, { 0.3, 1.0 }, 1, 1e6).tokens == token_split{ 1, 0 }));
    BOOST_TEST((split_exact(0, usual, { 0.3, 1.0 }, 1, 0.0).tokens == token_split{ 0, 0 }));
    prefix_distortion odd = usual;
    odd[3] = std::nan("");
    odd[0] = INFINITY;
    const auto [sent, repeated] = split_exact(9, odd, { 2.0, 0.0 }, 99, 0.0).tokens;
    BOOST_TEST((sent >= 1 && repeated <= sent && sent + repeated <= 9));
}

BOOST_AUTO_TEST_CASE(both_lost_as_on_a_simulated_channel)
{
    BOOST_TEST(std::abs(both_lost({ 0.3, 1.0 }, 1) - 0.09) < 1e-9);
    BOOST_TEST(both_lost({ 0.0, 5.0 }, 3) == 0.0);
    gilbert_elliott_loss losses(0.25, 3.0, 7);
    std::vector<bool> lost;
    for (int n = 0; n < 400000; ++n)
        lost.push_back(losses.lost());
    for (const int distance : { 1, 2, 4, 8 }) {
        double both = 0;
        for (std::size_t n = 0; n + distance < lost.size(); ++n)
            both += lost[n] && lost[n + distance];
        both /= lost.size() - distance;
        BOOST_TEST(std::abs(both_lost({ 0.25, 3.0 }, distance) - both) < 0.004);
    }
    BOOST_TEST(best_distance({ 0.2, 1.0 }, 8) == 1);
    BOOST_TEST(best_distance({ 0.2, 5.0 }, 8) > 4);
    BOOST_TEST(best_distance({ 0.2, 5.0 }, 2) == 2);
}

BOOST_AUTO_TEST_CASE(copies_arrive_before_the_deadline)
{
    BOOST_TEST(copy_distance(0, 1) == 1);
    BOOST_TEST(copy_distance(80, 1) == 1);
    BOOST_TEST(copy_distance(159, 1) == 1);
    BOOST_TEST(copy_distance(160, 1) == 2);
    BOOST_TEST(copy_distance(640, 1) == 8);
    BOOST_TEST(copy_distance(5000, 1) == 8);
    BOOST_TEST(copy_distance(640, 2) == 4);
    BOOST_TEST(copy_distance(640, 4) == 2);
}

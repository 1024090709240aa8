// SPDX-License-Identifier: GPL-3.0-or-later
#include "allocation.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <sstream>

namespace largesc {

namespace {

/// Over this many frames the slack of the window is spent.
constexpr double SLACK_FRAMES = 12.0;
/// Of its fair share no frame ever gets less, whatever those before it have spent.
constexpr double RESERVED_SHARE = 0.75;

double checked_budget(double budget_bps)
{
    const double least = TOKEN_BITS * 1000.0 / FRAME_MS;
    if (budget_bps >= least && budget_bps <= 2200.0)
        return budget_bps;
    std::ostringstream message;
    message << "budget_bps " << budget_bps
            << " is out of range: use 137.5 (one token a frame) to 2200";
    throw std::invalid_argument(message.str());
}

} // namespace

budget_window::budget_window(double budget_bps)
    : d_share(checked_budget(budget_bps) * FRAME_MS / 1000.0 / TOKEN_BITS),
      d_limit(static_cast<int>(std::floor(d_share * BUDGET_WINDOW_FRAMES + 1e-6))),
      d_reserve(std::max(1, static_cast<int>(RESERVED_SHARE * d_share)))
{
}

int budget_window::allowance() const
{
    // Frames before the first count as fair shares, so that a start saves nothing.
    const double before = d_share * (BUDGET_WINDOW_FRAMES - 1 - d_used.size());
    const double slack = d_share * (BUDGET_WINDOW_FRAMES - 1) - before - d_sum;
    const double wanted = d_share + d_carry + std::max(0.0, slack) / SLACK_FRAMES;
    // What each window that holds this frame leaves when the frames behind it take d_reserve: by
    // induction this is never less than d_reserve.
    int left = MAX_TOKENS_A_FRAME, recent = 0;
    for (int kept = 0; kept < BUDGET_WINDOW_FRAMES; ++kept) {
        if (kept > 0 && kept <= static_cast<int>(d_used.size()))
            recent += d_used[d_used.size() - kept];
        const int behind = BUDGET_WINDOW_FRAMES - 1 - kept;
        left = std::min(left, d_limit - recent - behind * d_reserve);
    }
    return std::min(static_cast<int>(std::floor(wanted + 1e-6)), left);
}

void budget_window::commit(int tokens)
{
    if (tokens < 0 || tokens > allowance())
        throw std::invalid_argument("tokens " + std::to_string(tokens) +
                                    " do not fit the budget: use 0 to allowance(), now " +
                                    std::to_string(allowance()));
    // The fraction of a token that whole numbers leave over, for budgets between two rates.
    d_carry = std::clamp(d_carry + d_share - tokens, 0.0, 1.0);
    d_used.push_back(tokens);
    d_sum += tokens;
    if (d_used.size() == BUDGET_WINDOW_FRAMES) {
        d_sum -= d_used.front();
        d_used.pop_front();
    }
}

token_split split_table(int allowed, double loss_probability, bool silent)
{
    if (allowed <= 0)
        return { 0, 0 };
    if (silent)
        return { std::min(allowed, 2), 0 };
    const double p = loss_probability;
    const int copies = p >= 0.30 ? 4 : p >= 0.20 ? 2 : p >= 0.05 ? 1 : 0;
    // A copy must not cost more than half of the frame.
    const int n_c = std::min(copies, allowed / 2);
    const int n_s = std::min(TOKENS_PER_FRAME, allowed - n_c);
    return { n_s, n_c };
}

token_split split_fixed(int allowed, int sent, int repeated)
{
    const int n_s = std::clamp(sent, 0, std::min(TOKENS_PER_FRAME, std::max(allowed, 0)));
    const int n_c = std::clamp(repeated, 0, std::min(n_s, std::max(allowed, 0) - n_s));
    return { n_s, n_c };
}

token_split split_learned(int allowed, double importance_s, double importance_c)
{
    if (allowed <= 0)
        return { 0, 0 };
    // A network that has run wild must cost copies, not speech.
    const double I_s = std::isfinite(importance_s) ? std::clamp(importance_s, 0.0, 1.0) : 1.0;
    const double I_c = std::isfinite(importance_c) ? std::clamp(importance_c, 0.0, 1.0) : 0.0;
    token_split best{ 1, 0 };
    double best_L = 0.0;
    // Both counts are steps over L: the largest L that fits lies where one of them rises.
    for (const double importance : { I_s, I_c }) {
        for (int count = 1; count <= TOKENS_PER_FRAME; ++count) {
            const double L = count / importance;
            if (!(L <= MAX_TOKENS_A_FRAME) || L < best_L)
                continue;
            const int n_s = std::min(TOKENS_PER_FRAME, static_cast<int>(L * I_s + 1e-9));
            const int n_c = std::min(n_s, static_cast<int>(L * I_c + 1e-9));
            if (n_s >= 1 && n_s + n_c <= allowed) {
                best = { n_s, n_c };
                best_L = L;
            }
        }
    }
    return best;
}

double both_lost(const channel_state& channel, int distance)
{
    const double p = std::clamp(channel.loss_probability, 0.0, 0.99);
    const double burst = std::max(channel.mean_burst, 1.0 / (1.0 - p));
    const double correlation = 1.0 - 1.0 / burst - p / (burst * (1.0 - p));
    return p * (p + (1.0 - p) * std::pow(std::max(correlation, 0.0), distance));
}

int best_distance(const channel_state& channel, int max_distance)
{
    const int farthest = std::clamp(max_distance, 1, MAX_COPY_DISTANCE);
    const double enough = 1.1 * both_lost(channel, farthest);
    int distance = 1;
    while (distance < farthest && both_lost(channel, distance) > enough)
        ++distance;
    return distance;
}

expected_split split_exact(int allowed,
                           const prefix_distortion& distortion,
                           const channel_state& channel,
                           int distance,
                           double price)
{
    double worst = 0.0;
    for (const double d : distortion)
        worst = std::isfinite(d) ? std::max(worst, d) : worst;
    const auto played = [&](int tokens) {
        return std::isfinite(distortion[tokens]) ? distortion[tokens] : worst;
    };
    const double p = std::clamp(channel.loss_probability, 0.0, 0.99);
    const double none = both_lost(channel, std::max(distance, 1));
    expected_split best;
    double least = 0.0;
    for (int sent = 1; sent <= std::min(TOKENS_PER_FRAME, allowed); ++sent) {
        for (int repeated = 0; repeated <= std::min(sent, allowed - sent); ++repeated) {
            // Without a copy "nothing" and "the copy's tokens" are the same.
            const double found =
                (1.0 - p) * played(sent) + (p - none) * played(repeated) + none * played(0);
            const double cost = found + price * (sent + repeated);
            if (best.tokens.first == 0 || cost < least) {
                best = { { sent, repeated }, found };
                least = cost;
            }
        }
    }
    return best;
}

int copy_distance(int deadline_ms, int frames_per_packet)
{
    const int packet_ms = FRAME_MS * checked_frames_per_packet(frames_per_packet);
    return std::clamp(deadline_ms / packet_ms, 1, MAX_COPY_DISTANCE);
}

} // namespace largesc

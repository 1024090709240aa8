// SPDX-License-Identifier: GPL-3.0-or-later
#include "parity_allocation.h"

#include "token_parity.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace largesc {

namespace {

/// After so many packets the debt has forgotten how it began.
constexpr int SETTLING_PACKETS = 60;

/// Gilbert and Elliott: chances to be lost behind a packet that came, and behind a lost one.
struct next_lost {
    explicit next_lost(const channel_state& channel)
        : p(std::clamp(channel.loss_probability, 0.0, 0.99))
    {
        const double burst = std::max(channel.mean_burst, 1.0 / (1.0 - p));
        behind_lost = 1.0 - 1.0 / burst;
        behind_good = std::min(1.0, p / (burst * (1.0 - p)));
    }

    double p, behind_lost, behind_good;
};

/// How likely each debt is, behind a packet that came and behind a lost one.
struct debts {
    explicit debts(int most)
        : good(most + 1, 0.0),
          lost(most + 1, 0.0)
    {
    }

    std::vector<double> good, lost;
};

debts step(const debts& before, const next_lost& channel, const parity_split& split)
{
    const int most = static_cast<int>(before.good.size()) - 1;
    debts after(most);
    for (int debt = 0; debt <= most; ++debt) {
        const double lost =
            before.good[debt] * channel.behind_good + before.lost[debt] * channel.behind_lost;
        const double good = before.good[debt] + before.lost[debt] - lost;
        after.lost[std::min(debt + split.depth, most)] += lost;
        after.good[std::max(debt - split.parity, 0)] += good;
    }
    return after;
}

} // namespace

double not_recovered(const channel_state& channel, const parity_split& split, int wait)
{
    const next_lost chances(channel);
    if (chances.p <= 0.0)
        return 0.0;
    if (split.parity <= 0 || split.depth <= 0)
        return 1.0;
    // What is older than the window asks for nothing more.
    const int most = PARITY_WINDOW * split.depth;
    debts now(most);
    now.good[0] = 1.0 - chances.p;
    now.lost[std::min(split.depth, most)] = chances.p;
    for (int n = 0; n < SETTLING_PACKETS; ++n)
        now = step(now, chances, split);
    // From here on only the lost ones, until their debt is paid.
    double all = 0.0;
    for (const double share : now.lost)
        all += share;
    std::fill(now.good.begin(), now.good.end(), 0.0);
    double paid = 0.0;
    for (int n = 0; n < std::min(wait, PARITY_WINDOW); ++n) {
        now = step(now, chances, split);
        paid += now.good[0];
        now.good[0] = 0.0;
    }
    return all > 0.0 ? std::clamp(1.0 - paid / all, 0.0, 1.0) : 0.0;
}

parity_split best_parity(double share,
                         const prefix_distortion& distortion,
                         const channel_state& channel,
                         int wait)
{
    const double p = std::clamp(channel.loss_probability, 0.0, 0.99);
    // Between two counts of tokens some frames have the one and some the other.
    const auto played = [&](double tokens) {
        const double count = std::clamp(tokens, 0.0, double(TOKENS_PER_FRAME));
        const int below = std::min(static_cast<int>(count), TOKENS_PER_FRAME - 1);
        return distortion[below] + (count - below) * (distortion[below + 1] - distortion[below]);
    };
    parity_split best;
    double least = (1.0 - p) * played(share) + p * played(0);
    for (int parity = 1; parity <= std::min<int>(TOKENS_PER_FRAME, share - 1); ++parity) {
        const double sent = share - parity;
        const int deepest = std::min({ MAX_PROTECTED_TOKENS, TOKENS_PER_FRAME, int(sent) });
        for (int depth = 1; depth <= deepest; ++depth) {
            const parity_split split{ parity, depth };
            const double gone = not_recovered(channel, split, wait);
            const double found =
                (1.0 - p) * played(sent) + p * ((1.0 - gone) * played(depth) + gone * played(0));
            if (found < least - 1e-9) {
                best = split;
                least = found;
            }
        }
    }
    return best;
}

} // namespace largesc

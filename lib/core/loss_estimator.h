// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <algorithm>
#include <bitset>
#include <cmath>

namespace largesc {

/// Running estimate of loss probability and mean burst length from the fate of packets in order.
///
/// A mean over about 40 packets, so that it is calm; when the last 8 packets say something that
/// chance would hardly make of it, the channel has changed, and the mean begins anew with them.
class loss_estimator
{
public:
    void add(bool lost)
    {
        d_known = std::min(d_known + 1.0, MEMORY);
        d_loss += ((lost ? 1.0 : 0.0) - d_loss) / d_known;
        if (lost) {
            ++d_run;
        } else if (d_run > 0) {
            d_bursts = std::min(d_bursts + 1.0, 12.0);
            d_burst += (d_run - d_burst) / d_bursts;
            d_run = 0;
        }
        d_recent = d_recent << 1 | std::bitset<RECENT>(lost);
        if (d_known >= RECENT)
            follow_step();
    }
    double loss_probability() const { return d_loss; }
    /// Packets, at least 1.
    double mean_burst() const { return std::max(1.0, d_burst); }

private:
    static constexpr double MEMORY = 40.0;
    static constexpr int RECENT = 8;
    /// Standard deviations; 2 would start anew by chance every few seconds at a loss of 10 %.
    static constexpr double UNLIKELY = 2.5;
    /// Two losses of 8 are a step even where none was ever seen, a single one is not.
    static constexpr double LEAST_LOSS = 0.04;

    void follow_step()
    {
        const double recent = static_cast<double>(d_recent.count()) / RECENT;
        const double p = std::clamp(d_loss, LEAST_LOSS, 1.0 - LEAST_LOSS);
        // Losses in bursts of B say as much as (2 B - 1) times fewer independent ones.
        const double variance = p * (1.0 - p) * (2.0 * mean_burst() - 1.0) / RECENT;
        if (std::abs(recent - d_loss) > UNLIKELY * std::sqrt(variance)) {
            d_loss = recent;
            d_known = RECENT;
        }
    }

    double d_known = 0, d_loss = 0, d_bursts = 0, d_burst = 0;
    int d_run = 0;
    std::bitset<RECENT> d_recent;
};

} // namespace largesc

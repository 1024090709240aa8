// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <algorithm>

namespace largesc {

/// Running estimate of loss probability and mean burst length from the fate of packets in order.
class loss_estimator
{
public:
    void add(bool lost)
    {
        // A weight of 1/25 follows a step of the channel in about 2 s at one packet a frame.
        d_known = std::min(d_known + 1.0, 25.0);
        const double weight = 1.0 / d_known;
        d_loss += weight * ((lost ? 1.0 : 0.0) - d_loss);
        if (lost) {
            ++d_run;
        } else if (d_run > 0) {
            d_bursts = std::min(d_bursts + 1.0, 12.0);
            d_burst += (d_run - d_burst) / d_bursts;
            d_run = 0;
        }
    }
    double loss_probability() const { return d_loss; }
    /// Packets, at least 1.
    double mean_burst() const { return std::max(1.0, d_burst); }

private:
    double d_known = 0, d_loss = 0, d_bursts = 0, d_burst = 0;
    int d_run = 0;
};

} // namespace largesc

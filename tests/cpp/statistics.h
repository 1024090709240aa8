// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace largesc::test {

struct estimate {
    double mean = 0.0, error = 0.0;
};

/// Mean of independent values with its standard error.
inline estimate plain_mean(const std::vector<double>& values)
{
    double sum = 0.0, squares = 0.0;
    for (const double value : values) {
        sum += value;
        squares += value * value;
    }
    const double count = values.size(), mean = sum / count;
    return { mean, std::sqrt((squares / count - mean * mean) / (count - 1.0)) };
}

/// Lengths of the runs of losses.
inline std::vector<double> bursts(const std::vector<double>& lost)
{
    std::vector<double> lengths;
    bool inside = false;
    for (const double flag : lost) {
        if (flag > 0.0 && inside)
            lengths.back() += 1.0;
        else if (flag > 0.0)
            lengths.push_back(1.0);
        inside = flag > 0.0;
    }
    return lengths;
}

struct channel_case {
    double p, burst; ///< burst 0: Bernoulli
};

/// What is measured against theory.
inline std::vector<channel_case> channel_cases()
{
    std::vector<channel_case> all;
    for (const double p : { 0.05, 0.2, 0.4 })
        for (const double burst : { 0.0, 1.25, 3.0, 5.0 })
            all.push_back({ p, burst });
    return all;
}

/// Correlation of the state over one packet.
inline double correlation(const channel_case& c)
{
    return c.burst > 0.0 ? 1.0 - 1.0 / c.burst - c.p / (c.burst * (1.0 - c.p)) : 0.0;
}

/// Share of frames that lose packet n and the copies in packet n + d.
inline double both_lost(const channel_case& c, int d)
{
    return c.p * (c.p + (1.0 - c.p) * std::pow(correlation(c), d));
}

/// Standard error of that share over `count` packets of the chain, which remembers: from the exact
/// covariance of packets k apart. With d = 0 it is the error of the mean loss.
inline double both_lost_error(const channel_case& c, int d, int count)
{
    const double share = both_lost(c, d);
    double variance = share - share * share;
    for (int k = 1; k < 400; ++k) {
        std::array<int, 4> times = { 0, d, k, k + d };
        std::sort(times.begin(), times.end());
        double all_lost = c.p;
        for (int n = 1; n < 4; ++n)
            all_lost *= c.p + (1.0 - c.p) * std::pow(correlation(c), times[n] - times[n - 1]);
        variance += 2.0 * (1.0 - static_cast<double>(k) / count) * (all_lost - share * share);
    }
    return std::sqrt(variance / count);
}

} // namespace largesc::test

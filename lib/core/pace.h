// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <chrono>

namespace largesc {

/*!
 * \brief When samples are due that run at a constant rate but for stalls.
 *
 * Small delays are made up for, so that the rate is right on the average; behind a stall of more
 * than 60 ms time begins anew, as with a sound card that had nothing to play.
 */
class pace
{
public:
    using clock = std::chrono::steady_clock;

    explicit pace(double rate_hz)
        : d_rate_hz(rate_hz)
    {
    }

    /// Time at which the next \p samples are due, for a caller that has them at \p now.
    clock::time_point due(int samples, clock::time_point now)
    {
        if (!d_started || now - d_due > MOST_BEHIND)
            d_due = now;
        d_started = true;
        const clock::time_point begin = d_due;
        const std::chrono::duration<double> long_s(samples / d_rate_hz);
        d_due += std::chrono::duration_cast<clock::duration>(long_s);
        return begin;
    }

private:
    static constexpr std::chrono::milliseconds MOST_BEHIND{ 60 };

    double d_rate_hz;
    bool d_started = false;
    clock::time_point d_due;
};

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "token_frame.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace largesc {

/// Tells from how early or late tokens come whether the playout should wait longer, or could wait
/// less.
///
/// Two late arrivals within 5 s, a quarter of a second apart, ask for as many frames as make the
/// less late one punctual; what comes together was held up once. A frame less is enough when in
/// 20 s all arrivals but one would have been early with it.
class jitter_tracker
{
public:
    /// A packet brought tokens `slack_ns` before their frame is played; late ones have a negative
    /// slack.
    void add(std::int64_t slack_ns, std::int64_t now_ns)
    {
        if (slack_ns < 0)
            add_late(-slack_ns, now_ns);
        if (d_samples++ == 0)
            d_since_ns = now_ns;
        if (slack_ns < d_least_ns) {
            d_second_ns = d_least_ns;
            d_least_ns = slack_ns;
        } else {
            d_second_ns = std::min(d_second_ns, slack_ns);
        }
        if (now_ns - d_since_ns < QUIET_NS || d_samples < QUIET_SAMPLES)
            return;
        d_shrink = d_second_ns >= FRAME_NS + MARGIN_NS;
        if (!d_shrink)
            watch_anew();
    }

    /// Frames by which the playout should wait longer, -1 if it could wait less. `delay_ns` is what
    /// it waits now, and the result keeps it within the limits but for half a frame above, and
    /// half the margin below. Reading it clears it.
    int take_correction(std::int64_t delay_ns, std::int64_t least_ns, std::int64_t most_ns)
    {
        const std::int64_t wanted = (d_growth_ns + FRAME_NS - 1) / FRAME_NS;
        const bool shrink = d_shrink;
        d_growth_ns = 0;
        d_shrink = false;
        if (wanted > 0) {
            const std::int64_t room = (most_ns - delay_ns + FRAME_NS / 2) / FRAME_NS;
            return static_cast<int>(std::clamp<std::int64_t>(room, 0, wanted));
        }
        return shrink && delay_ns - FRAME_NS >= least_ns - MARGIN_NS / 2 ? -1 : 0;
    }

    /// The playout waits so many frames longer (or shorter) from now on.
    void moved(int frames)
    {
        d_late_ns = d_growth_ns = 0;
        d_shrink = false;
        if (frames > 0) {
            watch_anew();
        } else if (d_second_ns != NEVER) {
            // What was seen still counts, so that the next frame needs no new quiet time.
            d_least_ns += frames * FRAME_NS;
            d_second_ns += frames * FRAME_NS;
        }
    }

private:
    static constexpr std::int64_t MS = 1'000'000;
    static constexpr std::int64_t FRAME_NS = FRAME_MS * MS;
    static constexpr std::int64_t LATE_WINDOW_NS = 5'000 * MS, LATE_APART_NS = 250 * MS;
    static constexpr std::int64_t QUIET_NS = 20'000 * MS, MARGIN_NS = 20 * MS;
    static constexpr int QUIET_SAMPLES = 25;
    static constexpr std::int64_t NEVER = std::numeric_limits<std::int64_t>::max();

    void add_late(std::int64_t late_ns, std::int64_t now_ns)
    {
        const bool another = d_late_ns > 0 && now_ns - d_late_at_ns <= LATE_WINDOW_NS;
        if (another && now_ns - d_late_at_ns < LATE_APART_NS) {
            d_late_ns = std::max(d_late_ns, late_ns);
            return;
        }
        if (another)
            d_growth_ns = std::max(d_growth_ns, std::min(d_late_ns, late_ns));
        d_late_ns = late_ns;
        d_late_at_ns = now_ns;
    }

    void watch_anew()
    {
        d_samples = 0;
        d_least_ns = d_second_ns = NEVER;
    }

    std::int64_t d_late_ns = 0, d_late_at_ns = 0; ///< the last late arrival
    std::int64_t d_growth_ns = 0;
    std::int64_t d_since_ns = 0, d_least_ns = NEVER, d_second_ns = NEVER;
    int d_samples = 0;
    bool d_shrink = false;
};

} // namespace largesc

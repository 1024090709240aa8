// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "token_frame.h"

#include <algorithm>
#include <limits>

namespace largesc {

/// Compares how long packets wait for their playout with the deadline, and tells when the clocks
/// of sender and receiver have drifted apart by a frame.
///
/// The packet that waited longest in a window had the shortest way, so jitter and losses do not
/// move it: only skew does.
class skew_tracker
{
public:
    /// `most_ns` is the longest delay of the playout, its margin included.
    skew_tracker(int deadline_ms, std::int64_t most_ns, int frames_per_packet)
        : d_deadline_ns(deadline_ms * MS),
          d_most_ns(most_ns),
          d_packet_ns(frames_per_packet * FRAME_NS)
    {
    }

    /// A packet was played at `at_ns`, `wait_ns` after it came; late ones have a negative wait.
    void add(std::int64_t wait_ns, std::int64_t at_ns)
    {
        if (d_best_ns == NEVER)
            d_window_start_ns = at_ns;
        d_best_ns = std::max(d_best_ns, wait_ns);
        if (follow_late_run(wait_ns, at_ns))
            return;
        if (at_ns - d_window_start_ns < WINDOW_NS)
            return;
        if (d_best_ns > d_most_ns + FRAME_NS)
            d_correction = -1;
        // Not even the fastest packet would find its frame's copy in time. Of one window alone the
        // jitter may have taken all that were punctual.
        d_short_windows = d_best_ns < d_deadline_ns ? d_short_windows + 1 : 0;
        if (d_short_windows == SHORT_WINDOWS) {
            d_correction = 1;
            d_short_windows = 0;
        }
        d_delay_ns = d_best_ns;
        d_best_ns = NEVER;
    }

    /// Frames to insert (positive) or to drop (negative); reading it clears it.
    int take_correction()
    {
        const int frames = d_correction;
        d_correction = 0;
        return frames;
    }

    /// What the fastest packet waited lately: the delay that the playout adds.
    std::int64_t delay_ns() const
    {
        const std::int64_t delay = std::max(d_delay_ns, d_best_ns);
        return delay == NEVER ? d_deadline_ns : delay;
    }

    /// The playout waits so many frames longer from now on.
    void moved(int frames)
    {
        d_delay_ns = delay_ns() + frames * FRAME_NS;
        d_best_ns = NEVER;
    }

    void reset()
    {
        d_delay_ns = d_best_ns = d_run_best_ns = NEVER;
        d_run = d_correction = d_short_windows = 0;
    }

private:
    static constexpr std::int64_t MS = 1'000'000;
    static constexpr std::int64_t FRAME_NS = FRAME_MS * MS;
    static constexpr std::int64_t WINDOW_NS = 5'000 * MS;
    static constexpr std::int64_t NEVER = std::numeric_limits<std::int64_t>::min();
    static constexpr int LATE_RUN = 4, SHORT_WINDOWS = 2;
    static constexpr std::int64_t MOST_FRAMES = 64;

    /// A sender that stalled and did not catch up makes every packet late: that must not take a
    /// window a frame. A burst of packets that were held up together is over at once, and no stall.
    bool follow_late_run(std::int64_t wait_ns, std::int64_t at_ns)
    {
        if (wait_ns >= 0) {
            d_run = 0;
            return false;
        }
        if (d_run++ == 0) {
            d_run_start_ns = at_ns;
            d_run_best_ns = NEVER;
        }
        d_run_best_ns = std::max(d_run_best_ns, wait_ns);
        if (d_run < LATE_RUN || at_ns - d_run_start_ns < 2 * d_packet_ns)
            return false;
        const std::int64_t missing = (d_deadline_ns - d_run_best_ns + FRAME_NS - 1) / FRAME_NS;
        const std::int64_t best_ns = d_run_best_ns;
        reset();
        d_delay_ns = best_ns;
        d_correction = static_cast<int>(std::min(missing, MOST_FRAMES));
        return true;
    }

    const std::int64_t d_deadline_ns, d_most_ns, d_packet_ns;
    std::int64_t d_delay_ns = NEVER; ///< of the last window, and of what was moved since
    std::int64_t d_best_ns = NEVER, d_window_start_ns = 0;
    std::int64_t d_run_best_ns = NEVER, d_run_start_ns = 0;
    int d_run = 0, d_correction = 0, d_short_windows = 0;
};

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
// Playout by pulls: when it begins and ends, and how the drift of the two clocks is taken up.
#include "depacketizer.h"

namespace largesc {

namespace {

/// Without any packet for this long, or so many slots, the stream is over.
constexpr std::int64_t IDLE_NS = 5'000'000'000;
constexpr std::uint64_t IDLE_SLOTS = 64;
/// Pulls that a correction of the skew waits for a frame that nobody will miss.
constexpr int PATIENCE = 64;

} // namespace

std::optional<received_frame> depacketizer::pull(std::int64_t now_ns)
{
    if (!d_started)
        return std::nullopt;
    if (!d_playing) {
        if (now_ns - d_first_ns < std::int64_t(d_config.deadline_ms) * 1'000'000)
            return std::nullopt;
        d_playing = true;
    }
    const bool over = d_end_slot && d_next_slot >= *d_end_slot;
    const bool idle = d_next_slot > d_highest &&
                      (now_ns - d_last_ns > IDLE_NS || d_next_slot > d_highest + IDLE_SLOTS);
    if (over || idle) {
        stop();
        d_finished = over;
        return std::nullopt;
    }
    if (d_correction == 0) {
        d_correction = d_skew.take_correction();
        // More than one frame is missing only when every packet is late: nothing is left to spoil.
        d_patience = d_correction > 1 ? 0 : PATIENCE;
    }
    if (d_correction != 0 && (d_patience-- <= 0 || next_is_calm())) {
        d_patience = 0;
        if (d_correction > 0) {
            --d_correction;
            ++d_counters.skew_inserted;
            ++d_counters.frames_released;
            received_frame f;
            f.index = d_next_index++;
            f.silence = d_in_silence;
            f.lost = !d_in_silence;
            return f;
        }
        ++d_correction;
        ++d_counters.skew_dropped;
        drop_frame(now_ns);
    }
    return next_frame(now_ns);
}

void depacketizer::measure_wait(const record& r, std::int64_t played_ns, std::int64_t came_ns)
{
    // The second packet of a pair comes with the first and always waits longer.
    const bool second = d_config.kind == layout::pair && r.slot % 2 == 1;
    if (!second && d_correction == 0)
        d_skew.add(played_ns - came_ns, std::max(played_ns, came_ns));
}

std::optional<received_frame> depacketizer::next_frame(std::int64_t now_ns)
{
    // Slots without a frame fill at most one packet.
    for (int tries = 0; tries <= d_frames; ++tries) {
        record& r = at(d_next_slot);
        if (d_next_frame == 0) {
            r.released_ns = now_ns;
            if (r.received)
                measure_wait(r, now_ns, r.came_ns);
        }
        if (auto f = release_frame())
            return f;
    }
    return std::nullopt;
}

/// The frame after the dropped one takes its index, and a repair of it has nowhere to go.
void depacketizer::drop_frame(std::int64_t now_ns)
{
    if (!next_frame(now_ns))
        return;
    --d_next_index;
    --d_counters.frames_released;
    for (const std::uint64_t slot : { d_next_slot - 1, d_next_slot })
        for (std::int64_t& index : at(slot).index)
            if (index == static_cast<std::int64_t>(d_next_index))
                index = -1;
}

/// The next frame is silent or missing: one more or less of it will not be heard.
bool depacketizer::next_is_calm()
{
    const record& r = at(d_next_slot);
    const int code = r.code[d_next_frame];
    return code >= CODE_COMFORT || (code < 0 && !any_known(r.tokens[d_next_frame]));
}

} // namespace largesc

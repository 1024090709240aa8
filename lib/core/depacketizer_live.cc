// SPDX-License-Identifier: GPL-3.0-or-later
// Playout by pulls: when it begins and ends, how the drift of the two clocks is taken up, and how
// long it waits for packets that come late.
#include "depacketizer.h"

namespace largesc {

namespace {

/// Without any packet for this long, or so many slots, the stream is over.
constexpr std::int64_t IDLE_NS = 5'000'000'000;
constexpr std::uint64_t IDLE_SLOTS = 64;
/// Pulls that a correction waits for a frame that nobody will miss: of the skew, of the jitter.
constexpr int PATIENCE = 64;
constexpr int GROWTH_PATIENCE = 12;
constexpr std::int64_t FRAME_NS = FRAME_MS * 1'000'000LL;
/// Pulls come each 80 ms: behind such a gap the player stood still, and not the network.
constexpr std::int64_t STALL_NS = 400'000'000;
/// So many frames too many, for a second of pulls, are skipped at once.
constexpr int BACKLOG = 4, BACKLOG_PULLS = 12;

} // namespace

std::optional<received_frame> depacketizer::pull(std::int64_t now_ns)
{
    if (!d_started)
        return std::nullopt;
    if (!d_playing) {
        if (now_ns - d_first_ns < d_start_ns)
            return std::nullopt;
        d_playing = true;
    } else if (now_ns - d_pulled_ns > STALL_NS) {
        // What waited while nobody pulled was not slow, nor has the sender gone.
        d_resumed_ns = d_last_ns = now_ns;
    }
    d_pulled_ns = now_ns;
    const bool over = known_end() && d_next_slot >= *known_end();
    const bool idle = d_next_slot > d_highest &&
                      (now_ns - d_last_ns > IDLE_NS || d_next_slot > d_highest + IDLE_SLOTS);
    if (over || idle) {
        stop();
        d_finished = over;
        return std::nullopt;
    }
    skip_backlog(now_ns);
    if (d_correction == 0)
        choose_correction();
    if (d_correction != 0 && correction_is_due()) {
        if (d_correction > 0)
            return insert_frame();
        for (; d_correction < 0; ++d_correction)
            drop_frame(now_ns);
    }
    return next_frame(now_ns);
}

std::int64_t depacketizer::playout_delay_ns() const
{
    return d_playing ? std::max<std::int64_t>(0, d_skew.delay_ns()) : d_start_ns;
}

/// The skew comes first: where every packet is late, it is no jitter.
void depacketizer::choose_correction()
{
    d_correction = d_skew.take_correction();
    d_patience = PATIENCE;
    d_adapting = d_correction == 0;
    if (d_adapting) {
        d_correction = d_jitter.take_correction(d_skew.delay_ns(), d_least_ns, d_most_ns);
        if (d_correction > 0)
            d_patience = GROWTH_PATIENCE;
    }
    d_pulls_waited = 0;
    d_fewest_tokens = TOKENS_PER_FRAME;
    if (d_correction == 0)
        return;
    d_skew.moved(d_correction);
    d_jitter.moved(d_correction);
    // More than one frame is missing only when every packet is late.
    if (!d_adapting && d_correction > 1)
        rewind(d_correction);
}

/// What was played in place of the packets that are all late was the longer wait: their frames
/// come now, behind it.
void depacketizer::rewind(int frames)
{
    d_correction = 0;
    d_counters.skew_inserted += frames;
    const std::uint64_t first = d_first_slot * d_frames;
    const std::uint64_t next = d_next_slot * d_frames + d_next_frame;
    const std::uint64_t back = std::max(first, next - std::min<std::uint64_t>(frames, next));
    const std::uint64_t end = d_next_slot;
    d_next_slot = back / d_frames;
    d_next_frame = static_cast<int>(back % d_frames);
    for (std::uint64_t slot = d_next_slot; slot <= end; ++slot) {
        record& r = at(slot);
        r.released_ns = 0;
        r.index.fill(-1);
    }
}

/// More has waited for a second than was ever asked for: the player stood still, not the network,
/// which would have made it late instead.
void depacketizer::skip_backlog(std::int64_t now_ns)
{
    const int packets = d_config.kind == layout::pair ? 2 : 1;
    const int asked = static_cast<int>((d_most_ns + FRAME_NS - 1) / FRAME_NS) + packets * d_frames;
    d_backlog_pulls = buffered_frames() >= asked + BACKLOG ? d_backlog_pulls + 1 : 0;
    if (d_backlog_pulls < BACKLOG_PULLS)
        return;
    d_backlog_pulls = d_correction = 0;
    skip_until(d_highest + 1 - asked / d_frames, now_ns);
    d_skew.reset();
    d_jitter = jitter_tracker();
}

void depacketizer::skip_until(std::uint64_t slot, std::int64_t now_ns)
{
    d_adapting = false;
    d_skipping = true;
    while (d_next_slot < slot)
        drop_frame(now_ns);
    d_skipping = false;
}

void depacketizer::expect_end()
{
    if (!d_started)
        d_finished = true;
    else if (!d_end_slot)
        d_end_slot = d_highest + 1;
}

/// The next frame is calm; or the last quarter of the patience is left, and it has as few tokens as
/// any that went by: a sender that knows how loud frames are gives the soft ones few.
bool depacketizer::correction_is_due()
{
    const int waited = d_pulls_waited++;
    if (waited >= d_patience || next_is_calm()) {
        // What follows goes with the first one: a single gap, not several.
        d_patience = 0;
        return true;
    }
    const int tokens = at(d_next_slot).code[d_next_frame];
    if (tokens > d_fewest_tokens)
        return false;
    d_fewest_tokens = tokens;
    if (waited < d_patience * 3 / 4)
        return false;
    d_patience = 0;
    return true;
}

received_frame depacketizer::insert_frame()
{
    --d_correction;
    ++(d_adapting ? d_counters.playout_grown : d_counters.skew_inserted);
    ++d_counters.frames_released;
    received_frame f;
    f.index = d_next_index++;
    f.silence = d_in_silence;
    f.lost = !d_in_silence;
    if (d_correction == 0)
        f.following = known_of_next();
    return f;
}

void depacketizer::measure_wait(const record& r, std::int64_t played_ns, std::int64_t came_ns)
{
    // The second packet of a pair comes with the first and always waits longer.
    const bool second = d_config.kind == layout::pair && r.slot % 2 == 1;
    if (!second && d_correction == 0 && !d_skipping && came_ns >= d_resumed_ns)
        d_skew.add(played_ns - came_ns, std::max(played_ns, came_ns));
}

/// Tokens of a slot have come: how long before its frames are played, or after?
void depacketizer::measure_slack(std::uint64_t slot, std::int64_t now_ns)
{
    if (!d_playing || d_correction != 0 || d_most_ns == d_least_ns)
        return;
    // Nobody knows when the next pull comes.
    if (now_ns - d_pulled_ns > STALL_NS)
        return;
    const record& r = at(slot);
    const bool released = slot < d_next_slot || r.index[0] >= 0;
    // Of what lies before the stream nobody knows when it would have been played.
    if (released && r.released_ns == 0)
        return;
    const std::int64_t frames =
        static_cast<std::int64_t>(slot - d_next_slot) * d_frames - d_next_frame + 1;
    const std::int64_t due_ns = released ? r.released_ns : d_pulled_ns + frames * FRAME_NS;
    d_jitter.add(due_ns - now_ns, now_ns);
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
    ++(d_adapting ? d_counters.playout_shrunk : d_counters.skew_dropped);
    const auto dropped = next_frame(now_ns);
    if (!dropped)
        return;
    --d_next_index;
    --d_counters.frames_released;
    d_counters.frames_lost -= dropped->lost;
    d_counters.silence_frames -= dropped->silence;
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

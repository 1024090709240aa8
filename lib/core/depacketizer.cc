// SPDX-License-Identifier: GPL-3.0-or-later
#include "depacketizer.h"

#include <algorithm>

namespace largesc {

namespace {

constexpr int UNKNOWN = -1;
/// Packets further from the newest than this must be confirmed by two more before they count.
constexpr int FAR_AHEAD = 48;
constexpr int FAR_BEHIND = 24;
constexpr int CONFIRMATIONS = 2;
/// Live: without any packet for this long the stream is over.
constexpr std::int64_t IDLE_NS = 5'000'000'000;
/// Pulls between two looks at the buffer depth, 5.1 s.
constexpr int SKEW_WINDOW = 64;

} // namespace

depacketizer::depacketizer(const depacketizer_config& config)
    : d_config(config), d_frames(checked_frames_per_packet(config.frames_per_packet))
{
    if (config.deadline_ms < 0 || config.deadline_ms > 5000)
        throw std::invalid_argument("deadline_ms " + std::to_string(config.deadline_ms) +
                                    " is out of range: use 0 to 5000");
    if (config.hold_packets < 1 || config.hold_packets > 32)
        throw std::invalid_argument("hold_packets " + std::to_string(config.hold_packets) +
                                    " is out of range: use 1 to 32");
}

bool depacketizer::push(const std::uint8_t* data, std::size_t size, std::int64_t now_ns)
{
    const auto fields = read_packet(data, size, d_config.kind, d_frames);
    if (!fields) {
        ++d_counters.packets_refused;
        return false;
    }
    const auto placed = place(fields->sequence);
    if (!placed)
        return true;
    const std::uint64_t slot = *placed;
    if (fields->end) {
        if (!d_end_slot)
            d_end_slot = slot;
        return true;
    }
    if (!d_started) {
        d_started = true;
        d_first_ns = now_ns;
        // Offline a stream begins at its first frame, so that a lost beginning is counted.
        d_next_slot = d_config.live || slot >= 128 ? slot : 0;
        d_highest = slot;
        d_index_offset = static_cast<std::int64_t>(d_next_index) -
                         static_cast<std::int64_t>(d_next_slot * d_frames);
    }
    d_last_ns = now_ns;
    record& r = at(slot);
    if (r.received) {
        ++d_counters.duplicates;
        return true;
    }
    r.received = true;
    ++d_counters.packets_received;
    if (slot < d_next_slot)
        ++d_counters.late;
    d_highest = std::max(d_highest, slot);
    if (d_config.kind == layout::pair)
        store_pair(*fields, slot);
    else
        store_sequential(*fields, slot);
    if (!d_config.live)
        release_ready();
    return true;
}

std::optional<std::uint64_t> depacketizer::place(std::uint8_t sequence)
{
    if (!d_started)
        return sequence;
    const int ahead = static_cast<std::int8_t>(sequence - static_cast<std::uint8_t>(d_highest));
    if (ahead >= -FAR_BEHIND && ahead <= FAR_AHEAD &&
        static_cast<std::int64_t>(d_highest) + ahead >= 0) {
        d_candidates = 0;
        return d_highest + ahead;
    }
    const int step = static_cast<std::int8_t>(sequence - d_candidate);
    d_candidates = d_candidates > 0 && step > 0 && step <= 8 ? d_candidates + 1 : 1;
    d_candidate = sequence;
    if (d_candidates <= CONFIRMATIONS) {
        ++d_counters.late;
        return std::nullopt;
    }
    d_candidates = 0;
    // A long loss offline must keep its length; everything else is a sender that began anew.
    if (ahead > 0 && !d_config.live)
        return d_highest + ahead;
    return restart(sequence);
}

std::uint64_t depacketizer::restart(std::uint8_t sequence)
{
    ++d_counters.resyncs;
    flush();
    for (record& r : d_records)
        r.used = false;
    d_started = false;
    d_end_slot.reset();
    // Far from all earlier slots, and on the right residue.
    return (d_highest / 256 + 4) * 256 + sequence;
}

depacketizer::record& depacketizer::at(std::uint64_t slot)
{
    record& r = d_records[slot % d_records.size()];
    if (!r.used || r.slot != slot) {
        r = record{};
        r.slot = slot;
        r.used = true;
        r.code.fill(UNKNOWN);
        r.tokens.fill(erased_frame());
    }
    return r;
}

void depacketizer::fill(
    std::uint64_t slot, int i, const std::uint16_t* tokens, int step, int count)
{
    record& r = d_records[slot % d_records.size()];
    bool news = false;
    for (int n = 0; n < count; ++n) {
        std::uint16_t& place = r.tokens[i][n * step];
        news |= place == ERASED_TOKEN;
        place = tokens[n];
    }
    if (news)
        repaired(slot, i);
}

void depacketizer::repaired(std::uint64_t slot, int i)
{
    const bool played =
        slot < d_next_slot || (slot == d_next_slot && i < d_next_frame);
    if (!played || (d_config.live && !d_playing) || d_ready.size() > 256)
        return;
    ++d_counters.repairs;
    received_frame f;
    f.index = slot * d_frames + i + d_index_offset;
    f.tokens = at(slot).tokens[i];
    f.repair = true;
    d_ready.push_back(f);
}

void depacketizer::store_sequential(const packet_fields& fields, std::uint64_t slot)
{
    record& r = at(slot);
    const std::uint16_t* token = fields.tokens.data();
    for (int i = 0; i < fields.slots; ++i) {
        const largesc::slot& s = fields.slot_list[i];
        r.code[i] = s.code;
        fill(slot, i, token, 1, s.tokens());
        token += s.tokens();
    }
    const std::uint64_t distance = fields.distance;
    if (distance == 0 || distance > slot)
        return;
    const std::uint64_t earlier = slot - distance;
    // An older record may have left the ring, and nothing before the start is of use.
    if (static_cast<std::int64_t>(earlier * d_frames) + d_index_offset < 0)
        return;
    at(earlier);
    for (int i = 0; i < fields.slots; ++i) {
        fill(earlier, i, token, 1, fields.slot_list[i].copies);
        token += fields.slot_list[i].copies;
    }
}

void depacketizer::store_pair(const packet_fields& fields, std::uint64_t slot)
{
    const int half = slot % 2;
    const std::uint16_t* token = fields.tokens.data();
    for (int n = 0; n < fields.slots; ++n) {
        const largesc::slot& s = fields.slot_list[n];
        const int frame_half = n % 2, i = n / 2;
        const std::uint64_t home = slot - half + frame_half;
        at(home).code[i] = s.code;
        for (int j = 0; j < TOKENS_PER_FRAME; ++j) {
            const bool first = pair_half(frame_half, j) == half;
            if (j >= (first ? s.tokens() : s.copies))
                continue;
            std::uint16_t& place = at(home).tokens[i][j];
            const bool news = place == ERASED_TOKEN;
            place = *token++;
            if (news)
                repaired(home, i);
        }
    }
}

void depacketizer::release_ready()
{
    while (d_started && d_highest >= d_next_slot + d_config.hold_packets)
        release_slot(d_next_slot);
}

void depacketizer::release_slot(std::uint64_t slot)
{
    for (; d_next_frame < d_frames; ++d_next_frame)
        if (auto f = release_frame(slot, d_next_frame))
            d_ready.push_back(*f);
    d_next_frame = 0;
    ++d_next_slot;
}

std::optional<received_frame> depacketizer::release_frame(std::uint64_t slot, int i)
{
    const record& r = at(slot);
    received_frame f;
    f.index = slot * d_frames + i + d_index_offset;
    d_next_index = f.index + 1;
    f.tokens = r.tokens[i];
    const bool tokens = f.tokens != erased_frame();
    const int code = r.code[i];
    if (code == CODE_EMPTY)
        return std::nullopt;
    if (code >= CODE_COMFORT)
        d_in_silence = f.silence = true;
    else if (code >= 0 || tokens)
        d_in_silence = false;
    else
        f.silence = d_in_silence;
    f.lost = !r.received && !tokens && !f.silence;
    if (i == 0 && !(f.silence && !r.received)) {
        d_losses.add(!r.received);
        d_counters.packets_lost += !r.received;
    }
    ++d_counters.frames_released;
    d_counters.frames_lost += f.lost;
    d_counters.silence_frames += f.silence;
    return f;
}

std::optional<received_frame> depacketizer::pop()
{
    if (d_ready.empty())
        return std::nullopt;
    received_frame f = d_ready.front();
    d_ready.pop_front();
    return f;
}

void depacketizer::flush(std::int64_t total_frames)
{
    std::uint64_t end = d_started ? d_highest + 1 : d_next_slot;
    if (d_end_slot)
        end = std::max(end, std::min(*d_end_slot, end + 256));
    if (total_frames >= 0) {
        const std::int64_t last = total_frames - d_index_offset;
        end = last <= 0 ? d_next_slot : (last + d_frames - 1) / d_frames;
        d_started = true;
    }
    while (d_next_slot < end) {
        for (; d_next_frame < d_frames; ++d_next_frame) {
            if (total_frames >= 0 && static_cast<std::int64_t>(d_next_slot * d_frames) +
                                             d_next_frame + d_index_offset >=
                                         total_frames)
                break;
            if (auto f = release_frame(d_next_slot, d_next_frame))
                d_ready.push_back(*f);
        }
        d_next_frame = 0;
        ++d_next_slot;
    }
}

std::optional<received_frame> depacketizer::pull(std::int64_t now_ns)
{
    if (!d_started)
        return std::nullopt;
    if (!d_playing) {
        if (now_ns - d_first_ns < std::int64_t(d_config.deadline_ms) * 1'000'000)
            return std::nullopt;
        d_playing = true;
        d_pulls = d_peak_depth = d_skew_votes = 0;
        d_target_depth = -1;
    }
    const bool over = d_end_slot && d_next_slot >= *d_end_slot;
    if (over || (d_next_slot > d_highest && now_ns - d_last_ns > IDLE_NS)) {
        go_idle();
        return std::nullopt;
    }
    if (adapt_to_skew()) {
        ++d_counters.skew_inserted;
        received_frame f;
        f.index = d_next_index;
        f.silence = true;
        return f;
    }
    return next_frame();
}

std::optional<received_frame> depacketizer::next_frame()
{
    // At most one packet of empty slots stands in the way of the next frame.
    for (int tries = 0; tries <= d_frames; ++tries) {
        auto f = release_frame(d_next_slot, d_next_frame);
        if (++d_next_frame == d_frames) {
            d_next_frame = 0;
            ++d_next_slot;
        }
        if (f)
            return f;
    }
    return std::nullopt;
}

bool depacketizer::adapt_to_skew()
{
    const int depth = static_cast<int>(static_cast<std::int64_t>((d_highest + 1) * d_frames) -
                                       static_cast<std::int64_t>(d_next_slot * d_frames) -
                                       d_next_frame);
    // Losses make the depth look small for a while, its peak is steady.
    d_peak_depth = d_pulls == 0 ? depth : std::max(d_peak_depth, depth);
    if (++d_pulls < SKEW_WINDOW)
        return false;
    d_pulls = 0;
    if (d_target_depth < 0) {
        d_target_depth = d_peak_depth;
        return false;
    }
    const int error = d_peak_depth - d_target_depth;
    d_skew_votes = error > 0 ? std::max(1, d_skew_votes + 1)
                             : error < 0 ? std::min(-1, d_skew_votes - 1) : 0;
    if (d_skew_votes >= 2) {
        d_skew_votes = 0;
        for (int n = 0; n < error; ++n) {
            ++d_counters.skew_dropped;
            next_frame();
        }
        return false;
    }
    if (d_skew_votes <= -2 && !d_in_silence) {
        d_skew_votes = 0;
        return true;
    }
    return false;
}

void depacketizer::go_idle()
{
    d_started = d_playing = d_in_silence = false;
    d_end_slot.reset();
    d_next_frame = 0;
    for (record& r : d_records)
        r.used = false;
}

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#include "depacketizer.h"

#include <algorithm>

namespace largesc {

namespace {

constexpr int UNKNOWN = -1;
/// Packets further from the newest than this must be confirmed by two more before they count.
constexpr int FAR_AHEAD = 48;
constexpr int FAR_BEHIND = 24;
constexpr int CONFIRMATIONS = 3;
constexpr int CONFIRMED_STEP = 8;
/// A stream begins at 256 and its sequence number, so that slots before its first exist.
constexpr std::uint64_t BASE = 256;
/// Frames, an hour, that the end of a stream may lie behind its last packet.
constexpr std::uint64_t MAX_TAIL = 45'000;
/// Live, so many slots may wait: the ring has room for those, and for what comes late.
constexpr std::uint64_t MOST_WAITING = 96;

/// The wait for a copy, and the margin without which the copy would race its frame's playout.
std::int64_t with_margin_ns(int deadline_ms)
{
    return (std::int64_t(deadline_ms) + PLAYOUT_MARGIN_MS) * 1'000'000;
}

} // namespace

depacketizer::depacketizer(const depacketizer_config& config)
    : d_config(config),
      d_frames(checked_frames_per_packet(config.frames_per_packet)),
      d_least_ns(with_margin_ns(config.deadline_ms)),
      d_most_ns(with_margin_ns(std::max(config.deadline_ms, config.max_deadline_ms))),
      d_start_ns(d_least_ns),
      d_skew(config.deadline_ms, d_most_ns, config.frames_per_packet),
      d_refusals({ config.frames_per_packet, config.kind, config.crc }),
      d_parity(d_frames)
{
    if (config.deadline_ms < 0 || config.deadline_ms > 5000)
        throw std::invalid_argument("deadline_ms " + std::to_string(config.deadline_ms) +
                                    " is out of range: use 0 to 5000");
    const int most = config.max_deadline_ms;
    if (most != 0 && (most < config.deadline_ms || most > 5000))
        throw std::invalid_argument("max_deadline_ms " + std::to_string(most) +
                                    " is out of range: use 0 (fixed), or deadline_ms (" +
                                    std::to_string(config.deadline_ms) + ") to 5000");
    if (config.hold_packets < 1 || config.hold_packets > 32)
        throw std::invalid_argument("hold_packets " + std::to_string(config.hold_packets) +
                                    " is out of range: use 1 to 32");
}

bool depacketizer::push(const std::uint8_t* data, std::size_t size, std::int64_t now_ns)
{
    const bool taken = take(data, size, now_ns);
    d_refusals.add(data, size, taken, now_ns);
    return taken;
}

bool depacketizer::take(const std::uint8_t* data, std::size_t size, std::int64_t now_ns)
{
    if (d_config.crc) {
        if (!has_right_crc(data, size)) {
            ++d_counters.refused_crc;
            return false;
        }
        size -= CRC_BYTES;
    }
    // The one is for the other direction, the other for eyes.
    if (is_report(data, size) || is_text(data, size))
        return true;
    const auto fields = read_packet(data, size, d_config.kind, d_frames);
    if (!fields) {
        ++d_counters.refused_format;
        return false;
    }
    if (fields->end) {
        take_end(fields->sequence);
        return true;
    }
    // Behind the end it comes too late, and begins nothing.
    if (fields->tail > 0 && !d_started)
        return true;
    const auto placed = place(*fields);
    if (!placed)
        return true;
    const std::uint64_t slot = *placed;
    if (!d_started)
        start(slot, now_ns);
    d_last_ns = now_ns;
    const bool newest = slot >= d_highest;
    // A long gap must not push frames out of the ring before they are released.
    if (!d_config.live && slot > d_highest + FAR_AHEAD)
        release_until(slot - FAR_AHEAD);
    if (d_config.live && slot > d_next_slot + MOST_WAITING)
        skip_until(slot - MOST_WAITING, now_ns);
    record& r = at(slot);
    if (r.received) {
        ++d_counters.duplicates;
        return true;
    }
    r.received = true;
    r.came_ns = now_ns;
    ++d_counters.packets_received;
    d_highest = std::max(d_highest, slot);
    if (fields->tail > 0)
        d_tail_slot = slot + 1 - fields->tail;
    if (fields->tail == 0 && known_end() && slot >= *known_end()) {
        d_end_slot.reset();
        d_tail_slot.reset();
    }
    // Before anything has gone out, a packet that was overtaken can still be the first.
    if (slot < d_first_slot && d_next_slot == d_first_slot && !d_playing)
        d_first_slot = d_next_slot = slot;
    if (slot < d_next_slot) {
        ++d_counters.late;
        if (newest && d_config.live && r.index[0] >= 0)
            measure_wait(r, r.released_ns, now_ns);
    }
    const auto news = d_config.kind == layout::pair     ? store_pair(*fields, slot)
                      : d_config.kind == layout::parity ? store_parity(*fields, slot)
                                                        : store_sequential(*fields, slot);
    if (news)
        measure_slack(*news, now_ns);
    if (!d_config.live && d_highest >= d_next_slot + hold_packets())
        release_until(d_highest + 1 - hold_packets());
    return true;
}

void depacketizer::take_end(std::uint8_t sequence)
{
    if (!d_started) {
        // Live, it belongs to a stream that is over. Offline, everything before it was lost.
        if (!d_config.live && d_first_stream)
            d_next_slot = BASE, d_end_slot = BASE + sequence;
        return;
    }
    const int ahead = static_cast<std::int8_t>(sequence - static_cast<std::uint8_t>(d_highest));
    // The tail's packets stand where frames would, and behind the end.
    if (ahead > 0 || d_tail_slot == d_highest + ahead)
        d_end_slot = d_highest + ahead;
}

std::optional<std::uint64_t> depacketizer::place(const packet_fields& fields)
{
    const std::uint8_t sequence = fields.sequence;
    if (!d_started)
        return BASE + sequence;
    const int ahead = static_cast<std::int8_t>(sequence - static_cast<std::uint8_t>(d_highest));
    const std::uint64_t slot = d_highest + ahead;
    if (ahead >= -FAR_BEHIND && ahead <= FAR_AHEAD) {
        if (!contradicts(fields, slot)) {
            if (ahead > 0)
                d_candidates = 0;
            return slot;
        }
        ++d_counters.duplicates;
        if (!confirmed(sequence))
            return std::nullopt;
    } else {
        if (!confirmed(sequence)) {
            ++d_counters.late;
            return std::nullopt;
        }
        // A long loss offline must keep its length; everything else is a sender that began anew.
        if (ahead > 0 && !d_config.live)
            return slot;
    }
    return restart(sequence);
}

/// True at the last of a few packets in order that do not fit to what came before.
bool depacketizer::confirmed(std::uint8_t sequence)
{
    const int step = static_cast<std::int8_t>(sequence - d_candidate);
    const bool follows = d_candidates > 0 && step > 0 && step <= CONFIRMED_STEP;
    d_candidates = follows ? d_candidates + 1 : 1;
    d_candidate = sequence;
    if (d_candidates < CONFIRMATIONS)
        return false;
    d_candidates = 0;
    return true;
}

/// A second packet for a slot with other tokens is no duplicate: a new sender, or noise.
bool depacketizer::contradicts(const packet_fields& fields, std::uint64_t slot)
{
    const record& r = d_records[slot % d_records.size()];
    if (!r.used || r.slot != slot || !r.received || fields.tail > 0)
        return false;
    const int half = slot % 2;
    if (d_config.kind == layout::pair)
        return fields.slot_list[half].code != r.code[0];
    if (fields.slot_list[0].code != r.code[0])
        return true;
    return !std::equal(fields.tokens.begin(),
                       fields.tokens.begin() + fields.slot_list[0].tokens(),
                       r.tokens[0].begin());
}

void depacketizer::start(std::uint64_t slot, std::int64_t now_ns)
{
    d_started = true;
    d_finished = d_in_silence = false;
    d_first_ns = now_ns;
    d_highest = slot;
    // Offline a stream begins at its first frame, so that a lost beginning keeps its length.
    const bool from_zero = !d_config.live && d_first_stream && slot < BASE + 128;
    d_first_slot = d_next_slot = from_zero ? BASE : slot;
    d_next_frame = 0;
    d_first_stream = false;
}

std::uint64_t depacketizer::restart(std::uint8_t sequence)
{
    ++d_counters.resyncs;
    // Live, frames go out by pulls only: what the old stream still held, as much as is waited for,
    // is lost.
    if (!d_config.live)
        flush();
    stop();
    return BASE + sequence;
}

void depacketizer::stop()
{
    d_started = d_playing = d_in_silence = false;
    d_first_stream = false;
    d_end_slot.reset();
    d_tail_slot.reset();
    d_next_frame = d_candidates = d_correction = d_backlog_pulls = 0;
    d_start_ns = std::clamp(d_skew.delay_ns(), d_least_ns, d_most_ns);
    d_skew.reset();
    d_parity.reset();
    for (record& r : d_records)
        r.used = false;
}

/// Offline nothing is in a hurry, and parity is to bring back what it can.
int depacketizer::hold_packets() const
{
    return d_config.kind == layout::parity ? std::max(d_config.hold_packets, PARITY_WINDOW + 1)
                                           : d_config.hold_packets;
}

depacketizer::record& depacketizer::at(std::uint64_t slot)
{
    record& r = d_records[slot % d_records.size()];
    if (!r.used || r.slot != slot) {
        r = record{};
        r.slot = slot;
        r.used = true;
        r.code.fill(UNKNOWN);
        r.index.fill(-1);
        r.tokens.fill(erased_frame());
    }
    return r;
}

void depacketizer::release_until(std::uint64_t slot)
{
    while (d_next_slot < slot)
        if (auto f = release_frame())
            d_ready.push_back(*f);
}

int depacketizer::buffered_frames() const
{
    if (!d_started || d_highest < d_next_slot)
        return 0;
    return static_cast<int>(d_highest + 1 - d_next_slot) * d_frames - d_next_frame;
}

/// Takes the next frame out, none where the sender has padded its last packet.
std::optional<received_frame> depacketizer::release_frame()
{
    record& r = at(d_next_slot);
    const int i = d_next_frame;
    if (++d_next_frame == d_frames) {
        d_next_frame = 0;
        ++d_next_slot;
    }
    const int code = r.code[i];
    if (code == CODE_EMPTY)
        return std::nullopt;

    received_frame f;
    r.index[i] = f.index = d_next_index++;
    f.tokens = r.tokens[i];
    f.following = known_of_next();
    if (code >= 0)
        f.sent = slot{ code, 0 }.tokens();
    const bool tokens = any_known(f.tokens);
    if (code >= CODE_COMFORT)
        d_in_silence = f.silence = true;
    else if (code >= 0 || tokens)
        d_in_silence = false;
    else
        f.silence = d_in_silence;
    f.lost = !r.received && !tokens && !f.silence;
    if (i == 0 && (r.received || !f.silence)) {
        d_losses.add(!r.received);
        d_counters.packets_lost += !r.received;
    }
    ++d_counters.frames_released;
    d_counters.frames_lost += f.lost;
    d_counters.silence_frames += f.silence;
    return f;
}

/// Tokens of the frame that is released next, as far as they have come.
tokens_t depacketizer::known_of_next() const
{
    const record& r = d_records[d_next_slot % d_records.size()];
    return r.used && r.slot == d_next_slot ? r.tokens[d_next_frame] : erased_frame();
}

std::optional<received_frame> depacketizer::pop()
{
    if (d_ready.empty())
        return std::nullopt;
    const received_frame f = d_ready.front();
    d_ready.pop_front();
    return f;
}

void depacketizer::flush(std::int64_t total_frames)
{
    d_refusals.settle();
    if (total_frames >= 0 && !d_config.live) {
        const auto total = std::min<std::uint64_t>(total_frames, d_next_index + MAX_TAIL);
        while (d_next_index < total)
            if (auto f = release_frame())
                d_ready.push_back(*f);
        return;
    }
    if (d_started)
        release_until(std::min(d_highest + 1, known_end().value_or(d_highest + 1)));
    if (known_end())
        release_until(*known_end());
}

} // namespace largesc

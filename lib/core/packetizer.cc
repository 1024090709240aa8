// SPDX-License-Identifier: GPL-3.0-or-later
#include "packetizer.h"

#include <algorithm>

namespace largesc {

namespace {

void append(packet_fields& fields, std::uint16_t token)
{
    fields.tokens[fields.token_count++] = token;
}

} // namespace

packetizer::packetizer(int frames_per_packet, layout kind, bool crc)
    : d_frames_per_packet(checked_frames_per_packet(frames_per_packet)),
      d_layout(kind),
      d_crc(crc)
{
}

push_result packetizer::push(tokens_t tokens, const decision& d)
{
    ++d_counters.frames;
    // The frame keeps its slot, so that the frames behind it keep their numbers.
    for (std::uint16_t& token : tokens)
        if (token >= TOKEN_VALUES && token != ERASED_TOKEN) {
            token = ERASED_TOKEN;
            ++d_counters.tokens_invalid;
        }
    pending frame{ tokens, d };
    decision& how = frame.how;
    const int limit = how.comfort ? MAX_COMFORT_TOKENS : TOKENS_PER_FRAME;
    how.tokens_sent = how.skip ? 0 : std::clamp(how.tokens_sent, 0, limit);
    how.tokens_sent = std::min(how.tokens_sent, prefix_length(tokens));
    how.tokens_repeated = std::clamp(how.tokens_repeated, 0, how.tokens_sent);
    how.copy_distance = std::clamp(how.copy_distance, 0, MAX_COPY_DISTANCE);
    d_counters.tokens_sent += how.tokens_sent;
    d_pending.push_back(frame);
    const int wanted = d_frames_per_packet * (d_layout == layout::pair ? 2 : 1);
    return static_cast<int>(d_pending.size()) == wanted ? build() : push_result{};
}

push_result packetizer::flush()
{
    push_result result;
    if (!d_pending.empty()) {
        const std::size_t wanted = d_frames_per_packet * (d_layout == layout::pair ? 2 : 1);
        while (d_pending.size() < wanted)
            d_pending.push_back({ erased_frame(), { 0, 0, 0, false, false }, true });
        result = build();
    }
    for (sent_slot& slot : d_history) {
        d_counters.copies_skipped += slot.copied ? 0 : slot.copies();
        slot.copied = true;
    }
    return result;
}

int packetizer::sent_slot::copies() const
{
    int count = 0;
    for (const pending& frame : frames)
        count += frame.how.tokens_repeated;
    return count;
}

packet packetizer::end_packet()
{
    packet_fields fields;
    fields.end = true;
    return made(fields);
}

/// The packet of the present slot; the caller adds how many frames it covers.
packet packetizer::made(packet_fields& fields)
{
    packet p;
    p.bytes.reserve(64);
    fields.sequence = static_cast<std::uint8_t>(d_slot);
    write_packet(fields, d_layout, p.bytes);
    if (d_crc)
        append_crc(p.bytes);
    p.first_frame = d_slot * d_frames_per_packet;
    ++d_counters.packets;
    d_counters.bytes += p.bytes.size();
    return p;
}

slot packetizer::header_slot(const pending& frame)
{
    slot s;
    if (frame.empty)
        s.code = CODE_EMPTY;
    else if (frame.how.comfort || frame.how.skip)
        s.code = CODE_COMFORT + frame.how.tokens_sent;
    else
        s.code = frame.how.tokens_sent;
    return s;
}

push_result packetizer::build()
{
    push_result result;
    const bool silent = std::all_of(
        d_pending.begin(), d_pending.end(), [](const pending& f) { return f.how.skip || f.empty; });
    if (d_layout == layout::pair) {
        if (silent) {
            result.skipped_first = d_slot * d_frames_per_packet;
            result.skipped_frames = 2 * d_frames_per_packet;
            d_slot += 2;
        } else {
            build_pair(result);
        }
    } else {
        build_sequential(result);
        if (silent && result.packets.empty()) {
            result.skipped_first = (d_slot - 1) * d_frames_per_packet;
            result.skipped_frames = d_frames_per_packet;
        }
    }
    d_pending.clear();
    d_counters.frames_skipped += result.skipped_frames;
    return result;
}

void packetizer::emit(packet_fields& fields, push_result& result)
{
    packet p = made(fields);
    p.frames = d_frames_per_packet;
    result.packets.push_back(std::move(p));
}

void packetizer::build_sequential(push_result& result)
{
    packet_fields fields;
    fields.slots = d_frames_per_packet;
    bool anything = false;
    for (int i = 0; i < fields.slots; ++i) {
        const pending& frame = d_pending[i];
        fields.slot_list[i] = header_slot(frame);
        anything |= !frame.how.skip && !frame.empty;
        for (int j = 0; j < frame.how.tokens_sent; ++j)
            append(fields, frame.tokens[j]);
    }

    const int distance = d_pending.back().how.copy_distance;
    auto& earlier = d_history[(d_slot + d_history.size() - distance) % d_history.size()];
    if (distance > 0 && d_slot >= static_cast<std::uint64_t>(distance) && !earlier.copied) {
        for (int i = 0; i < fields.slots; ++i) {
            const pending& frame = earlier.frames[i];
            fields.slot_list[i].copies = frame.how.tokens_repeated;
            for (int j = 0; j < frame.how.tokens_repeated; ++j)
                append(fields, frame.tokens[j]);
        }
        const int copies = earlier.copies();
        anything |= copies > 0;
        d_counters.tokens_repeated += copies;
        fields.distance = distance;
        earlier.copied = true;
    }
    if (anything)
        emit(fields, result);

    sent_slot& mine = d_history[d_slot % d_history.size()];
    if (!mine.copied)
        d_counters.copies_skipped += mine.copies();
    std::copy(d_pending.begin(), d_pending.end(), mine.frames.begin());
    mine.copied = false;
    ++d_slot;
}

void packetizer::build_pair(push_result& result)
{
    for (const pending& frame : d_pending)
        d_counters.tokens_repeated += frame.how.tokens_repeated;
    for (int half = 0; half < 2; ++half) {
        packet_fields fields;
        fields.slots = 2 * d_frames_per_packet;
        for (int i = 0; i < fields.slots; ++i) {
            const int frame_half = i % 2;
            const pending& frame = d_pending[i / 2 + frame_half * d_frames_per_packet];
            fields.slot_list[i] = header_slot(frame);
            fields.slot_list[i].copies = frame.how.tokens_repeated;
            for (int j = 0; j < TOKENS_PER_FRAME; ++j) {
                const bool first = pair_half(frame_half, j) == half;
                if (j < (first ? frame.how.tokens_sent : frame.how.tokens_repeated))
                    append(fields, frame.tokens[j]);
            }
        }
        emit(fields, result);
        ++d_slot;
    }
}

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#include "packetizer.h"

#include "galois.h"

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
    if (d_layout == layout::parity) {
        how.tokens_sent = how.skip ? 0 : how.tokens_sent;
        how.comfort = how.skip = false;
    }
    const int limit = how.comfort ? MAX_COMFORT_TOKENS : TOKENS_PER_FRAME;
    how.tokens_sent = how.skip ? 0 : std::clamp(how.tokens_sent, 0, limit);
    how.tokens_sent = std::min(how.tokens_sent, prefix_length(tokens));
    const int repeatable = d_layout == layout::parity ? TOKENS_PER_FRAME : how.tokens_sent;
    how.tokens_repeated = std::clamp(how.tokens_repeated, 0, repeatable);
    how.tokens_protected = std::clamp(how.tokens_protected, 0, MAX_PROTECTED_TOKENS);
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
    if (d_layout == layout::parity) {
        build_tail(result);
        return result;
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
    return made(fields, d_slot);
}

packet packetizer::made(packet_fields& fields, std::uint64_t slot)
{
    packet p;
    p.bytes.reserve(64);
    fields.sequence = static_cast<std::uint8_t>(slot);
    write_packet(fields, d_layout, p.bytes);
    if (d_crc)
        append_crc(p.bytes);
    p.first_frame = slot * d_frames_per_packet;
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
    } else if (d_layout == layout::parity) {
        build_parity(result);
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

/// Every slot is sent, silence as well: a receiver could not tell a skipped one from a lost one,
/// and the sums need to know what was in it.
void packetizer::build_parity(push_result& result)
{
    packet_fields fields;
    fields.slots = d_frames_per_packet;
    int wanted = 0;
    for (int i = 0; i < fields.slots; ++i) {
        pending& frame = d_pending[i];
        fields.slot_list[i] = header_slot(frame);
        for (int j = 0; j < frame.how.tokens_sent; ++j)
            append(fields, frame.tokens[j]);
        wanted += frame.how.tokens_repeated;
        // Padding counts as the frame before it, so that it does no harm where it comes back.
        if (frame.empty)
            frame = d_pending[i - 1];
    }
    const int depth = d_pending.back().how.tokens_protected;
    append_parity(fields, d_slot, wanted, depth);
    d_tail_tokens = wanted > 0 ? fields.token_count : 0;
    emit(fields, result);
    std::copy(
        d_pending.begin(), d_pending.end(), d_history[d_slot % d_history.size()].frames.begin());
    ++d_slot;
}

/// Packets of parity alone, for the frames that no packet follows. They take no slots.
void packetizer::build_tail(push_result& result)
{
    const int depth = d_history[(d_slot + d_history.size() - 1) % d_history.size()]
                          .frames[d_frames_per_packet - 1]
                          .how.tokens_protected;
    for (int n = 1; n <= PARITY_TAIL; ++n) {
        packet_fields fields;
        fields.slots = d_frames_per_packet;
        fields.tail = fields.sums.nearest = n;
        append_parity(fields, d_slot + n - 1, d_tail_tokens, depth);
        if (fields.token_count == 0)
            return;
        result.packets.push_back(made(fields, d_slot + n - 1));
    }
    d_tail_tokens = 0;
}

/// Adds `wanted` sums of at most `depth` tokens a frame to the packet of `slot`.
void packetizer::append_parity(packet_fields& fields, std::uint64_t slot, int wanted, int depth)
{
    parity_span& sums = fields.sums;
    sums.reach = static_cast<int>(std::min<std::uint64_t>(slot, PARITY_WINDOW));
    const auto frame_at = [&](int lag, int i) -> const pending& {
        return d_history[(slot - lag) % d_history.size()].frames[i];
    };
    for (int lag = sums.nearest; lag <= sums.reach; ++lag)
        for (int i = 0; i < d_frames_per_packet; ++i)
            depth = std::min(depth, frame_at(lag, i).how.tokens_sent);
    if (wanted == 0 || sums.reach < sums.nearest || depth == 0)
        return;
    sums.depth = depth;
    d_counters.tokens_repeated += wanted;
    for (int number = 0; number < wanted; ++number) {
        const parity_place at{ static_cast<std::uint8_t>(slot), number };
        std::uint16_t sum = 0;
        for (int lag = sums.nearest; lag <= sums.reach; ++lag)
            for (int i = 0; i < d_frames_per_packet; ++i)
                for (int j = 0; j < depth; ++j)
                    sum ^= galois::multiply(parity_coefficient(at, lag, i, j),
                                            frame_at(lag, i).tokens[j]);
        append(fields, sum);
    }
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

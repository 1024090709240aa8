// SPDX-License-Identifier: GPL-3.0-or-later
#include "packet_format.h"

#include "bit_packing.h"

namespace largesc {

namespace {

constexpr std::uint8_t nibbles(int high, int low)
{
    return static_cast<std::uint8_t>((high << 4) | low);
}

bool read_slot(std::uint8_t byte, slot& s)
{
    s.code = byte >> 4;
    s.copies = byte & 0xF;
    return s.code <= CODE_EMPTY && s.copies <= TOKENS_PER_FRAME;
}

/// Padding stands at the end of the last packet only, and never alone.
bool padding_is_last(const packet_fields& fields, layout kind)
{
    const int step = kind == layout::pair ? 2 : 1;
    bool padded = false;
    for (int half = 0; half < step; ++half)
        for (int i = half; i < fields.slots; i += step) {
            const slot& s = fields.slot_list[i];
            if (s.empty() ? i == 0 : padded)
                return false;
            padded = s.empty();
        }
    return true;
}

std::optional<packet_fields>
read_end(const std::uint8_t* data, std::size_t size, packet_fields& fields)
{
    if (size != 2 || data[1] != nibbles(CODE_END, 0))
        return std::nullopt;
    fields.end = true;
    return fields;
}

std::optional<packet_fields>
read_tokens(const std::uint8_t* data, std::size_t size, packet_fields& fields)
{
    const int count = tokens_in(size);
    if (count != fields.token_count)
        return std::nullopt;
    bit_reader bits(data);
    for (int i = 0; i < count; ++i)
        fields.tokens[i] = bits.get();
    return fields;
}

} // namespace

int pair_tokens(int half, int frame_half, int sent, int repeated)
{
    int count = 0;
    for (int j = 0; j < TOKENS_PER_FRAME; ++j) {
        const bool first = pair_half(frame_half, j) == half;
        count += first ? j < sent : j < repeated;
    }
    return count;
}

void write_packet(const packet_fields& fields, layout kind, std::vector<std::uint8_t>& out)
{
    out.clear();
    out.push_back(fields.sequence);
    if (fields.end) {
        out.push_back(nibbles(CODE_END, 0));
        return;
    }
    for (int i = 0; i < fields.slots; ++i) {
        const slot& s = fields.slot_list[i];
        // The copies of the first slot follow from the length, so that the distance has its place.
        const bool implied = kind == layout::sequential && i == 0;
        out.push_back(nibbles(s.code, implied ? fields.distance : s.copies));
    }
    bit_writer bits(out);
    for (int i = 0; i < fields.token_count; ++i)
        bits.put(fields.tokens[i]);
    bits.finish();
}

std::optional<packet_fields>
read_packet(const std::uint8_t* data, std::size_t size, layout kind, int frames_per_packet)
{
    packet_fields fields;
    if (size < 2)
        return std::nullopt;
    fields.sequence = data[0];
    if (data[1] >> 4 == CODE_END)
        return read_end(data, size, fields);

    fields.slots = kind == layout::pair ? 2 * frames_per_packet : frames_per_packet;
    const std::size_t header = 1 + fields.slots;
    if (size < header)
        return std::nullopt;
    for (int i = 0; i < fields.slots; ++i)
        if (!read_slot(data[1 + i], fields.slot_list[i]))
            return std::nullopt;
    if (!padding_is_last(fields, kind))
        return std::nullopt;

    if (kind == layout::pair) {
        const int half = fields.sequence % 2;
        for (int i = 0; i < fields.slots; ++i) {
            const slot& s = fields.slot_list[i];
            fields.token_count += pair_tokens(half, i % 2, s.tokens(), s.copies);
        }
        return read_tokens(data + header, size - header, fields);
    }

    fields.distance = data[1] & 0xF;
    const int total = tokens_in(size - header);
    int known = fields.slot_list[0].tokens();
    for (int i = 1; i < fields.slots; ++i)
        known += fields.slot_list[i].tokens() + fields.slot_list[i].copies;
    const int copies = total - known;
    if (total < 0 || copies < 0 || copies > TOKENS_PER_FRAME)
        return std::nullopt;
    fields.slot_list[0].copies = copies;
    bool any = false;
    for (int i = 0; i < fields.slots; ++i)
        any |= fields.slot_list[i].copies > 0;
    if (any && fields.distance == 0)
        return std::nullopt;
    fields.token_count = total;
    return read_tokens(data + header, size - header, fields);
}

} // namespace largesc

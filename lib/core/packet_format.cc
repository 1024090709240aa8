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
    return s.code <= CODE_EMPTY;
}

/// Fields of 9 to 15 say something of parity only, in the first place.
bool copies_fit(const packet_fields& fields, layout kind)
{
    for (int i = kind == layout::parity ? 1 : 0; i < fields.slots; ++i)
        if (fields.slot_list[i].copies > TOKENS_PER_FRAME)
            return false;
    return true;
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

/// A packet behind the last frame holds the same code in the place of each frame.
bool read_tail(packet_fields& fields)
{
    const int code = fields.slot_list[0].code;
    if (code < CODE_COMFORT || code >= CODE_EMPTY)
        return true;
    fields.tail = code - CODE_COMFORT + 1;
    fields.sums.nearest = fields.tail;
    for (int i = 0; i < fields.slots; ++i) {
        if (fields.slot_list[i].code != code)
            return false;
        fields.slot_list[i].code = CODE_EMPTY;
    }
    return fields.tail <= PARITY_TAIL;
}

/// Tokens and then parity, with `field` the nibble that tells how deep and how far it reaches.
std::optional<packet_fields>
read_parity(const std::uint8_t* data, std::size_t size, int field, packet_fields& fields)
{
    if (!read_tail(fields))
        return std::nullopt;
    for (int i = 0; i < fields.slots; ++i)
        if (fields.slot_list[i].comfort() || (i > 0 && fields.slot_list[i].copies != 0))
            return std::nullopt;
    fields.token_count = tokens_in(size);
    const int parity = fields.token_count - fields.own_tokens();
    const bool whole = field > MAX_PROTECTED_TOKENS + 1;
    // The tail has those of a packet, and as many as that had tokens.
    const int most = (fields.tail > 0 ? 2 : 1) * TOKENS_PER_FRAME;
    parity_span& sums = fields.sums;
    sums.depth = whole ? field - MAX_PROTECTED_TOKENS - 1 : field;
    sums.reach = whole ? PARITY_WINDOW : fields.sequence;
    const bool fits = parity > 0 ? sums.depth > 0 && sums.depth <= MAX_PROTECTED_TOKENS &&
                                       sums.reach <= PARITY_WINDOW && sums.reach >= sums.nearest
                                 : parity == 0 && field == 0 && fields.tail == 0;
    if (!fits || parity > most * fields.slots)
        return std::nullopt;
    return read_tokens(data, size, fields);
}

} // namespace

int packet_fields::own_tokens() const
{
    int count = 0;
    for (int i = 0; i < slots; ++i)
        count += slot_list[i].tokens();
    return count;
}

int pair_tokens(int half, int frame_half, int sent, int repeated)
{
    int count = 0;
    for (int j = 0; j < TOKENS_PER_FRAME; ++j) {
        const bool first = pair_half(frame_half, j) == half;
        count += first ? j < sent : j < repeated;
    }
    return count;
}

namespace {

/// What stands beside the code of the first frame.
int first_field(const packet_fields& fields, layout kind)
{
    if (kind != layout::parity)
        return fields.distance;
    const bool whole = fields.sums.depth > 0 && fields.sums.reach == PARITY_WINDOW;
    return fields.sums.depth + (whole ? MAX_PROTECTED_TOKENS + 1 : 0);
}

} // namespace

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
        const bool implied = kind != layout::pair && i == 0;
        const int code = fields.tail > 0 ? CODE_COMFORT + fields.tail - 1 : s.code;
        out.push_back(nibbles(code, implied ? first_field(fields, kind) : s.copies));
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
    if (!padding_is_last(fields, kind) || !copies_fit(fields, kind))
        return std::nullopt;

    if (kind == layout::pair) {
        const int half = fields.sequence % 2;
        for (int i = 0; i < fields.slots; ++i) {
            const slot& s = fields.slot_list[i];
            fields.token_count += pair_tokens(half, i % 2, s.tokens(), s.copies);
        }
        return read_tokens(data + header, size - header, fields);
    }

    if (kind == layout::parity)
        return read_parity(data + header, size - header, data[1] & 0xF, fields);

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

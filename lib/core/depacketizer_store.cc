// SPDX-License-Identifier: GPL-3.0-or-later
// What a packet brings goes into the records of its slot and of earlier ones, a layout at a time.
#include "depacketizer.h"

#include <algorithm>

namespace largesc {

namespace {

constexpr std::size_t MAX_REPAIRS = 1024;

/// Writes a token that is not known yet; returns whether it was news.
bool fill(std::uint16_t& place, std::uint16_t token)
{
    if (place != ERASED_TOKEN)
        return false;
    place = token;
    return true;
}

} // namespace

void depacketizer::repaired(const record& r, int i)
{
    if (r.index[i] < 0 || d_ready.size() > MAX_REPAIRS)
        return;
    ++d_counters.repairs;
    received_frame f;
    f.index = r.index[i];
    f.tokens = r.tokens[i];
    f.repair = true;
    d_ready.push_back(f);
}

/// Returns the first slot of which there was something new.
std::optional<std::uint64_t> depacketizer::store_sequential(const packet_fields& fields,
                                                            std::uint64_t slot)
{
    const std::uint16_t* token = fields.tokens.data();
    std::optional<std::uint64_t> first;
    const auto store = [&](record& r, int i, int count) {
        bool news = false;
        for (int j = 0; j < count; ++j)
            news |= fill(r.tokens[i][j], *token++);
        if (!news)
            return;
        first = r.slot;
        repaired(r, i);
    };
    record& own = at(slot);
    for (int i = 0; i < fields.slots; ++i) {
        own.code[i] = fields.slot_list[i].code;
        store(own, i, fields.slot_list[i].tokens());
    }
    if (fields.distance == 0 || slot - fields.distance < d_first_slot)
        return first;
    record& earlier = at(slot - fields.distance);
    for (int i = 0; i < fields.slots; ++i)
        store(earlier, i, fields.slot_list[i].copies);
    return first;
}

std::optional<std::uint64_t> depacketizer::store_parity(const packet_fields& fields,
                                                        std::uint64_t slot)
{
    const std::uint16_t* token = fields.tokens.data();
    record& own = at(slot);
    std::vector<recovered_token> found;
    bool any = false;
    // The tail's packets are numbered behind the end, and hold no frames.
    for (int i = 0, last = 0; fields.tail == 0 && i < fields.slots; ++i) {
        own.code[i] = fields.slot_list[i].code;
        bool news = false;
        for (int j = 0; j < fields.slot_list[i].tokens(); ++j)
            news |= fill(own.tokens[i][j], *token++);
        any |= news;
        if (news)
            repaired(own, i);
        // Padding counts as the last frame before it.
        last = fields.slot_list[i].empty() ? last : i;
        const auto more = d_parity.know(slot, i, own.tokens[last]);
        found.insert(found.end(), more.begin(), more.end());
    }
    const std::vector<std::uint16_t> parity(token, fields.tokens.data() + fields.token_count);
    const auto more = d_parity.add(slot, fields.sums, parity);
    found.insert(found.end(), more.begin(), more.end());
    store_recovered(found);
    d_counters.parity_conflicts = d_parity.conflicts();
    // How late sums are tells nothing of the jitter: they come for as long as they reach.
    return any ? std::optional(slot) : std::nullopt;
}

void depacketizer::store_recovered(const std::vector<recovered_token>& found)
{
    std::vector<std::pair<std::uint64_t, int>> frames;
    for (const recovered_token& token : found) {
        if (token.slot < d_first_slot)
            continue;
        record& r = at(token.slot);
        if (!fill(r.tokens[token.frame][token.token], token.value))
            continue;
        ++d_counters.tokens_recovered;
        const std::pair frame{ token.slot, token.frame };
        if (std::find(frames.begin(), frames.end(), frame) == frames.end())
            frames.push_back(frame);
    }
    for (const auto& [slot, frame] : frames)
        repaired(at(slot), frame);
}

std::optional<std::uint64_t> depacketizer::store_pair(const packet_fields& fields,
                                                      std::uint64_t slot)
{
    const int half = slot % 2;
    std::optional<std::uint64_t> first;
    const std::uint16_t* token = fields.tokens.data();
    for (int n = 0; n < fields.slots; ++n) {
        const largesc::slot& s = fields.slot_list[n];
        const int frame_half = n % 2, i = n / 2;
        record& home = at(slot - half + frame_half);
        home.code[i] = s.code;
        bool news = false;
        for (int j = 0; j < TOKENS_PER_FRAME; ++j) {
            const bool original = pair_half(frame_half, j) == half;
            if (j < (original ? s.tokens() : s.copies))
                news |= fill(home.tokens[i][j], *token++);
        }
        if (!news)
            continue;
        first = std::min(first.value_or(home.slot), home.slot);
        repaired(home, i);
    }
    return first;
}

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#include "token_parity.h"

#include "galois.h"

#include <algorithm>

namespace largesc {

namespace {

/// to ^= factor * from.
void add_scaled(std::vector<std::uint16_t>& to,
                const std::vector<std::uint16_t>& from,
                std::uint16_t factor)
{
    for (std::size_t n = 0; n < to.size(); ++n)
        if (from[n] != 0)
            to[n] ^= galois::multiply(factor, from[n]);
}

} // namespace

std::uint16_t parity_coefficient(const parity_place& at, int lag, int frame, int token)
{
    // Both ends need the same numbers, and none that depend on each other: a mixed-up count.
    std::uint32_t x = at.sequence | static_cast<std::uint32_t>(at.number) << 8 |
                      static_cast<std::uint32_t>(lag) << 16 |
                      static_cast<std::uint32_t>(TOKENS_PER_FRAME * frame + token) << 24;
    x *= 0x9E3779B1u;
    x ^= x >> 15;
    x *= 0x85EBCA77u;
    x ^= x >> 13;
    return static_cast<std::uint16_t>(x % (TOKEN_VALUES - 1) + 1);
}

parity_solver::parity_solver(int frames_per_packet)
    : d_frames(frames_per_packet),
      d_width(SLOTS * frames_per_packet * TOKENS_PER_FRAME),
      d_known(d_width, ERASED_TOKEN)
{
}

void parity_solver::reset()
{
    d_rows.clear();
    d_newest = 0;
    std::fill(d_known.begin(), d_known.end(), ERASED_TOKEN);
}

int parity_solver::most_rows() const
{
    return PARITY_WINDOW * d_frames * MAX_PROTECTED_TOKENS;
}

int parity_solver::column(std::uint64_t slot, int frame, int token) const
{
    return (static_cast<int>(slot % SLOTS) * d_frames + frame) * TOKENS_PER_FRAME + token;
}

/// Makes room for `slot`, and drops what lies too far before it.
void parity_solver::reach_slot(std::uint64_t slot)
{
    if (d_newest == 0 || slot > d_newest + SLOTS) {
        reset();
        d_newest = slot;
    }
    while (d_newest < slot)
        forget(++d_newest);
}

/// The columns of the slot SLOTS before `slot` become those of `slot`.
void parity_solver::forget(std::uint64_t slot)
{
    const int first = column(slot, 0, 0), end = first + d_frames * TOKENS_PER_FRAME;
    std::fill(d_known.begin() + first, d_known.begin() + end, ERASED_TOKEN);
    const auto holds = [&](const row& r) {
        return std::any_of(
            r.of.begin() + first, r.of.begin() + end, [](std::uint16_t c) { return c != 0; });
    };
    d_rows.erase(std::remove_if(d_rows.begin(), d_rows.end(), holds), d_rows.end());
}

std::vector<recovered_token>
parity_solver::know(std::uint64_t slot, int frame, const tokens_t& tokens)
{
    reach_slot(slot);
    if (slot + SLOTS <= d_newest)
        return {};
    for (int j = 0; j < prefix_length(tokens); ++j)
        substitute(column(slot, frame, j), tokens[j]);
    return take_solved();
}

std::vector<recovered_token> parity_solver::add(std::uint64_t slot,
                                                const parity_span& span,
                                                const std::vector<std::uint16_t>& parity)
{
    reach_slot(slot);
    if (slot + SLOTS - PARITY_WINDOW <= d_newest)
        return {};
    for (std::size_t number = 0; number < parity.size(); ++number) {
        const parity_place at{ static_cast<std::uint8_t>(slot), static_cast<int>(number) };
        row equation{ 0, parity[number], std::vector<std::uint16_t>(d_width, 0) };
        for (int lag = span.nearest; lag <= span.reach; ++lag)
            for (int frame = 0; frame < d_frames; ++frame)
                for (int token = 0; token < span.depth; ++token) {
                    const std::uint16_t c = parity_coefficient(at, lag, frame, token);
                    const int n = column(slot - lag, frame, token);
                    if (d_known[n] == ERASED_TOKEN)
                        equation.of[n] = c;
                    else
                        equation.value ^= galois::multiply(c, d_known[n]);
                }
        insert(std::move(equation));
    }
    return take_solved();
}

/// Reduces an equation by the rows that there are, and these by what is left of it.
void parity_solver::insert(row equation)
{
    for (const row& r : d_rows)
        if (const std::uint16_t factor = equation.of[r.pivot]) {
            add_scaled(equation.of, r.of, factor);
            equation.value ^= galois::multiply(factor, r.value);
        }
    const auto pivot =
        std::find_if(equation.of.begin(), equation.of.end(), [](std::uint16_t c) { return c; });
    if (pivot == equation.of.end()) {
        if (equation.value != 0) {
            ++d_conflicts;
            d_rows.clear();
            std::fill(d_known.begin(), d_known.end(), ERASED_TOKEN);
        }
        return;
    }
    if (static_cast<int>(d_rows.size()) == most_rows())
        d_rows.erase(d_rows.begin());
    equation.pivot = static_cast<int>(pivot - equation.of.begin());
    const std::uint16_t scale = galois::inverse(*pivot);
    for (std::uint16_t& c : equation.of)
        c = galois::multiply(scale, c);
    equation.value = galois::multiply(scale, equation.value);
    for (row& r : d_rows)
        if (const std::uint16_t factor = r.of[equation.pivot]) {
            add_scaled(r.of, equation.of, factor);
            r.value ^= galois::multiply(factor, equation.value);
        }
    d_rows.push_back(std::move(equation));
}

/// A token is known now: it leaves all rows.
void parity_solver::substitute(int column, std::uint16_t value)
{
    if (d_known[column] != ERASED_TOKEN)
        return;
    d_known[column] = value;
    std::vector<row> unsettled;
    for (auto r = d_rows.begin(); r != d_rows.end();) {
        r->value ^= galois::multiply(r->of[column], value);
        r->of[column] = 0;
        if (r->pivot == column) {
            unsettled.push_back(std::move(*r));
            r = d_rows.erase(r);
        } else {
            ++r;
        }
    }
    for (row& r : unsettled)
        insert(std::move(r));
}

/// Rows that hold one token alone tell it, and are done.
std::vector<recovered_token> parity_solver::take_solved()
{
    std::vector<recovered_token> found;
    const auto single = [](const row& r) {
        return std::count_if(r.of.begin(), r.of.end(), [](std::uint16_t c) { return c; }) == 1;
    };
    for (auto r = d_rows.begin(); r != d_rows.end();) {
        if (!single(*r)) {
            ++r;
            continue;
        }
        const int in_slot = r->pivot / TOKENS_PER_FRAME;
        recovered_token token;
        const std::uint64_t back = (d_newest + SLOTS - in_slot / d_frames) % SLOTS;
        token.slot = d_newest - back;
        token.frame = in_slot % d_frames;
        token.token = r->pivot % TOKENS_PER_FRAME;
        token.value = r->value;
        d_known[r->pivot] = r->value;
        found.push_back(token);
        r = d_rows.erase(r);
    }
    return found;
}

} // namespace largesc

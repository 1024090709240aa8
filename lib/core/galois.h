// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "token_frame.h"

namespace largesc {

/// Arithmetic of the field with 2048 elements, so that a token of 11 bits is one of them.
///
/// Addition is exclusive or. Products are taken modulo x^11 + x^2 + 1, of which x generates all
/// elements but 0.
class galois
{
public:
    static std::uint16_t multiply(std::uint16_t a, std::uint16_t b)
    {
        if (a == 0 || b == 0)
            return 0;
        const tables& t = of_field();
        return t.power[t.logarithm[a] + t.logarithm[b]];
    }

    /// `a` must not be 0.
    static std::uint16_t inverse(std::uint16_t a)
    {
        const tables& t = of_field();
        return t.power[ORDER - t.logarithm[a]];
    }

private:
    static constexpr int ORDER = TOKEN_VALUES - 1;
    static constexpr std::uint16_t POLYNOMIAL = 0x805;

    struct tables {
        std::array<std::uint16_t, 2 * ORDER + 1> power{};
        std::array<std::uint16_t, TOKEN_VALUES> logarithm{};
    };

    static const tables& of_field()
    {
        static const tables found = [] {
            tables t;
            std::uint16_t element = 1;
            for (int n = 0; n < ORDER; ++n) {
                t.power[n] = t.power[n + ORDER] = element;
                t.logarithm[element] = n;
                element = static_cast<std::uint16_t>(element << 1);
                if (element & TOKEN_VALUES)
                    element ^= POLYNOMIAL;
            }
            t.power[2 * ORDER] = 1;
            return t;
        }();
        return found;
    }
};

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "token_frame.h"

#include <cstddef>
#include <vector>

namespace largesc {

/// Bytes that hold `count` tokens of 11 bits.
constexpr std::size_t packed_size(std::size_t count)
{
    return (count * TOKEN_BITS + 7) / 8;
}

/// Tokens that fill `bytes`; the count is unique since a token takes more than a byte.
/// Returns -1 when no count of tokens takes exactly that many bytes.
constexpr int tokens_in(std::size_t bytes)
{
    const std::size_t count = bytes * 8 / TOKEN_BITS;
    return packed_size(count) == bytes ? static_cast<int>(count) : -1;
}

/// Appends 11-bit tokens to bytes, most significant bit first.
class bit_writer
{
public:
    explicit bit_writer(std::vector<std::uint8_t>& out)
        : d_out(out)
    {
    }

    void put(std::uint16_t token)
    {
        d_bits = (d_bits << TOKEN_BITS) | token;
        d_count += TOKEN_BITS;
        while (d_count >= 8) {
            d_count -= 8;
            d_out.push_back(static_cast<std::uint8_t>(d_bits >> d_count));
        }
    }

    /// Fills the last byte with zeros.
    void finish()
    {
        if (d_count > 0)
            d_out.push_back(static_cast<std::uint8_t>(d_bits << (8 - d_count)));
        d_count = 0;
    }

private:
    std::vector<std::uint8_t>& d_out;
    std::uint32_t d_bits = 0;
    int d_count = 0;
};

/// Reads 11-bit tokens; the caller knows how many there are.
class bit_reader
{
public:
    explicit bit_reader(const std::uint8_t* data)
        : d_data(data)
    {
    }

    std::uint16_t get()
    {
        while (d_count < TOKEN_BITS) {
            d_bits = (d_bits << 8) | *d_data++;
            d_count += 8;
        }
        d_count -= TOKEN_BITS;
        return (d_bits >> d_count) & (TOKEN_VALUES - 1);
    }

private:
    const std::uint8_t* d_data;
    std::uint32_t d_bits = 0;
    int d_count = 0;
};

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace largesc {

/// The check of the packet format, CRC-16/CCITT-FALSE: polynomial 0x1021, start value 0xFFFF, not
/// reflected, no final exclusive or.
constexpr std::size_t CRC_BYTES = 2;

namespace crc16_detail {

constexpr std::array<std::uint16_t, 256> make_table()
{
    std::array<std::uint16_t, 256> table{};
    for (unsigned byte = 0; byte < 256; ++byte) {
        unsigned value = byte << 8;
        for (int bit = 0; bit < 8; ++bit)
            value = value << 1 ^ (value & 0x8000 ? 0x1021 : 0);
        table[byte] = static_cast<std::uint16_t>(value);
    }
    return table;
}

inline constexpr std::array<std::uint16_t, 256> TABLE = make_table();

} // namespace crc16_detail

inline std::uint16_t crc16(const std::uint8_t* data, std::size_t size)
{
    std::uint16_t crc = 0xFFFF;
    for (std::size_t i = 0; i < size; ++i)
        crc =
            static_cast<std::uint16_t>(crc << 8 ^ crc16_detail::TABLE[(crc >> 8 ^ data[i]) & 0xFF]);
    return crc;
}

/// Puts the CRC of all bytes behind them, high byte first.
inline void append_crc(std::vector<std::uint8_t>& packet)
{
    const std::uint16_t crc = crc16(packet.data(), packet.size());
    packet.push_back(static_cast<std::uint8_t>(crc >> 8));
    packet.push_back(static_cast<std::uint8_t>(crc & 0xFF));
}

/// Whether something, and behind it its CRC, are there.
inline bool has_right_crc(const std::uint8_t* data, std::size_t size)
{
    // The CRC of bytes with their own CRC behind them is 0.
    return size > CRC_BYTES && crc16(data, size) == 0;
}

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "token_frame.h"

#include <vector>

namespace largesc {

/// Packet slots that a parity token reaches back, the nearest one first.
constexpr int PARITY_WINDOW = 12;
/// First tokens of each frame that parity may protect.
constexpr int MAX_PROTECTED_TOKENS = 7;

/// Packets of parity alone behind the last frame of a stream.
constexpr int PARITY_TAIL = 3;

/// What the parity tokens of a packet are sums of.
struct parity_span {
    int depth = 0;   ///< first tokens of each frame, 0: there are no sums
    int nearest = 1; ///< slots back to the newest slot in them
    int reach = 0;   ///< slots back to the oldest one
};

/// Which sum a parity token is. Its value is the sum, in the field of `galois`, of all protected
/// tokens of the slots in its window, each times `parity_coefficient`.
struct parity_place {
    std::uint8_t sequence = 0; ///< of the packet that carries it
    int number = 0;            ///< among the parity tokens of that packet, from 0
};

/// 1 to 2047, for token `token` of frame `frame` of the slot `lag` slots before the packet.
std::uint16_t parity_coefficient(const parity_place& at, int lag, int frame, int token);

/// A token that came out of parity.
struct recovered_token {
    std::uint64_t slot = 0;
    int frame = 0, token = 0;
    std::uint16_t value = 0;
};

/// Solves for lost tokens as parity comes in: Gauss and Jordan, a row at a time.
///
/// It holds no more rows than a window has protected tokens, whatever comes in.
class parity_solver
{
public:
    static constexpr int SLOTS = 32;

    explicit parity_solver(int frames_per_packet);

    /// Takes tokens of a frame of `slot` that have come, up to the first erased one.
    std::vector<recovered_token> know(std::uint64_t slot, int frame, const tokens_t& tokens);
    /// Takes the parity tokens of the packet of `slot`, and returns what can be told by them.
    std::vector<recovered_token>
    add(std::uint64_t slot, const parity_span& span, const std::vector<std::uint16_t>& parity);
    void reset();

    /// Parity that contradicts what is known: a packet was not what its sender had sent. All that
    /// is known is forgotten then, since nobody knows which.
    std::uint64_t conflicts() const { return d_conflicts; }
    /// Equations that wait for more.
    int rows() const { return static_cast<int>(d_rows.size()); }

private:
    struct row {
        int pivot = 0;
        std::uint16_t value = 0;
        std::vector<std::uint16_t> of; ///< coefficients, one a column
    };
    struct place {
        std::uint64_t slot = 0;
        std::array<std::uint16_t, MAX_FRAMES_PER_PACKET * TOKENS_PER_FRAME> tokens{};
    };

    int most_rows() const;
    int column(std::uint64_t slot, int frame, int token) const;
    void reach_slot(std::uint64_t slot);
    void forget(std::uint64_t slot);
    void insert(row equation);
    void substitute(int column, std::uint16_t value);
    std::vector<recovered_token> take_solved();

    const int d_frames, d_width;
    std::uint64_t d_newest = 0;         ///< slot, 0: none yet
    std::vector<std::uint16_t> d_known; ///< a column, ERASED_TOKEN: not known
    std::vector<row> d_rows;
    std::uint64_t d_conflicts = 0;
};

} // namespace largesc

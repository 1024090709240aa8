// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "token_frame.h"

#include <deque>
#include <utility>

namespace largesc {

constexpr int BUDGET_WINDOW_FRAMES = 25;
constexpr int MAX_TOKENS_A_FRAME = 2 * TOKENS_PER_FRAME;

/// Keeps the payload (11 bit a token, copies included) within a bit rate over any 25 frames.
class budget_window
{
public:
    /// budget_bps: 137.5 (one token a frame) to 2200 (16 tokens).
    explicit budget_window(double budget_bps);
    /// Tokens that this frame may use, 1 to 16: its fair share, and part of what silence has left
    /// over, as long as the frames behind it keep three quarters of theirs and a token at least.
    int allowance() const;
    /// Books what the frame uses, 0 (DTX) to allowance(); throws std::invalid_argument otherwise.
    void commit(int tokens);

private:
    const double d_share;
    const int d_limit, d_reserve;
    std::deque<int> d_used;
    int d_sum = 0;
    double d_carry = 0.0;
};

/// Tokens to send and to repeat.
using token_split = std::pair<int, int>;

/// Copies after the loss probability: 0, 1, 1, 2, 4 from 0, 5, 10, 20, 30 % on (LargeSC, Fig. 9).
/// Silent frames send at most 2 tokens and repeat none.
token_split split_table(int allowed, double loss_probability, bool silent);

/// `sent` and `repeated` as asked for, cut to what is allowed, copies first.
token_split split_fixed(int allowed, int sent, int repeated);

/// LargeSC, Sec. III-B: n_s = min(8, floor(L I_s)), n_c = min(n_s, floor(L I_c)) for the largest
/// L in 0..16 whose sum is allowed; at least one token is sent where one is allowed.
token_split split_learned(int allowed, double importance_s, double importance_c);

/// Largest distance in packets whose copies still arrive before the deadline, at least 1.
int copy_distance(int deadline_ms, int frames_per_packet);

} // namespace largesc

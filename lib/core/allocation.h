// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "token_frame.h"

#include <array>
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

/// Distortion of a frame of which the first k tokens are played, k = 0 (all made up) to 8, in any
/// unit.
using prefix_distortion = std::array<double, TOKENS_PER_FRAME + 1>;

/// A Gilbert-Elliott channel as the receiver reports it.
struct channel_state {
    double loss_probability;
    /// Packets.
    double mean_burst;
};

/// Chance that two packets `distance` apart are both lost: p (p + (1 - p) r^distance) with
/// r = 1 - 1/B - p / (B (1 - p)) for mean bursts of B packets. Bursts shorter than those of
/// independent losses, B = 1 / (1 - p), count as these.
double both_lost(const channel_state& channel, int distance);

/// Distance, 1 to `max_distance` packets, at which both are lost least often. Of distances within a
/// tenth of the least the shortest is taken: it waits less. It depends on the channel alone, since
/// copies are skipped where it changes.
int best_distance(const channel_state& channel, int max_distance);

/// A split and its expected distortion, without the price.
struct expected_split {
    token_split tokens{ 0, 0 };
    double distortion = 0.0;
};

/// The split of least expected distortion plus `price` a token, among all that fit into `allowed`
/// tokens, with copies `distance` packets later. At least one token is sent where one is allowed. A
/// distortion that is not finite counts as the largest that is.
expected_split split_exact(int allowed,
                           const prefix_distortion& distortion,
                           const channel_state& channel,
                           int distance,
                           double price);

/// Largest distance in packets whose copies still arrive before the deadline, at least 1.
int copy_distance(int deadline_ms, int frames_per_packet);

} // namespace largesc

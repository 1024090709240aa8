// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "allocation.h"

namespace largesc {

/// Parity tokens of each frame's packet, and the first tokens of each frame that they protect.
struct parity_split {
    int parity = 0;
    int depth = 0;
};

/// Chance that a lost packet's protected tokens do not come back within `wait` packets, each of
/// which brings `split.parity` sums of `split.depth` tokens a frame.
///
/// Followed is the information debt (Martinian, PhD thesis, MIT 2004): it grows by `depth` with
/// each lost packet and falls by `parity` with each that comes; what was lost is known again once
/// it is down to 0. `wait`: 0 to PARITY_WINDOW; 0: nothing comes back.
double not_recovered(const channel_state& channel, const parity_split& split, int wait);

/// The split of least expected distortion for frames with `share` tokens, parity included, 1 to
/// 16, of the usual `distortion`. Its depth is never more than what a frame then sends.
parity_split best_parity(double share,
                         const prefix_distortion& distortion,
                         const channel_state& channel,
                         int wait);

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <gnuradio/largesc/api.h>
#include <gnuradio/sync_block.h>

namespace gr::largesc {

/*!
 * \brief Lets 24 kHz through at its own pace, as a sound card would.
 *
 * The in-tree throttle makes up for every stall by running fast afterwards, which empties a
 * receiver's playout; a sound card does not: behind one of more than 60 ms the time is lost.
 *
 * Input and output: float stream, 24 kHz.
 */
class LARGESC_API real_time : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<real_time>;

    static sptr make();
};

} // namespace gr::largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <gnuradio/largesc/api.h>
#include <gnuradio/sync_block.h>

#include <functional>

namespace gr::largesc {

/*!
 * \brief Passes a stream on, and calls a function when a run of the flowgraph is over.
 *
 * In-tree blocks do not begin anew in a second run: whoever holds them puts others in their place
 * then. The function, and what it belongs to, lives as long as this block.
 *
 * Input and output: stream of items of \p item_size bytes.
 */
class LARGESC_API at_stop : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<at_stop>;

    static sptr make(std::size_t item_size, const std::function<void()>& call);
};

} // namespace gr::largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#include "at_stop_impl.h"

#include <gnuradio/io_signature.h>

#include <cstring>

namespace gr::largesc {

at_stop::sptr at_stop::make(std::size_t item_size, const std::function<void()>& call)
{
    return gnuradio::make_block_sptr<at_stop_impl>(item_size, call);
}

at_stop_impl::at_stop_impl(std::size_t item_size, const std::function<void()>& call)
    : gr::sync_block("at_stop",
                     gr::io_signature::make(1, 1, item_size),
                     gr::io_signature::make(1, 1, item_size)),
      d_item_size(item_size),
      d_call(call)
{
}

bool at_stop_impl::stop()
{
    d_call();
    return sync_block::stop();
}

int at_stop_impl::work(int noutput_items,
                       gr_vector_const_void_star& input_items,
                       gr_vector_void_star& output_items)
{
    std::memcpy(output_items[0], input_items[0], noutput_items * d_item_size);
    return noutput_items;
}

} // namespace gr::largesc

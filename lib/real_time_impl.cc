// SPDX-License-Identifier: GPL-3.0-or-later
#include "real_time_impl.h"

#include <gnuradio/io_signature.h>

#include <algorithm>
#include <thread>

namespace gr::largesc {

namespace {

constexpr double RATE_HZ = 24000.0;
/// 20 ms at a time.
constexpr int MOST_SAMPLES = 480;

} // namespace

real_time::sptr real_time::make()
{
    return gnuradio::make_block_sptr<real_time_impl>();
}

real_time_impl::real_time_impl()
    : gr::sync_block("real_time",
                     gr::io_signature::make(1, 1, sizeof(float)),
                     gr::io_signature::make(1, 1, sizeof(float))),
      d_pace(RATE_HZ)
{
    set_max_noutput_items(MOST_SAMPLES);
}

bool real_time_impl::start()
{
    d_pace = ::largesc::pace(RATE_HZ);
    return sync_block::start();
}

int real_time_impl::work(int noutput_items,
                         gr_vector_const_void_star& input_items,
                         gr_vector_void_star& output_items)
{
    std::copy_n(static_cast<const float*>(input_items[0]),
                noutput_items,
                static_cast<float*>(output_items[0]));
    std::this_thread::sleep_until(d_pace.due(noutput_items, ::largesc::pace::clock::now()));
    return noutput_items;
}

} // namespace gr::largesc

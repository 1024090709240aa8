// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "at_stop.h"

namespace gr::largesc {

class at_stop_impl : public at_stop
{
public:
    at_stop_impl(std::size_t item_size, const std::function<void()>& call);
    bool stop() override;
    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override;

private:
    const std::size_t d_item_size;
    const std::function<void()> d_call;
};

} // namespace gr::largesc

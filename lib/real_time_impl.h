// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/pace.h"
#include "real_time.h"

namespace gr::largesc {

class real_time_impl : public real_time
{
public:
    real_time_impl();
    bool start() override;
    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override;

private:
    ::largesc::pace d_pace;
};

} // namespace gr::largesc

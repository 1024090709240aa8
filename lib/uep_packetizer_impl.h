// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/packetizer.h"

#include <gnuradio/largesc/uep_packetizer.h>
#include <gnuradio/thread/thread.h>

namespace gr::largesc {

class uep_packetizer_impl : public uep_packetizer
{
public:
    uep_packetizer_impl(int frames_per_packet, const std::string& layout, bool crc);
    pmt::pmt_t statistics() const override;

private:
    void on_tokens(const pmt::pmt_t& msg);
    void on_system(const pmt::pmt_t& msg);
    void on_end(const pmt::pmt_t& msg);
    bool read(const pmt::pmt_t& msg, ::largesc::tokens_t& tokens, ::largesc::decision& how);
    void publish(const ::largesc::push_result& result);

    ::largesc::packetizer d_core;
    bool d_ended = false;
    mutable gr::thread::mutex d_mutex;
    uint64_t d_refused = 0;
};

} // namespace gr::largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/packetizer.h"

#include <gnuradio/largesc/uep_packetizer.h>
#include <gnuradio/thread/thread.h>

#include <optional>

namespace gr::largesc {

class uep_packetizer_impl : public uep_packetizer
{
public:
    uep_packetizer_impl(int frames_per_packet, const std::string& layout, bool crc);
    bool start() override;
    pmt::pmt_t statistics() const override;

private:
    void on_tokens(const pmt::pmt_t& msg);
    void on_system(const pmt::pmt_t& msg);
    void on_end(const pmt::pmt_t& msg);
    bool read(const pmt::pmt_t& msg, ::largesc::tokens_t& tokens, ::largesc::decision& how);
    bool refuse(const pmt::pmt_t& msg);
    void publish(const ::largesc::push_result& result);

    const int d_frames_per_packet;
    const ::largesc::layout d_layout;
    const bool d_crc;
    std::optional<::largesc::packetizer> d_core;
    bool d_ended = false, d_ran = false;
    mutable gr::thread::mutex d_mutex;
    uint64_t d_refused = 0;
};

} // namespace gr::largesc

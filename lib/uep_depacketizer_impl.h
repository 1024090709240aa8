// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/depacketizer.h"

#include <gnuradio/largesc/uep_depacketizer.h>
#include <gnuradio/thread/thread.h>

#include <optional>
#include <set>

namespace gr::largesc {

class uep_depacketizer_impl : public uep_depacketizer
{
public:
    uep_depacketizer_impl(const ::largesc::depacketizer_config& config,
                          int report_interval_packets,
                          bool end_with_sender);
    bool start() override;
    pmt::pmt_t statistics() const override;

private:
    void on_packet(const pmt::pmt_t& msg);
    void on_pull();
    void on_system(const pmt::pmt_t& msg);
    void end_if_sender_has();
    void on_end(int64_t total_frames);
    void finish(int64_t total_frames);
    bool take(const std::vector<uint8_t>& data);
    void give_credit(const pmt::pmt_t& msg);
    void say_why_refused();
    void publish_ready();
    void publish(const ::largesc::received_frame& frame);
    void publish_reports();
    pmt::pmt_t make_report() const;

    const ::largesc::depacketizer_config d_config;
    std::optional<::largesc::depacketizer> d_core;
    const unsigned d_report_interval;
    const bool d_end_with_sender;
    bool d_ended = false, d_ran = false;
    bool d_pulled = false; ///< somebody pulls
    bool d_ending = false; ///< live: nothing follows what is still to be pulled
    std::set<std::string> d_said;
    uint64_t d_reported = 0, d_status_frames = 0;
    uint64_t d_refused_messages = 0;
    mutable gr::thread::mutex d_mutex;
};

} // namespace gr::largesc

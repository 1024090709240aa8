// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "core/channel.h"

#include <gnuradio/largesc/loss_channel.h>
#include <gnuradio/thread/thread.h>

#include <optional>

namespace gr::largesc {

class loss_channel_impl : public loss_channel
{
public:
    loss_channel_impl(const std::string& model,
                      double loss_probability,
                      double mean_burst,
                      const std::string& trace,
                      const ::largesc::impairments& how,
                      uint64_t seed);
    bool start() override;
    void set_loss_probability(double loss_probability) override;
    void set_mean_burst(double mean_burst) override;
    void set_mean_burst_ms(double burst_ms) override;
    pmt::pmt_t statistics() const override;

private:
    void on_packet(const pmt::pmt_t& msg);
    void on_system(const pmt::pmt_t& msg);
    void on_end(const pmt::pmt_t& msg);
    void give_credit(const pmt::pmt_t& msg);
    std::unique_ptr<::largesc::loss_model> losses(double p, double burst);
    void begin();
    void change(double p, double burst);
    bool changed(double p, double burst);

    const std::string d_model, d_trace;
    const ::largesc::impairments d_how;
    const uint64_t d_seed;
    double d_loss_probability, d_mean_burst;
    uint64_t d_changes = 0, d_refused = 0, d_refused_settings = 0;
    bool d_ended = false, d_ran = false;
    mutable gr::thread::mutex d_mutex;
    std::optional<::largesc::channel<pmt::pmt_t>> d_core;
};

} // namespace gr::largesc

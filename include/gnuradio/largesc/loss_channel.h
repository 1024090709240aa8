// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <gnuradio/block.h>
#include <gnuradio/largesc/api.h>

namespace gr::largesc {

/*!
 * \brief A packet channel: losses, jitter, reordering, duplicates, bit errors.
 *
 * Input and output `packets`: PDUs of bytes, metadata kept; `credit`: a dict with `frame_index` and
 * `frames` for each dropped packet; `status`: counters. Anything else is counted as refused.
 *
 * Time is packet time: packet n leaves at n packet_ms, and a late packet comes out when the first
 * one leaves that is not earlier than its arrival. The PDU that ends a stream is never lost: what
 * is still on its way goes out before it.
 */
class LARGESC_API loss_channel : virtual public gr::block
{
public:
    using sptr = std::shared_ptr<loss_channel>;

    /*!
     * \param model `bernoulli`, `gilbert_elliott` or `trace`
     * \param loss_probability mean share of lost packets, 0 to 1
     * \param mean_burst mean length of a run of losses in packets, for `gilbert_elliott`
     * \param trace file of flags 0 and 1, one every 20 ms, for `trace`
     * \param packet_ms time between packets
     * \param jitter_ms a packet is late by up to this
     * \param reorder_probability share of packets that are late by one to three packets
     * \param duplicate_probability share of packets that arrive twice
     * \param bit_error_rate share of inverted bits
     * \param seed of all that is random
     */
    static sptr make(const std::string& model = "bernoulli",
                     double loss_probability = 0.0,
                     double mean_burst = 1.0,
                     const std::string& trace = "",
                     double packet_ms = 80.0,
                     double jitter_ms = 0.0,
                     double reorder_probability = 0.0,
                     double duplicate_probability = 0.0,
                     double bit_error_rate = 0.0,
                     uint64_t seed = 1);

    /// Neither setter does anything to a trace. In `gilbert_elliott` a loss p needs bursts of at
    /// least p / (1 - p) packets: the constructor refuses shorter ones, a setter prolongs them.
    /// A value that is out of range is counted (`refused_settings`), and the old one stays.
    virtual void set_loss_probability(double loss_probability) = 0;
    virtual void set_mean_burst(double mean_burst) = 0;
    /// The same as a time: mean_burst = burst_ms / packet_ms, at least one packet.
    virtual void set_mean_burst_ms(double burst_ms) = 0;
    /// Counters by name, and `loss_probability` and `mean_burst_packets` as measured so far.
    virtual pmt::pmt_t statistics() const = 0;
};

} // namespace gr::largesc

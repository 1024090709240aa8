// SPDX-License-Identifier: GPL-3.0-or-later
#include "loss_channel_impl.h"

#include "messages.h"

#include <gnuradio/io_signature.h>

#include <algorithm>

namespace gr::largesc {

namespace {

const pmt::pmt_t PACKETS = pmt::mp("packets");
const pmt::pmt_t CREDIT = pmt::mp("credit");
const pmt::pmt_t STATUS = pmt::mp("status");
constexpr int STATUS_PACKETS = 12;
constexpr double TRACE_MS = 20.0;
constexpr double MAX_BURSTY_LOSS = 0.99;

/// Messages are shared between blocks: a hit packet is a copy.
void invert_bit(pmt::pmt_t& pdu, std::size_t bit)
{
    std::vector<uint8_t> bytes = pmt::u8vector_elements(pmt::cdr(pdu));
    bytes[bit / 8] ^= 0x80 >> (bit % 8);
    pdu = pmt::cons(pmt::car(pdu), pmt::init_u8vector(bytes.size(), bytes));
}

} // namespace

loss_channel::sptr loss_channel::make(const std::string& model,
                                      double loss_probability,
                                      double mean_burst,
                                      const std::string& trace,
                                      double packet_ms,
                                      double jitter_ms,
                                      double reorder_probability,
                                      double duplicate_probability,
                                      double bit_error_rate,
                                      uint64_t seed)
{
    const ::largesc::impairments how{
        packet_ms, jitter_ms, reorder_probability, duplicate_probability, bit_error_rate
    };
    return gnuradio::make_block_sptr<loss_channel_impl>(
        model, loss_probability, mean_burst, trace, how, seed);
}

loss_channel_impl::loss_channel_impl(const std::string& model,
                                     double loss_probability,
                                     double mean_burst,
                                     const std::string& trace,
                                     const ::largesc::impairments& how,
                                     uint64_t seed)
    : gr::block("loss_channel", gr::io_signature::make(0, 0, 0), gr::io_signature::make(0, 0, 0)),
      d_model(model),
      d_trace(trace),
      d_how(how),
      d_seed(seed),
      d_loss_probability(loss_probability),
      d_mean_burst(mean_burst)
{
    begin();
    message_port_register_in(PACKETS);
    message_port_register_out(PACKETS);
    message_port_register_out(CREDIT);
    message_port_register_out(STATUS);
    set_msg_handler(PACKETS, [this](const pmt::pmt_t& msg) { on_packet(msg); });
    set_msg_handler(pmt::mp("system"), [this](const pmt::pmt_t& msg) { on_system(msg); });
}

/// A channel as at first, with the losses as they were set last.
void loss_channel_impl::begin()
{
    d_changes = d_refused = d_refused_settings = 0;
    d_ended = false;
    d_core.emplace(losses(d_loss_probability, d_mean_burst), d_how, d_seed + 0x9E3779B97F4A7C15u);
}

bool loss_channel_impl::start()
{
    if (d_ran) {
        drop_waiting(*this);
        gr::thread::scoped_lock lock(d_mutex);
        begin();
    }
    d_ran = true;
    return block::start();
}

std::unique_ptr<::largesc::loss_model> loss_channel_impl::losses(double p, double burst)
{
    // A change of the sliders must not repeat the same draws.
    return ::largesc::make_loss_model(
        d_model, p, burst, d_trace, d_how.packet_ms, TRACE_MS, d_seed + d_changes++);
}

void loss_channel_impl::change(double p, double burst)
{
    if (d_model == "trace")
        return;
    if (d_model == "gilbert_elliott" && burst >= 1.0 && p > burst / (burst + 1.0) && p <= 1.0) {
        // Two sliders pass through pairs that no chain has, and must not end the flowgraph.
        p = std::min(p, MAX_BURSTY_LOSS);
        burst = p / (1.0 - p);
        d_logger->warn("loss_probability {} needs bursts of {} packets: set", p, burst);
    }
    d_core->set_losses(losses(p, burst));
}

bool loss_channel_impl::changed(double p, double burst)
{
    // A number typed into a field of a running flowgraph must not end the program.
    try {
        change(p, burst);
        return true;
    } catch (const std::invalid_argument& error) {
        if (d_refused_settings++ == 0)
            d_logger->warn("{}; the old value stays", error.what());
        return false;
    }
}

void loss_channel_impl::set_loss_probability(double loss_probability)
{
    gr::thread::scoped_lock lock(d_mutex);
    if (changed(loss_probability, d_mean_burst))
        d_loss_probability = loss_probability;
}

void loss_channel_impl::set_mean_burst(double mean_burst)
{
    gr::thread::scoped_lock lock(d_mutex);
    if (changed(d_loss_probability, mean_burst))
        d_mean_burst = mean_burst;
}

void loss_channel_impl::set_mean_burst_ms(double burst_ms)
{
    // A burst shorter than a packet is one packet; a negative one or none at all is refused there.
    const double packets = burst_ms / d_how.packet_ms;
    set_mean_burst(burst_ms >= 0.0 ? std::max(1.0, packets) : packets);
}

void loss_channel_impl::on_system(const pmt::pmt_t& msg)
{
    if (pmt::is_pair(msg) && pmt::eqv(pmt::car(msg), pmt::mp("done")) && !d_ended)
        _post(PACKETS, end_of_stream(-1, pmt::make_u8vector(0, 0)));
}

void loss_channel_impl::on_packet(const pmt::pmt_t& msg)
{
    if (d_ended)
        return;
    if (is_end_of_stream(msg)) {
        on_end(msg);
        return;
    }
    if (!pmt::is_pdu(msg) || !pmt::is_u8vector(pmt::cdr(msg))) {
        gr::thread::scoped_lock lock(d_mutex);
        if (d_refused++ == 0)
            d_logger->warn("refused a message on 'packets': expected a PDU of bytes (u8)");
        lock.unlock();
        give_credit(msg);
        return;
    }
    std::vector<pmt::pmt_t> arrived;
    ::largesc::fate fate;
    bool report = false;
    {
        gr::thread::scoped_lock lock(d_mutex);
        fate = d_core->send(msg, 8 * pmt::length(pmt::cdr(msg)), invert_bit);
        pmt::pmt_t item;
        while (d_core->receive(item))
            arrived.push_back(item);
        report = d_core->counters().sent % STATUS_PACKETS == 0;
    }
    for (const auto& item : arrived)
        message_port_pub(PACKETS, item);
    // What is held comes out when others are sent, which must not wait for it.
    if (fate != ::largesc::fate::arrived)
        give_credit(msg);
    if (report)
        message_port_pub(STATUS, statistics());
}

void loss_channel_impl::give_credit(const pmt::pmt_t& msg)
{
    if (const pmt::pmt_t given = credit_of(msg); !pmt::is_null(given))
        message_port_pub(CREDIT, given);
}

void loss_channel_impl::on_end(const pmt::pmt_t& msg)
{
    d_ended = true;
    std::vector<pmt::pmt_t> arrived;
    {
        gr::thread::scoped_lock lock(d_mutex);
        pmt::pmt_t item;
        while (d_core->receive(item, true))
            arrived.push_back(item);
    }
    for (const auto& item : arrived)
        message_port_pub(PACKETS, item);
    message_port_pub(PACKETS, msg);
    message_port_pub(STATUS, statistics());
    system_handler(done_message());
}

pmt::pmt_t loss_channel_impl::statistics() const
{
    gr::thread::scoped_lock lock(d_mutex);
    const auto& c = d_core->counters();
    facts out;
    c.for_each(out);
    out("refused", d_refused);
    out("refused_settings", d_refused_settings);
    out(keys::loss_probability, c.loss_probability());
    out(keys::mean_burst_packets, c.mean_burst());
    return out.dict();
}

} // namespace gr::largesc

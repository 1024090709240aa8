// SPDX-License-Identifier: GPL-3.0-or-later
#include "uep_depacketizer_impl.h"

#include "messages.h"

#include <gnuradio/io_signature.h>

#include <chrono>

namespace gr::largesc {

namespace {

const pmt::pmt_t IN = pmt::mp("packets");
const pmt::pmt_t PULL = pmt::mp("pull");
const pmt::pmt_t OUT = pmt::mp("tokens");
const pmt::pmt_t REPORT = pmt::mp("report");
const pmt::pmt_t CREDIT = pmt::mp("credit");
const pmt::pmt_t STATUS = pmt::mp("status");
/// Counters go out once a second of speech or so.
constexpr int STATUS_FRAMES = 12;

int64_t now_ns()
{
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

std::vector<pmt::pmt_t> small_integers()
{
    std::vector<pmt::pmt_t> out;
    for (int n = 0; n <= ::largesc::TOKENS_PER_FRAME; ++n)
        out.push_back(pmt::from_long(n));
    return out;
}

bool live_from_string(const std::string& mode)
{
    if (mode != "live" && mode != "offline")
        throw std::invalid_argument("mode '" + mode + "' is unknown: use 'live' or 'offline'");
    return mode == "live";
}

pmt::pmt_t to_pmt(const ::largesc::tokens_t& tokens)
{
    return pmt::init_u16vector(tokens.size(), tokens.data());
}

} // namespace

uep_depacketizer::sptr uep_depacketizer::make(int frames_per_packet,
                                              const std::string& layout,
                                              bool crc,
                                              const std::string& mode,
                                              int deadline_ms,
                                              int hold_packets,
                                              int report_interval_packets,
                                              bool end_with_sender,
                                              int max_deadline_ms)
{
    const ::largesc::depacketizer_config config{ frames_per_packet,
                                                 ::largesc::layout_from_string(layout),
                                                 live_from_string(mode),
                                                 deadline_ms,
                                                 hold_packets,
                                                 max_deadline_ms,
                                                 crc };
    return gnuradio::make_block_sptr<uep_depacketizer_impl>(
        config, report_interval_packets, end_with_sender);
}

uep_depacketizer_impl::uep_depacketizer_impl(const ::largesc::depacketizer_config& config,
                                             int report_interval_packets,
                                             bool end_with_sender)
    : gr::block(
          "uep_depacketizer", gr::io_signature::make(0, 0, 0), gr::io_signature::make(0, 0, 0)),
      d_config(config),
      d_core(std::in_place, config),
      d_report_interval(report_interval_packets),
      d_end_with_sender(end_with_sender)
{
    if (report_interval_packets < 1)
        throw std::invalid_argument("report_interval_packets " +
                                    std::to_string(report_interval_packets) +
                                    " is out of range: use 1 or more");
    const int whole_ms = ::largesc::PARITY_WINDOW * ::largesc::FRAME_MS * config.frames_per_packet;
    if (config.kind == ::largesc::layout::parity && config.live && config.deadline_ms < whole_ms)
        d_logger->warn(
            "deadline_ms {} ends the wait for parity, which comes for {} ms: what is lost "
            "comes back less often",
            config.deadline_ms,
            whole_ms);
    message_port_register_in(IN);
    message_port_register_in(PULL);
    message_port_register_out(OUT);
    message_port_register_out(REPORT);
    message_port_register_out(CREDIT);
    message_port_register_out(STATUS);
    set_msg_handler(IN, [this](const pmt::pmt_t& msg) { on_packet(msg); });
    set_msg_handler(PULL, [this](const pmt::pmt_t&) { on_pull(); });
    set_msg_handler(pmt::mp("system"), [this](const pmt::pmt_t& msg) { on_system(msg); });
}

bool uep_depacketizer_impl::start()
{
    if (d_ran) {
        drop_waiting(*this);
        gr::thread::scoped_lock lock(d_mutex);
        d_core.emplace(d_config);
        d_ended = d_pulled = d_ending = false;
        d_reported = d_status_frames = d_refused_messages = 0;
        d_said.clear();
    }
    d_ran = true;
    return block::start();
}

void uep_depacketizer_impl::on_system(const pmt::pmt_t& msg)
{
    if (pmt::is_pair(msg) && pmt::eqv(pmt::car(msg), pmt::mp("done")) && !d_ended)
        _post(IN, end_of_stream(-1, pmt::make_u8vector(0, 0)));
}

void uep_depacketizer_impl::on_packet(const pmt::pmt_t& msg)
{
    if (d_ended)
        return;
    if (!pmt::is_pdu(msg) || !pmt::is_u8vector(pmt::cdr(msg))) {
        gr::thread::scoped_lock lock(d_mutex);
        if (d_refused_messages++ == 0)
            d_logger->warn("refused a message on 'packets': expected a PDU of bytes (u8)");
        lock.unlock();
        give_credit(msg);
        return;
    }
    if (!take(pmt::u8vector_elements(pmt::cdr(msg))))
        give_credit(msg);
    publish_ready();
    if (is_end_of_stream(msg))
        on_end(get_long(pmt::car(msg), pmt::mp(keys::frame_index), -1));
    else
        end_if_sender_has();
}

void uep_depacketizer_impl::end_if_sender_has()
{
    if ((d_end_with_sender || d_ending) && d_core->ended())
        finish(-1);
}

/// False for what is no packet of this link.
bool uep_depacketizer_impl::take(const std::vector<uint8_t>& data)
{
    // The end of a stream may come without a packet.
    if (data.empty())
        return true;
    gr::thread::scoped_lock lock(d_mutex);
    const bool taken = d_core->push(data.data(), data.size(), now_ns());
    lock.unlock();
    say_why_refused();
    return taken;
}

void uep_depacketizer_impl::give_credit(const pmt::pmt_t& msg)
{
    if (const pmt::pmt_t given = credit_of(msg); !pmt::is_null(given))
        message_port_pub(CREDIT, given);
}

/// Says once what both ends should change.
void uep_depacketizer_impl::say_why_refused()
{
    const std::string& reason = d_core->refusal_reason();
    if (!reason.empty() && d_said.insert(reason).second)
        d_logger->warn("{}", reason);
}

void uep_depacketizer_impl::publish_ready()
{
    while (true) {
        std::optional<::largesc::received_frame> frame;
        {
            gr::thread::scoped_lock lock(d_mutex);
            frame = d_core->pop();
        }
        if (!frame)
            break;
        publish(*frame);
    }
    publish_reports();
}

void uep_depacketizer_impl::publish_reports()
{
    uint64_t packets = 0, released = 0;
    pmt::pmt_t report;
    {
        gr::thread::scoped_lock lock(d_mutex);
        const auto& c = d_core->counters();
        released = c.frames_released;
        // In silence, too: who hears nothing of a receiver takes it for gone.
        packets = released / d_config.frames_per_packet;
        if (packets >= d_reported + d_report_interval)
            report = make_report();
    }
    if (report) {
        d_reported = packets;
        message_port_pub(REPORT, report);
    }
    if (released >= d_status_frames + STATUS_FRAMES) {
        d_status_frames = released;
        message_port_pub(STATUS, statistics());
    }
}

/// The state of the channel; the caller holds the mutex.
pmt::pmt_t uep_depacketizer_impl::make_report() const
{
    static const pmt::pmt_t k_loss = pmt::mp(keys::loss_probability),
                            k_burst = pmt::mp(keys::mean_burst_packets),
                            k_received = pmt::mp(keys::packets_received),
                            k_lost = pmt::mp(keys::packets_lost),
                            k_buffered = pmt::mp(keys::buffered_frames);
    const auto& c = d_core->counters();
    const auto& losses = d_core->losses();
    pmt::pmt_t report = pmt::make_dict();
    report = pmt::acons(k_buffered, pmt::from_long(d_core->buffered_frames()), report);
    report = pmt::acons(k_lost, pmt::from_uint64(c.packets_lost), report);
    report = pmt::acons(k_received, pmt::from_uint64(c.packets_received), report);
    report = pmt::acons(k_burst, pmt::from_double(losses.mean_burst()), report);
    return pmt::acons(k_loss, pmt::from_double(losses.loss_probability()), report);
}

void uep_depacketizer_impl::on_pull()
{
    if (d_ended || !d_config.live)
        return;
    d_pulled = true;
    std::optional<::largesc::received_frame> frame;
    {
        gr::thread::scoped_lock lock(d_mutex);
        frame = d_core->pull(now_ns());
    }
    if (frame)
        publish(*frame);
    publish_ready();
    end_if_sender_has();
}

void uep_depacketizer_impl::publish(const ::largesc::received_frame& frame)
{
    static const pmt::pmt_t k_index = pmt::mp(keys::frame_index),
                            k_received = pmt::mp(keys::received_tokens),
                            k_lost = pmt::mp(keys::lost), k_silence = pmt::mp(keys::silence),
                            k_repair = pmt::mp(keys::repair),
                            k_following = pmt::mp(keys::following_tokens),
                            k_sent = pmt::mp(keys::tokens_sent);
    static const std::vector<pmt::pmt_t> counts = small_integers();
    // Keys that differ need no search for an earlier value: acons is dict_add without it.
    pmt::pmt_t meta = pmt::make_dict();
    meta = pmt::acons(k_repair, frame.repair ? pmt::PMT_T : pmt::PMT_F, meta);
    meta = pmt::acons(k_silence, frame.silence ? pmt::PMT_T : pmt::PMT_F, meta);
    meta = pmt::acons(k_lost, frame.lost ? pmt::PMT_T : pmt::PMT_F, meta);
    meta = pmt::acons(k_received, counts[frame.received_tokens()], meta);
    if (frame.sent >= 0)
        meta = pmt::acons(k_sent, counts[frame.sent], meta);
    if (::largesc::any_known(frame.following))
        meta = pmt::acons(k_following, to_pmt(frame.following), meta);
    meta = pmt::acons(k_index, pmt::from_long(frame.index), meta);
    message_port_pub(OUT, pmt::cons(meta, to_pmt(frame.tokens)));
}

/// No packet follows. Live, whoever pulls plays what waits; where nobody does, it goes out at once.
void uep_depacketizer_impl::on_end(int64_t total_frames)
{
    if (!d_config.live || !d_pulled) {
        finish(total_frames);
        return;
    }
    d_ending = true;
    {
        gr::thread::scoped_lock lock(d_mutex);
        d_core->expect_end();
    }
    end_if_sender_has();
}

void uep_depacketizer_impl::finish(int64_t total_frames)
{
    d_ended = true;
    uint64_t frames = 0;
    {
        gr::thread::scoped_lock lock(d_mutex);
        d_core->flush(total_frames);
        frames = d_core->counters().frames_released;
    }
    say_why_refused();
    publish_ready();
    message_port_pub(STATUS, statistics());
    message_port_pub(OUT, end_of_stream(frames, pmt::make_u16vector(0, 0)));
    system_handler(done_message());
}

pmt::pmt_t uep_depacketizer_impl::statistics() const
{
    gr::thread::scoped_lock lock(d_mutex);
    facts out;
    d_core->counters().for_each(out);
    out("refused_messages", d_refused_messages);
    out("playout_delay_ms", static_cast<uint64_t>(d_core->playout_delay_ns() / 1'000'000));
    out("refusal_reason", d_core->refusal_reason());
    return out.dict();
}

} // namespace gr::largesc

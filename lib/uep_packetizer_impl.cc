// SPDX-License-Identifier: GPL-3.0-or-later
#include "uep_packetizer_impl.h"

#include "messages.h"

#include <gnuradio/io_signature.h>

#include <algorithm>

namespace gr::largesc {

namespace {

const pmt::pmt_t IN = pmt::mp("tokens");
const pmt::pmt_t OUT = pmt::mp("packets");
const pmt::pmt_t CREDIT = pmt::mp("credit");
const pmt::pmt_t STATUS = pmt::mp("status");
const pmt::pmt_t SYSTEM = pmt::mp("system");
/// Counters go out once a second of speech or so.
constexpr int STATUS_FRAMES = 12;

/// The core cuts further; this keeps a long from turning into another number.
int clamped(const pmt::pmt_t& value)
{
    return static_cast<int>(std::clamp(pmt::to_long(value), -1L, 99L));
}

pmt::pmt_t to_pmt(const std::vector<uint8_t>& bytes)
{
    return pmt::init_u8vector(bytes.size(), bytes);
}

} // namespace

uep_packetizer::sptr
uep_packetizer::make(int frames_per_packet, const std::string& layout, bool crc)
{
    return gnuradio::make_block_sptr<uep_packetizer_impl>(frames_per_packet, layout, crc);
}

uep_packetizer_impl::uep_packetizer_impl(int frames_per_packet, const std::string& layout, bool crc)
    : gr::block("uep_packetizer", gr::io_signature::make(0, 0, 0), gr::io_signature::make(0, 0, 0)),
      d_frames_per_packet(frames_per_packet),
      d_layout(::largesc::layout_from_string(layout)),
      d_crc(crc),
      d_core(std::in_place, frames_per_packet, d_layout, crc)
{
    message_port_register_in(IN);
    message_port_register_out(OUT);
    message_port_register_out(CREDIT);
    message_port_register_out(STATUS);
    set_msg_handler(IN, [this](const pmt::pmt_t& msg) { on_tokens(msg); });
    set_msg_handler(SYSTEM, [this](const pmt::pmt_t& msg) { on_system(msg); });
}

bool uep_packetizer_impl::start()
{
    if (d_ran) {
        drop_waiting(*this);
        gr::thread::scoped_lock lock(d_mutex);
        d_core.emplace(d_frames_per_packet, d_layout, d_crc);
        d_refused = 0;
        d_ended = false;
    }
    d_ran = true;
    return block::start();
}

void uep_packetizer_impl::on_system(const pmt::pmt_t& msg)
{
    // Behind the frames that still wait, so that none is lost.
    if (pmt::is_pair(msg) && pmt::eqv(pmt::car(msg), pmt::mp("done")) && !d_ended)
        _post(IN, end_of_stream(-1, pmt::make_u16vector(0, 0)));
}

bool uep_packetizer_impl::read(const pmt::pmt_t& msg,
                               ::largesc::tokens_t& tokens,
                               ::largesc::decision& how)
{
    static const pmt::pmt_t k_sent = pmt::mp(keys::tokens_sent),
                            k_repeated = pmt::mp(keys::tokens_repeated),
                            k_distance = pmt::mp(keys::copy_distance),
                            k_protected = pmt::mp(keys::tokens_protected),
                            k_comfort = pmt::mp(keys::comfort), k_skip = pmt::mp(keys::skip);
    if (!pmt::is_pdu(msg) || !pmt::is_u16vector(pmt::cdr(msg)))
        return false;
    size_t length = 0;
    const uint16_t* data = pmt::u16vector_elements(pmt::cdr(msg), length);
    if (length != tokens.size())
        return false;
    std::copy(data, data + length, tokens.begin());
    const pmt::pmt_t meta = pmt::car(msg);
    if (!pmt::is_dict(meta))
        return true;
    // One pass over the list: a look-up a key is a pass a key.
    for (pmt::pmt_t rest = meta; pmt::is_pair(rest); rest = pmt::cdr(rest)) {
        const pmt::pmt_t item = pmt::car(rest);
        if (!pmt::is_pair(item))
            continue;
        const pmt::pmt_t key = pmt::car(item), value = pmt::cdr(item);
        if (key == k_comfort)
            how.comfort = value == pmt::PMT_T;
        else if (key == k_skip)
            how.skip = value == pmt::PMT_T;
        else if (key == k_sent && pmt::is_integer(value))
            how.tokens_sent = clamped(value);
        else if (key == k_repeated && pmt::is_integer(value))
            how.tokens_repeated = clamped(value);
        else if (key == k_distance && pmt::is_integer(value))
            how.copy_distance = clamped(value);
        else if (key == k_protected && pmt::is_integer(value))
            how.tokens_protected = clamped(value);
    }
    return true;
}

/// Counts what is no frame; true where it has the number of one all the same.
bool uep_packetizer_impl::refuse(const pmt::pmt_t& msg)
{
    gr::thread::scoped_lock lock(d_mutex);
    if (d_refused++ == 0)
        d_logger->warn("refused a message on 'tokens': expected a PDU of 8 tokens (u16)");
    return !pmt::is_null(credit_of(msg));
}

void uep_packetizer_impl::on_tokens(const pmt::pmt_t& msg)
{
    if (d_ended)
        return;
    if (is_end_of_stream(msg)) {
        on_end(msg);
        return;
    }
    ::largesc::tokens_t tokens;
    ::largesc::decision how;
    if (!read(msg, tokens, how)) {
        if (!refuse(msg))
            return;
        // It keeps its slot, so that the frames behind it keep their numbers.
        tokens = ::largesc::erased_frame();
        how = {};
    }
    bool report = false;
    ::largesc::push_result result;
    {
        gr::thread::scoped_lock lock(d_mutex);
        result = d_core->push(tokens, how);
        report = d_core->counters().frames % STATUS_FRAMES == 0;
    }
    publish(result);
    if (report)
        message_port_pub(STATUS, statistics());
}

void uep_packetizer_impl::publish(const ::largesc::push_result& result)
{
    static const pmt::pmt_t k_index = pmt::mp(keys::frame_index), k_frames = pmt::mp(keys::frames);
    for (const auto& packet : result.packets) {
        pmt::pmt_t meta = pmt::make_dict();
        meta = pmt::acons(k_frames, pmt::from_long(packet.frames), meta);
        meta = pmt::acons(k_index, pmt::from_long(packet.first_frame), meta);
        message_port_pub(OUT, pmt::cons(meta, to_pmt(packet.bytes)));
    }
    if (result.skipped_frames > 0)
        message_port_pub(CREDIT, credit(result.skipped_first, result.skipped_frames));
}

void uep_packetizer_impl::on_end(const pmt::pmt_t& msg)
{
    d_ended = true;
    ::largesc::push_result rest;
    ::largesc::packet end;
    int64_t frames = 0;
    {
        gr::thread::scoped_lock lock(d_mutex);
        rest = d_core->flush();
        end = d_core->end_packet();
        frames = d_core->counters().frames;
    }
    publish(rest);
    frames = get_long(pmt::car(msg), pmt::mp(keys::frame_index), frames);
    message_port_pub(OUT, end_of_stream(frames, to_pmt(end.bytes)));
    message_port_pub(STATUS, statistics());
    system_handler(done_message());
}

pmt::pmt_t uep_packetizer_impl::statistics() const
{
    gr::thread::scoped_lock lock(d_mutex);
    facts out;
    d_core->counters().for_each(out);
    out("refused", d_refused);
    return out.dict();
}

} // namespace gr::largesc

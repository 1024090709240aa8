// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <gnuradio/block.h>
#include <gnuradio/largesc/keys.h>
#include <pmt/pmt.h>

#include <string>
#include <utility>
#include <vector>

namespace gr::largesc {

inline pmt::pmt_t done_message()
{
    return pmt::cons(pmt::mp("done"), pmt::from_long(1));
}

/// A PDU without data that ends a stream; `frames` is -1 when nobody knows how many there were.
inline pmt::pmt_t end_of_stream(int64_t frames, const pmt::pmt_t& data)
{
    pmt::pmt_t meta = pmt::make_dict();
    meta = pmt::dict_add(meta, pmt::mp(keys::end_of_stream), pmt::PMT_T);
    if (frames >= 0)
        meta = pmt::dict_add(meta, pmt::mp(keys::frame_index), pmt::from_long(frames));
    return pmt::cons(meta, data);
}

/// Value of an integer key, or `otherwise` when it is missing or no integer.
inline int64_t get_long(const pmt::pmt_t& meta, const pmt::pmt_t& key, int64_t otherwise)
{
    const pmt::pmt_t value = pmt::dict_ref(meta, key, pmt::PMT_NIL);
    return pmt::is_integer(value) ? pmt::to_long(value) : otherwise;
}

inline bool get_bool(const pmt::pmt_t& meta, const pmt::pmt_t& key)
{
    return pmt::is_true(pmt::dict_ref(meta, key, pmt::PMT_F)) &&
           pmt::is_bool(pmt::dict_ref(meta, key, pmt::PMT_F));
}

inline bool is_end_of_stream(const pmt::pmt_t& msg)
{
    static const pmt::pmt_t key = pmt::mp(keys::end_of_stream);
    return pmt::is_pdu(msg) && pmt::is_dict(pmt::car(msg)) && get_bool(pmt::car(msg), key);
}

inline pmt::pmt_t credit(uint64_t frame_index, int64_t frames)
{
    pmt::pmt_t meta = pmt::make_dict();
    meta = pmt::dict_add(meta, pmt::mp(keys::frame_index), pmt::from_long(frame_index));
    return pmt::dict_add(meta, pmt::mp(keys::frames), pmt::from_long(frames));
}

/// Credit for what a block refuses: it may carry the numbers of its frames.
inline pmt::pmt_t credit_of(const pmt::pmt_t& msg)
{
    static const pmt::pmt_t k_index = pmt::mp(keys::frame_index), k_frames = pmt::mp(keys::frames);
    if (!pmt::is_pair(msg) || !pmt::is_dict(pmt::car(msg)))
        return pmt::PMT_NIL;
    const int64_t index = get_long(pmt::car(msg), k_index, -1);
    return index < 0 ? pmt::PMT_NIL : credit(index, get_long(pmt::car(msg), k_frames, 1));
}

/// Drops what a run has left in front of a block. A first run takes what was posted before it.
inline void drop_waiting(gr::basic_block& block)
{
    const pmt::pmt_t ports = block.message_ports_in();
    for (std::size_t n = 0; n < pmt::length(ports); ++n)
        while (block.delete_head_nowait(pmt::vector_ref(ports, n))) {
        }
}

/// Counters and measured values, as a dict in the order in which they were added.
class facts
{
public:
    void operator()(const char* name, uint64_t value) { add(name, pmt::from_uint64(value)); }
    void operator()(const char* name, double value) { add(name, pmt::from_double(value)); }
    void operator()(const char* name, const std::string& value) { add(name, pmt::mp(value)); }

    pmt::pmt_t dict() const
    {
        // A PMT dict lists what was added last first.
        pmt::pmt_t out = pmt::make_dict();
        for (auto item = d_items.rbegin(); item != d_items.rend(); ++item)
            out = pmt::acons(item->first, item->second, out);
        return out;
    }

private:
    void add(const char* name, const pmt::pmt_t& value)
    {
        d_items.emplace_back(pmt::mp(name), value);
    }

    std::vector<std::pair<pmt::pmt_t, pmt::pmt_t>> d_items;
};

} // namespace gr::largesc

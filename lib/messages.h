// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <gnuradio/block.h>
#include <gnuradio/largesc/keys.h>
#include <pmt/pmt.h>

#include <initializer_list>
#include <utility>

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

/// Counters as a dict.
inline pmt::pmt_t counters(std::initializer_list<std::pair<const char*, uint64_t>> values)
{
    pmt::pmt_t dict = pmt::make_dict();
    for (const auto& [name, value] : values)
        dict = pmt::dict_add(dict, pmt::mp(name), pmt::from_uint64(value));
    return dict;
}

} // namespace gr::largesc

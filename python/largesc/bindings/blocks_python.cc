// SPDX-License-Identifier: GPL-3.0-or-later
// The C++ blocks for Python.
#include "at_stop.h"
#include "real_time.h"

#include <gnuradio/largesc/loss_channel.h>
#include <gnuradio/largesc/uep_depacketizer.h>
#include <gnuradio/largesc/uep_packetizer.h>

#include <gnuradio/block_detail.h>
#include <gnuradio/buffer_reader.h>
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;
using namespace gr::largesc;

namespace {

py::dict to_dict(const pmt::pmt_t& counters)
{
    py::dict out;
    for (pmt::pmt_t rest = pmt::dict_items(counters); pmt::is_pair(rest); rest = pmt::cdr(rest)) {
        const py::str name(pmt::symbol_to_string(pmt::caar(rest)));
        const pmt::pmt_t value = pmt::cdar(rest);
        if (pmt::is_symbol(value))
            out[name] = pmt::symbol_to_string(value);
        else if (pmt::is_real(value))
            out[name] = pmt::to_double(value);
        else
            out[name] = pmt::to_uint64(value);
    }
    return out;
}

template <typename Block>
auto bind(py::module_& m, const char* name, const char* doc, const char* statistics_doc)
{
    return py::class_<Block, gr::block, gr::basic_block, std::shared_ptr<Block>>(m, name, doc)
        .def(
            "statistics",
            [](const Block& self) { return to_dict(self.statistics()); },
            statistics_doc);
}

} // namespace

PYBIND11_MODULE(_blocks, m)
{
    m.doc() = "C++ blocks of gr-largesc.";
    // Registers gr::block, from which the blocks derive.
    py::module_::import("gnuradio.gr");

    bind<uep_packetizer>(
        m,
        "uep_packetizer",
        "Token frames to packets with unequal protection.\n\n"
        "Input: message port `tokens` (PDUs of 8 tokens with the controller's\n"
        "decision). Output: message ports `packets` (PDUs of bytes, see\n"
        "docs/packet-format.md), `credit` (dicts for frames in which nothing is\n"
        "sent), `status`.\n\n"
        "frames_per_packet: 1 to 4 frames of 80 ms.\n"
        "layout: 'sequential' (a frame and copies of an earlier one), 'pair' (two\n"
        "packets share the tokens of their frames) or 'parity' (a frame and sums\n"
        "of earlier ones).\n"
        "crc: a CRC-16 ends each packet; leave it out where the modem below has\n"
        "one, and where packets are signed.\n\n"
        "Raises ValueError that names the refused value and the remedy.",
        "Returns the counters by name, a dict of integers.")
        .def(py::init(&uep_packetizer::make),
             py::arg("frames_per_packet") = 1,
             py::arg("layout") = "sequential",
             py::arg("crc") = true);

    bind<loss_channel>(
        m,
        "loss_channel",
        "A packet channel: losses, jitter, reordering, duplicates, bit errors.\n\n"
        "Input and output `packets` (PDUs of bytes), outputs `credit` (dicts for dropped packets)\n"
        "and `status`. Time is packet time: packet n leaves at n * packet_ms, and a late packet\n"
        "comes out when the first one leaves that is not earlier than its arrival.\n\n"
        "model: 'bernoulli', 'gilbert_elliott' or 'trace'.\n"
        "loss_probability: mean share of lost packets, 0 to 1.\n"
        "mean_burst: mean length of a run of losses in packets, for 'gilbert_elliott'.\n"
        "trace: file of flags 0 and 1, one every 20 ms, repeated, for 'trace'.\n"
        "packet_ms: time between packets in ms.\n"
        "jitter_ms: a packet is late by 0 ms to this.\n"
        "reorder_probability: share of packets that are late by one to three packet times.\n"
        "duplicate_probability: share of packets that arrive twice.\n"
        "bit_error_rate: share of inverted bits, 0 to 1.\n"
        "seed: of all that is random.\n\n"
        "Raises ValueError that names the refused value and the remedy.",
        "Returns the counters by name, integers, and as measured so far `loss_probability`, 0 to\n"
        "1, and `mean_burst_packets`, a dict.")
        .def(py::init(&loss_channel::make),
             py::arg("model") = "bernoulli",
             py::arg("loss_probability") = 0.0,
             py::arg("mean_burst") = 1.0,
             py::arg("trace") = "",
             py::arg("packet_ms") = 80.0,
             py::arg("jitter_ms") = 0.0,
             py::arg("reorder_probability") = 0.0,
             py::arg("duplicate_probability") = 0.0,
             py::arg("bit_error_rate") = 0.0,
             py::arg("seed") = 1)
        .def("set_loss_probability",
             &loss_channel::set_loss_probability,
             py::arg("loss_probability"),
             "Sets the mean share of lost packets from now on; a trace stays as it is.\n\n"
             "loss_probability: 0 to 1; bursts too short for it are prolonged. A value out of\n"
             "range is counted as `refused_settings`, and the old one stays.")
        .def("set_mean_burst",
             &loss_channel::set_mean_burst,
             py::arg("mean_burst"),
             "Sets the mean length of a run of losses from now on, for 'gilbert_elliott'.\n\n"
             "mean_burst: in packets; at least p / (1 - p), which the loss p needs, is taken. A\n"
             "value out of range is counted as `refused_settings`, and the old one stays.")
        .def("set_mean_burst_ms",
             &loss_channel::set_mean_burst_ms,
             py::arg("burst_ms"),
             "Sets the mean length of a run of losses as a time.\n\n"
             "burst_ms: in ms; mean_burst is burst_ms / packet_ms, at least one packet.");

    bind<uep_depacketizer>(
        m,
        "uep_depacketizer",
        "Packets of any order and quality to token frames in playout order.\n\n"
        "Input: message ports `packets` (PDUs of bytes), `pull` (live: asks for\n"
        "the next frame). Output: message ports `tokens` (PDUs of 8 tokens,\n"
        "0xFFFF where one is missing, repairs marked), `report` (dicts of the\n"
        "channel's state), `credit` (dicts for packets that are refused), `status`.\n\n"
        "frames_per_packet, layout, crc: as at the sender.\n"
        "mode: 'offline' (nothing is late) or 'live' (one frame a pull).\n"
        "deadline_ms: live, so many ms later copies may come, 0 to 5000; the\n"
        "playout waits 20 ms longer.\n"
        "hold_packets: offline, packets to wait for copies and reordered packets,\n"
        "1 to 32.\n"
        "report_interval_packets: a report after so many packet times, 1 or more.\n"
        "end_with_sender: the stream ends with the sender's end packet.\n"
        "max_deadline_ms: live, as many ms as the wait may become where packets\n"
        "come late, deadline_ms to 5000; 0 for a fixed one of deadline_ms.\n\n"
        "Raises ValueError that names the refused value and the remedy.",
        "Returns the counters by name, integers, `playout_delay_ms`, and `refusal_reason`: in\n"
        "words why most packets are refused, empty while they are not; a dict.")
        .def(py::init(&uep_depacketizer::make),
             py::arg("frames_per_packet") = 1,
             py::arg("layout") = "sequential",
             py::arg("crc") = true,
             py::arg("mode") = "live",
             py::arg("deadline_ms") = 80,
             py::arg("hold_packets") = 10,
             py::arg("report_interval_packets") = 1,
             py::arg("end_with_sender") = false,
             py::arg("max_deadline_ms") = 0);

    py::class_<real_time, gr::sync_block, gr::block, gr::basic_block, std::shared_ptr<real_time>>(
        m,
        "real_time",
        "Lets 24 kHz through at its own pace, 20 ms at a time, as a sound card would.\n\n"
        "Input and output: float stream, 24 kHz. The in-tree throttle makes up for every stall by\n"
        "running fast afterwards, which empties a receiver's playout; this one loses the time\n"
        "of those above 60 ms.")
        .def(py::init(&real_time::make));

    py::class_<at_stop, gr::sync_block, gr::block, gr::basic_block, std::shared_ptr<at_stop>>(
        m,
        "at_stop",
        "Passes a stream of items on, and calls a function when a run of the flowgraph is over.\n\n"
        "item_size: bytes of an item.\n"
        "call: function without arguments; it, and the block whose method it is, live as long as\n"
        "this block.")
        .def(py::init(&at_stop::make), py::arg("item_size"), py::arg("call"));

    m.def(
        "input_done",
        [](gr::block_detail& detail, int which, int seen) {
            const auto& input = detail.input(which);
            // Read first: nothing comes behind it.
            const bool done = input->done();
            gr::thread::scoped_lock guard(*input->mutex());
            return done && input->items_available() <= seen;
        },
        py::arg("detail"),
        py::arg("which") = 0,
        py::arg("seen") = 0,
        "Returns True when the block upstream of a stream input has finished, and not more than\n"
        "`seen` items are left: some may have come since a call of work was prepared. GNU Radio's\n"
        "own bindings leave this out, and a sink needs it to flush its last samples in band.\n\n"
        "detail: of the block whose input it is.\n"
        "which: number of the input, from 0.\n"
        "seen: items that the call of work was given.");
}

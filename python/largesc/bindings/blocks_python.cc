// SPDX-License-Identifier: GPL-3.0-or-later
// The C++ blocks for Python.
#include <gnuradio/largesc/loss_channel.h>
#include <gnuradio/largesc/uep_depacketizer.h>
#include <gnuradio/largesc/uep_packetizer.h>

#include <gnuradio/block_detail.h>
#include <gnuradio/buffer_reader.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;
using namespace gr::largesc;

namespace {

py::dict to_dict(const pmt::pmt_t& counters)
{
    py::dict out;
    for (pmt::pmt_t rest = pmt::dict_items(counters); pmt::is_pair(rest); rest = pmt::cdr(rest))
        out[py::str(pmt::symbol_to_string(pmt::caar(rest)))] =
            pmt::to_uint64(pmt::cdar(rest));
    return out;
}

template <typename Block>
auto bind(py::module_& m, const char* name, const char* doc)
{
    return py::class_<Block, gr::block, gr::basic_block, std::shared_ptr<Block>>(m, name, doc)
        .def("statistics",
             [](const Block& self) { return to_dict(self.statistics()); },
             "Counters by name, a dict of integers.");
}

} // namespace

PYBIND11_MODULE(_blocks, m)
{
    m.doc() = "C++ blocks of gr-largesc.";
    // Registers gr::block, from which the blocks derive.
    py::module_::import("gnuradio.gr");

    bind<uep_packetizer>(m,
                         "uep_packetizer",
                         "Token frames to packets with unequal protection.\n\n"
                         "Input `tokens`, outputs `packets`, `credit`, `status`.")
        .def(py::init(&uep_packetizer::make),
             py::arg("frames_per_packet") = 1,
             py::arg("layout") = "sequential",
             py::arg("crc") = true);

    bind<loss_channel>(m,
                       "loss_channel",
                       "A packet channel: losses, jitter, reordering, duplicates, bit errors.\n\n"
                       "Input and output `packets`, outputs `credit`, `status`.")
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
             py::arg("loss_probability"))
        .def("set_mean_burst", &loss_channel::set_mean_burst, py::arg("mean_burst"))
        .def("set_mean_burst_ms", &loss_channel::set_mean_burst_ms, py::arg("burst_ms"));

    bind<uep_depacketizer>(m,
                           "uep_depacketizer",
                           "Packets of any order and quality to token frames in playout order.\n\n"
                           "Inputs `packets`, `pull`, outputs `tokens`, `report`, `status`.")
        .def(py::init(&uep_depacketizer::make),
             py::arg("frames_per_packet") = 1,
             py::arg("layout") = "sequential",
             py::arg("crc") = true,
             py::arg("mode") = "offline",
             py::arg("deadline_ms") = 80,
             py::arg("hold_packets") = 10,
             py::arg("report_interval_packets") = 5,
             py::arg("end_with_sender") = false);

    m.def(
        "input_done",
        [](gr::block_detail& detail, int which) { return detail.input(which)->done(); },
        py::arg("detail"),
        py::arg("which") = 0,
        "True when the block upstream of a stream input has finished. GNU Radio's own bindings\n"
        "leave this out, and a sink needs it to flush its last samples in band.");
}

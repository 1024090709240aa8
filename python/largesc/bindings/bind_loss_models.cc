// SPDX-License-Identifier: GPL-3.0-or-later
#include "loss_model.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;
using namespace largesc;

void bind_loss_models(py::module_& m)
{
    py::class_<loss_model>(m, "LossModel", "Decides packet by packet what a channel drops.")
        .def(py::init([](const std::string& model,
                         double p,
                         double burst,
                         const std::string& trace,
                         double packet_ms,
                         double trace_ms,
                         std::uint64_t seed) {
                 return make_loss_model(model, p, burst, trace, packet_ms, trace_ms, seed);
             }),
             py::arg("model") = "bernoulli",
             py::arg("loss_probability") = 0.0,
             py::arg("mean_burst") = 1.0,
             py::arg("trace") = "",
             py::arg("packet_ms") = 80.0,
             py::arg("trace_ms") = 20.0,
             py::arg("seed") = 1,
             "model: 'bernoulli', 'gilbert_elliott' or 'trace'.\n"
             "loss_probability: mean share of lost packets, 0 to 1.\n"
             "mean_burst: mean length of a run of losses in packets, for 'gilbert_elliott'.\n"
             "trace: file of flags 0 and 1 (lost), repeated, for 'trace'.\n"
             "packet_ms: time between packets in ms, for 'trace'.\n"
             "trace_ms: time between flags in ms, for 'trace'.\n"
             "seed: of what is random.\n\n"
             "Raises ValueError that names the refused value.")
        .def("lost", &loss_model::lost, "Returns True when the next packet is lost.")
        .def(
            "draw",
            [](loss_model& self, std::size_t count) {
                py::array_t<bool> out(count);
                bool* at = out.mutable_data();
                for (std::size_t n = 0; n < count; ++n)
                    at[n] = self.lost();
                return out;
            },
            py::arg("count"),
            "Returns the fates of the next packets, bool [count], True for lost.\n\n"
            "count: of the packets.");
}

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
             py::arg("seed") = 1)
        .def("lost", &loss_model::lost, "Fate of the next packet.")
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
            "Fates of the next packets, bool [count].");
}

// SPDX-License-Identifier: GPL-3.0-or-later
#include "allocation.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;
using namespace largesc;

void bind_allocation(py::module_& m)
{
    m.attr("BUDGET_WINDOW_FRAMES") = BUDGET_WINDOW_FRAMES;
    py::class_<budget_window>(
        m, "BudgetWindow", "Keeps 11 bit a token within budget_bps over any 25 frames.")
        .def(py::init<double>(), py::arg("budget_bps"))
        .def("allowance", &budget_window::allowance, "Tokens that this frame may use, 0 to 16.")
        .def("commit", &budget_window::commit, py::arg("tokens"), "Books what the frame uses.");
    m.def("split_table",
          &split_table,
          py::arg("allowed"),
          py::arg("loss_probability"),
          py::arg("silent"),
          "(tokens sent, tokens repeated) after a table over the loss probability.");
    m.def("split_fixed",
          &split_fixed,
          py::arg("allowed"),
          py::arg("sent"),
          py::arg("repeated"),
          "(tokens sent, tokens repeated), as asked for and cut to what is allowed.");
    m.def("split_learned",
          &split_learned,
          py::arg("allowed"),
          py::arg("importance_s"),
          py::arg("importance_c"),
          "(tokens sent, tokens repeated) for the largest L that is allowed.");
    m.def(
        "split_exact",
        [](int allowed,
           const prefix_distortion& distortion,
           double loss_probability,
           double mean_burst,
           int distance,
           double price) {
            const auto [tokens, expected] =
                split_exact(allowed, distortion, { loss_probability, mean_burst }, distance, price);
            return py::make_tuple(tokens.first, tokens.second, expected);
        },
        py::arg("allowed"),
        py::arg("distortion"),
        py::arg("loss_probability"),
        py::arg("mean_burst"),
        py::arg("distance"),
        py::arg("price") = 0.0,
        "(tokens sent, tokens repeated, expected distortion) of least expected distortion plus "
        "price a token; distortion has 9 values, of 0 to 8 tokens played.");
    m.def(
        "best_distance",
        [](double loss_probability, double mean_burst, int max_distance) {
            return best_distance({ loss_probability, mean_burst }, max_distance);
        },
        py::arg("loss_probability"),
        py::arg("mean_burst"),
        py::arg("max_distance"),
        "Shortest distance of copies at which both are lost hardly more often than at the best.");
    m.def(
        "both_lost",
        [](double loss_probability, double mean_burst, int distance) {
            return both_lost({ loss_probability, mean_burst }, distance);
        },
        py::arg("loss_probability"),
        py::arg("mean_burst"),
        py::arg("distance"),
        "Chance that two packets a distance apart are both lost on a Gilbert-Elliott channel.");
    m.def("copy_distance",
          &copy_distance,
          py::arg("deadline_ms"),
          py::arg("frames_per_packet") = 1,
          "Largest distance in packets whose copies arrive before the deadline, at least 1.");
}

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
    m.def("copy_distance",
          &copy_distance,
          py::arg("deadline_ms"),
          py::arg("frames_per_packet") = 1,
          "Largest distance in packets whose copies arrive before the deadline, at least 1.");
}

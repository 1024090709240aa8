// SPDX-License-Identifier: GPL-3.0-or-later
#include "allocation.h"
#include "parity_allocation.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;
using namespace largesc;

void bind_allocation(py::module_& m)
{
    m.attr("BUDGET_WINDOW_FRAMES") = BUDGET_WINDOW_FRAMES;
    py::class_<budget_window>(
        m, "BudgetWindow", "Keeps 11 bit a token within budget_bps over any 25 frames.")
        .def(py::init<double>(),
             py::arg("budget_bps"),
             "budget_bps: bit/s of tokens and copies, 137.5 (one token a frame) to 2200 (16).\n\n"
             "Raises ValueError that names the refused value.")
        .def("allowance",
             &budget_window::allowance,
             "Returns how many tokens this frame may use, 1 to 16.")
        .def("commit",
             &budget_window::commit,
             py::arg("tokens"),
             "Books what the frame uses.\n\n"
             "tokens: sent and repeated together, 0 to allowance(); more raises ValueError.");
    m.def("split_table",
          &split_table,
          py::arg("allowed"),
          py::arg("loss_probability"),
          py::arg("silent"),
          "Returns (tokens sent, tokens repeated) after a table over the loss probability.\n\n"
          "allowed: tokens that the frame may use, 0 to 16.\n"
          "loss_probability: share of lost packets, 0 to 1.\n"
          "silent: the frame is silence, which gets 2 tokens and no copies.");
    m.def("split_fixed",
          &split_fixed,
          py::arg("allowed"),
          py::arg("sent"),
          py::arg("repeated"),
          "Returns (tokens sent, tokens repeated) as asked for, cut to what is allowed.\n\n"
          "allowed: tokens that the frame may use, 0 to 16; copies are cut first.\n"
          "sent: tokens to send, 0 to 8.\n"
          "repeated: tokens to repeat, 0 to `sent`.");
    m.def("split_learned",
          &split_learned,
          py::arg("allowed"),
          py::arg("importance_s"),
          py::arg("importance_c"),
          "Returns (tokens sent, tokens repeated) of the largest level L that is allowed: L\n"
          "times each importance, in whole tokens.\n\n"
          "allowed: tokens that the frame may use, 0 to 16.\n"
          "importance_s: of what is sent, 0 to 1, as the network tells it.\n"
          "importance_c: of the copies, 0 to 1.");
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
        "Returns (tokens sent, tokens repeated, expected distortion) of the split with the least\n"
        "expected distortion plus price a token.\n\n"
        "allowed: tokens that the frame may use, 0 to 16.\n"
        "distortion: 9 values, when 0 to 8 tokens are played, in any unit.\n"
        "loss_probability: share of lost packets, 0 to 1.\n"
        "mean_burst: mean length of a run of losses in packets.\n"
        "distance: packets between a frame and its copies.\n"
        "price: of a token, in the unit of `distortion`.");
    m.def(
        "best_distance",
        [](double loss_probability, double mean_burst, int max_distance) {
            return best_distance({ loss_probability, mean_burst }, max_distance);
        },
        py::arg("loss_probability"),
        py::arg("mean_burst"),
        py::arg("max_distance"),
        "Returns the shortest distance of copies, in packets, at which both are lost at most a\n"
        "tenth more often than at the longest.\n\n"
        "loss_probability: share of lost packets, 0 to 1.\n"
        "mean_burst: mean length of a run of losses in packets.\n"
        "max_distance: in packets, as of copy_distance().");
    m.def(
        "both_lost",
        [](double loss_probability, double mean_burst, int distance) {
            return both_lost({ loss_probability, mean_burst }, distance);
        },
        py::arg("loss_probability"),
        py::arg("mean_burst"),
        py::arg("distance"),
        "Returns the chance, 0 to 1, that a Gilbert-Elliott channel loses both of two packets.\n\n"
        "loss_probability: share of lost packets, 0 to 1.\n"
        "mean_burst: mean length of a run of losses in packets.\n"
        "distance: of the two, in packets.");
    m.def(
        "not_recovered",
        [](double loss_probability, double mean_burst, int parity, int depth, int wait) {
            return not_recovered({ loss_probability, mean_burst }, { parity, depth }, wait);
        },
        py::arg("loss_probability"),
        py::arg("mean_burst"),
        py::arg("parity"),
        py::arg("depth"),
        py::arg("wait"),
        "Returns the chance, 0 to 1, that parity does not bring back a lost packet in time.\n\n"
        "loss_probability: share of lost packets, 0 to 1.\n"
        "mean_burst: mean length of a run of losses in packets.\n"
        "parity: parity tokens a frame, 0 to 8.\n"
        "depth: first tokens of each frame that they protect, 0 to 7.\n"
        "wait: of the receiver, in packets, 0 to 12.");
    m.def(
        "best_parity",
        [](double share,
           const prefix_distortion& distortion,
           double loss_probability,
           double mean_burst,
           int wait) {
            const auto best =
                best_parity(share, distortion, { loss_probability, mean_burst }, wait);
            return py::make_tuple(best.parity, best.depth);
        },
        py::arg("share"),
        py::arg("distortion"),
        py::arg("loss_probability"),
        py::arg("mean_burst"),
        py::arg("wait"),
        "Returns (parity tokens a frame, tokens of each frame that they protect) with the least\n"
        "expected distortion.\n\n"
        "share: tokens a frame, parity included, 1 to 16.\n"
        "distortion: 9 values, when 0 to 8 tokens are played, in any unit.\n"
        "loss_probability: share of lost packets, 0 to 1.\n"
        "mean_burst: mean length of a run of losses in packets.\n"
        "wait: of the receiver, in packets, 0 to 12.");
    m.def("copy_distance",
          &copy_distance,
          py::arg("deadline_ms"),
          py::arg("frames_per_packet") = 1,
          "Returns the largest distance in packets whose copies arrive before the deadline, at\n"
          "least 1.\n\n"
          "deadline_ms: of the receiver, in ms.\n"
          "frames_per_packet: 1 to 4, frames of 80 ms.");
}

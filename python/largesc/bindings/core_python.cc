// SPDX-License-Identifier: GPL-3.0-or-later
// The core for Python: links no GNU Radio.
#include <pybind11/pybind11.h>

namespace py = pybind11;

void bind_packets(py::module_& m);
void bind_loss_models(py::module_& m);
void bind_allocation(py::module_& m);

PYBIND11_MODULE(_core, m)
{
    m.doc() = "Packet format, loss models and bit allocation, free of GNU Radio.";
    bind_packets(m);
    bind_loss_models(m);
    bind_allocation(m);
}

// SPDX-License-Identifier: GPL-3.0-or-later
#include "channel.h"

#include <sstream>
#include <stdexcept>

namespace largesc {

namespace {

void check_range(const char* name, double value, double low, double high)
{
    if (value >= low && value <= high)
        return;
    std::ostringstream message;
    message << name << " " << value << " is out of range: use " << low << " to " << high;
    throw std::invalid_argument(message.str());
}

} // namespace

void check(const impairments& how)
{
    check_range("packet_ms", how.packet_ms, 1.0, 10000.0);
    check_range("jitter_ms", how.jitter_ms, 0.0, 10000.0);
    check_range("reorder_probability", how.reorder_probability, 0.0, 1.0);
    check_range("duplicate_probability", how.duplicate_probability, 0.0, 1.0);
    check_range("bit_error_rate", how.bit_error_rate, 0.0, 1.0);
}

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#include "loss_model.h"

#include <cmath>
#include <fstream>
#include <iomanip>
#include <sstream>
#include <stdexcept>

namespace largesc {

namespace {

/// Eleven days of a trace.
constexpr std::size_t MOST_FLAGS = 50'000'000;

std::string text(double value)
{
    std::ostringstream out;
    out << value;
    return out.str();
}

double checked_probability(double p)
{
    if (!(p >= 0.0 && p <= 1.0))
        throw std::invalid_argument("loss_probability " + text(p) + " is out of range: use 0 to 1");
    return p;
}

} // namespace

bernoulli_loss::bernoulli_loss(double loss_probability, std::uint64_t seed)
    : d_p(checked_probability(loss_probability)),
      d_rng(seed)
{
}

bool bernoulli_loss::lost()
{
    return uniform(d_rng) < d_p;
}

gilbert_elliott_loss::gilbert_elliott_loss(double loss_probability,
                                           double mean_burst,
                                           std::uint64_t seed)
    : d_rng(seed)
{
    const double p = checked_probability(loss_probability);
    if (!(mean_burst >= 1.0) || !std::isfinite(mean_burst))
        throw std::invalid_argument("mean_burst " + text(mean_burst) +
                                    " is out of range: use 1 packet or more");
    if (p > mean_burst / (mean_burst + 1.0) + 1e-12)
        throw std::invalid_argument("loss_probability " + text(p) +
                                    " cannot be reached with mean_burst " + text(mean_burst) +
                                    ": use at most " + text(mean_burst / (mean_burst + 1.0)) +
                                    " or longer bursts");
    d_leave_bad = 1.0 / mean_burst;
    d_leave_good = p < 1.0 ? p / (mean_burst * (1.0 - p)) : 1.0;
    d_bad = uniform(d_rng) < p;
}

bool gilbert_elliott_loss::lost()
{
    const bool now = d_bad;
    d_bad = d_bad ? uniform(d_rng) >= d_leave_bad : uniform(d_rng) < d_leave_good;
    return now;
}

trace_loss::trace_loss(const std::string& path, double packet_ms, double trace_ms)
    : d_step(packet_ms / trace_ms)
{
    if (!(packet_ms > 0.0) || !(trace_ms > 0.0))
        throw std::invalid_argument("packet_ms " + text(packet_ms) + " and trace_ms " +
                                    text(trace_ms) + " do not fit: use values above 0");
    std::ifstream file(path);
    if (!file)
        throw std::invalid_argument("trace '" + path + "' cannot be read: check the path");
    std::string word;
    // A device never ends, and what is no text is not repeated in the message.
    while (file >> std::setw(2) >> word) {
        if (word != "0" && word != "1")
            throw std::invalid_argument("trace '" + path + "' holds something else as its flag " +
                                        std::to_string(d_flags.size() + 1) +
                                        ": expected flags 0 and 1");
        if (d_flags.size() == MOST_FLAGS)
            throw std::invalid_argument("trace '" + path + "' has more than " +
                                        std::to_string(MOST_FLAGS) + " flags: use a shorter one");
        d_flags.push_back(word == "1");
    }
    if (d_flags.empty())
        throw std::invalid_argument("trace '" + path + "' is empty: expected flags 0 and 1");
}

bool trace_loss::lost()
{
    const auto at = static_cast<std::uint64_t>(std::floor(d_count++ * d_step + 1e-9));
    return d_flags[at % d_flags.size()];
}

std::unique_ptr<loss_model> make_loss_model(const std::string& model,
                                            double loss_probability,
                                            double mean_burst,
                                            const std::string& trace,
                                            double packet_ms,
                                            double trace_ms,
                                            std::uint64_t seed)
{
    if (model == "bernoulli")
        return std::make_unique<bernoulli_loss>(loss_probability, seed);
    if (model == "gilbert_elliott")
        return std::make_unique<gilbert_elliott_loss>(loss_probability, mean_burst, seed);
    if (model == "trace")
        return std::make_unique<trace_loss>(trace, packet_ms, trace_ms);
    throw std::invalid_argument("loss model '" + model +
                                "' is unknown: use 'bernoulli', 'gilbert_elliott' or 'trace'");
}

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "loss_model.h"

#include <map>
#include <utility>

namespace largesc {

struct impairments {
    double packet_ms = 80.0;         ///< packets leave this far apart
    double jitter_ms = 0.0;          ///< each packet is late by 0 to this, uniformly
    double reorder_probability = 0.0; ///< a packet is late by one to three packet times
    double duplicate_probability = 0.0;
    double bit_error_rate = 0.0;
};

/// Throws std::invalid_argument that names the refused value.
void check(const impairments& how);

struct channel_counters {
    std::uint64_t sent = 0, dropped = 0, duplicated = 0, reordered = 0, corrupted = 0, bursts = 0;
};

/// A packet channel in packet time: no clock, the n-th packet leaves at n packet_ms. `Item` is
/// what travels; bit errors are drawn as positions, and applied by the caller.
template <typename Item>
class channel
{
public:
    channel(std::unique_ptr<loss_model> losses, const impairments& how, std::uint64_t seed)
        : d_losses(std::move(losses)), d_how(how), d_rng(seed)
    {
        check(how);
    }

    void set_losses(std::unique_ptr<loss_model> losses) { d_losses = std::move(losses); }

    /// Sends one packet; returns false when the channel drops it.
    template <typename Corrupt>
    bool send(Item item, std::size_t bits, Corrupt corrupt)
    {
        const double now = d_how.packet_ms * d_counters.sent++;
        const bool lost = d_losses->lost();
        d_counters.bursts += lost && !d_last_lost;
        d_last_lost = lost;
        if (lost) {
            ++d_counters.dropped;
            return false;
        }
        double late = d_how.jitter_ms * uniform();
        if (uniform() < d_how.reorder_probability) {
            late += d_how.packet_ms * (1.0 + 2.0 * uniform());
            ++d_counters.reordered;
        }
        if (d_how.bit_error_rate > 0.0) {
            bool hit = false;
            for (std::size_t bit = 0; bit < bits; ++bit)
                if (uniform() < d_how.bit_error_rate) {
                    corrupt(item, bit);
                    hit = true;
                }
            d_counters.corrupted += hit;
        }
        if (uniform() < d_how.duplicate_probability) {
            ++d_counters.duplicated;
            d_waiting.emplace(now + late, item);
        }
        d_waiting.emplace(now + late, std::move(item));
        d_now = now;
        return true;
    }

    /// Next packet that has arrived by now; with `all`, whatever is still on its way.
    bool receive(Item& item, bool all = false)
    {
        if (d_waiting.empty() || (!all && d_waiting.begin()->first > d_now))
            return false;
        item = std::move(d_waiting.begin()->second);
        d_waiting.erase(d_waiting.begin());
        return true;
    }

    const channel_counters& counters() const { return d_counters; }

private:
    double uniform() { return (d_rng() >> 11) * 0x1.0p-53; }

    std::unique_ptr<loss_model> d_losses;
    const impairments d_how;
    std::mt19937_64 d_rng;
    std::multimap<double, Item> d_waiting;
    double d_now = 0.0;
    bool d_last_lost = false;
    channel_counters d_counters;
};

} // namespace largesc

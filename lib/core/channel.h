// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "loss_model.h"

#include <algorithm>
#include <map>
#include <utility>

namespace largesc {

struct impairments {
    double packet_ms = 80.0;          ///< packets leave this far apart
    double jitter_ms = 0.0;           ///< each packet is late by 0 to this, uniformly
    double reorder_probability = 0.0; ///< a packet is late by one to three packet times
    double duplicate_probability = 0.0;
    double bit_error_rate = 0.0;
};

/// Throws std::invalid_argument that names the refused value.
void check(const impairments& how);

struct channel_counters {
    std::uint64_t sent = 0;
    std::uint64_t dropped = 0;
    std::uint64_t bursts = 0; ///< runs of dropped packets
    std::uint64_t duplicated = 0;
    std::uint64_t delayed = 0;   ///< late by jitter or reordering
    std::uint64_t reordered = 0; ///< arrived behind a packet that left later
    std::uint64_t corrupted = 0; ///< packets with at least one inverted bit

    /// Share of dropped packets, 0 before the first.
    double loss_probability() const { return sent ? static_cast<double>(dropped) / sent : 0.0; }
    /// Mean length of a run of dropped packets, 0 before the first.
    double mean_burst() const { return bursts ? static_cast<double>(dropped) / bursts : 0.0; }

    /// Calls `visit(name, value)` for each, the one list of their names.
    template <typename Visit>
    void for_each(Visit&& visit) const
    {
        visit("sent", sent);
        visit("dropped", dropped);
        visit("bursts", bursts);
        visit("duplicated", duplicated);
        visit("delayed", delayed);
        visit("reordered", reordered);
        visit("corrupted", corrupted);
    }
};

/// What becomes of a packet: it is lost, on its way for longer, or there.
enum class fate { lost, held, arrived };

/// A packet channel in packet time: no clock, the n-th packet leaves at n packet_ms, and a late
/// one comes out when the first packet leaves that is not earlier than its arrival. `Item` is
/// what travels; bit errors are drawn as positions, and applied by the caller.
template <typename Item>
class channel
{
public:
    channel(std::unique_ptr<loss_model> losses, const impairments& how, std::uint64_t seed)
        : d_losses(std::move(losses)),
          d_how(how),
          d_rng(seed)
    {
        check(how);
    }

    void set_losses(std::unique_ptr<loss_model> losses) { d_losses = std::move(losses); }

    /// Sends one packet. `corrupt(item, bit)` inverts one of its `bits`.
    template <typename Corrupt>
    fate send(Item item, std::size_t bits, Corrupt corrupt)
    {
        const std::uint64_t number = d_counters.sent++;
        d_now = d_how.packet_ms * number;
        const bool lost = d_losses->lost();
        d_counters.bursts += lost && !d_last_lost;
        d_last_lost = lost;
        if (lost) {
            ++d_counters.dropped;
            return fate::lost;
        }
        double late = d_how.jitter_ms * uniform(d_rng);
        if (uniform(d_rng) < d_how.reorder_probability)
            late += d_how.packet_ms * (1.0 + 2.0 * uniform(d_rng));
        d_counters.delayed += late > 0.0;
        if (d_how.bit_error_rate > 0.0) {
            bool hit = false;
            for (std::size_t bit = 0; bit < bits; ++bit)
                if (uniform(d_rng) < d_how.bit_error_rate) {
                    corrupt(item, bit);
                    hit = true;
                }
            d_counters.corrupted += hit;
        }
        if (uniform(d_rng) < d_how.duplicate_probability) {
            ++d_counters.duplicated;
            d_waiting.emplace(d_now + late, flying{ item, number });
        }
        d_waiting.emplace(d_now + late, flying{ std::move(item), number });
        return late > 0.0 ? fate::held : fate::arrived;
    }

    /// Next packet that has arrived by now; with `all`, whatever is still on its way.
    bool receive(Item& item, bool all = false)
    {
        if (d_waiting.empty() || (!all && d_waiting.begin()->first > d_now))
            return false;
        flying& first = d_waiting.begin()->second;
        // Both arrivals of a duplicate have one number: the second one is not counted again.
        if (first.number < d_newest && first.number != d_last)
            ++d_counters.reordered;
        d_newest = std::max(d_newest, first.number);
        d_last = first.number;
        item = std::move(first.item);
        d_waiting.erase(d_waiting.begin());
        return true;
    }

    const channel_counters& counters() const { return d_counters; }

private:
    struct flying {
        Item item;
        std::uint64_t number;
    };

    std::unique_ptr<loss_model> d_losses;
    const impairments d_how;
    std::mt19937_64 d_rng;
    std::multimap<double, flying> d_waiting; ///< by time of arrival in ms
    double d_now = 0.0;
    std::uint64_t d_newest = 0, d_last = 0;
    bool d_last_lost = false;
    channel_counters d_counters;
};

} // namespace largesc

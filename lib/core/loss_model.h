// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace largesc {

/// Uniform in [0, 1), the upper 53 bits of a draw: the same values on every platform, which the
/// distributions of the standard library do not promise.
inline double uniform(std::mt19937_64& rng)
{
    return (rng() >> 11) * 0x1.0p-53;
}

/// Decides packet by packet what a channel drops.
class loss_model
{
public:
    virtual ~loss_model() = default;
    /// Fate of the next packet.
    virtual bool lost() = 0;
};

/// Independent losses with probability p.
class bernoulli_loss : public loss_model
{
public:
    bernoulli_loss(double loss_probability, std::uint64_t seed);
    bool lost() override;

private:
    const double d_p;
    std::mt19937_64 d_rng;
};

/// Gilbert-Elliott with a bad state that loses everything and a good one that loses nothing.
/// With mean loss p and mean burst B packets: P(bad to good) = 1/B, P(good to bad) =
/// p / (B (1 - p)), so p is at most B / (B + 1). The first packet finds the chain in its steady
/// state.
class gilbert_elliott_loss : public loss_model
{
public:
    gilbert_elliott_loss(double loss_probability, double mean_burst, std::uint64_t seed);
    bool lost() override;

private:
    double d_leave_bad, d_leave_good;
    std::mt19937_64 d_rng;
    bool d_bad;
};

/// A recorded trace of flags (1: lost), one every trace_ms, repeated for ever. A packet is lost
/// when the flag at the moment it leaves is 1, so packets longer than a flag skip flags.
class trace_loss : public loss_model
{
public:
    trace_loss(const std::string& path, double packet_ms, double trace_ms);
    bool lost() override;

private:
    std::vector<bool> d_flags;
    const double d_step;
    std::uint64_t d_count = 0;
};

/// model: `bernoulli`, `gilbert_elliott` or `trace`. Throws std::invalid_argument that names the
/// refused value and the remedy.
std::unique_ptr<loss_model> make_loss_model(const std::string& model,
                                            double loss_probability,
                                            double mean_burst,
                                            const std::string& trace,
                                            double packet_ms,
                                            double trace_ms,
                                            std::uint64_t seed);

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#define BOOST_TEST_MODULE redundancy
#include "depacketizer.h"
#include "loss_model.h"
#include "packetizer.h"
#include "statistics.h"

#include <boost/test/unit_test.hpp>

using namespace largesc;
using namespace largesc::test;

namespace {

constexpr int PACKETS = 100000;

/// Frames whose first token has not come, with one copy of it `distance` packets later.
std::vector<char> first_tokens_lost(const channel_case& c, int distance)
{
    const bool bursty = c.burst > 0.0;
    const auto losses = make_loss_model(
        bursty ? "gilbert_elliott" : "bernoulli", c.p, bursty ? c.burst : 1.0, "", 80, 20, 1);
    packetizer sender(1, layout::sequential);
    depacketizer receiver({ 1, layout::sequential, false, 80, 10 });
    std::vector<char> gone(PACKETS, 1);
    const auto play = [&] {
        while (const auto frame = receiver.pop())
            if (frame->index < gone.size() && prefix_length(frame->tokens) > 0)
                gone[frame->index] = 0;
    };
    tokens_t tokens = erased_frame();
    for (int n = 0; n < PACKETS; ++n) {
        tokens[0] = n % TOKEN_VALUES;
        for (const auto& p : sender.push(tokens, { 1, 1, distance, false, false }).packets)
            if (!losses->lost())
                receiver.push(p.bytes.data(), p.bytes.size(), 0);
        play();
    }
    receiver.flush(PACKETS);
    play();
    return gone;
}

} // namespace

BOOST_AUTO_TEST_CASE(lost_first_tokens_follow_theory)
{
    for (const auto& c : channel_cases())
        for (int d = 1; d <= MAX_COPY_DISTANCE; ++d) {
            const auto gone = first_tokens_lost(c, d);
            // Behind the last d frames no packet comes that could bring their copies.
            double lost = 0.0;
            for (int n = 0; n < PACKETS - d; ++n)
                lost += gone[n];
            const double share = lost / (PACKETS - d);
            const double error = both_lost_error(c, d, PACKETS - d);
            BOOST_TEST_INFO("p " << c.p << " burst " << c.burst << " d " << d << ": " << share
                                 << " +- " << error << ", theory " << both_lost(c, d));
            BOOST_TEST(std::abs(share - both_lost(c, d)) < 3.0 * error);
        }
}

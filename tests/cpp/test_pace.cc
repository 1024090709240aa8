// SPDX-License-Identifier: GPL-3.0-or-later
#define BOOST_TEST_MODULE pace
#include "pace.h"

#include <boost/test/unit_test.hpp>

using largesc::pace;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_CASE(rate_is_right_on_the_average)
{
    pace p(24000.0);
    const pace::clock::time_point begin(1h);
    BOOST_CHECK(p.due(480, begin) == begin);
    // Each time 5 ms late.
    for (int n = 1; n < 50; ++n)
        BOOST_CHECK(p.due(480, begin + n * 20ms + 5ms) == begin + n * 20ms);
}

BOOST_AUTO_TEST_CASE(stall_is_lost_time)
{
    pace p(24000.0);
    const pace::clock::time_point begin(1h);
    p.due(480, begin);
    const auto later = begin + 500ms;
    BOOST_CHECK(p.due(480, later) == later);
    BOOST_CHECK(p.due(480, later) == later + 20ms);
}

BOOST_AUTO_TEST_CASE(small_delay_is_made_up_for)
{
    pace p(24000.0);
    const pace::clock::time_point begin(1h);
    p.due(480, begin);
    BOOST_CHECK(p.due(480, begin + 70ms) == begin + 20ms);
    BOOST_CHECK(p.due(480, begin + 70ms) == begin + 40ms);
}

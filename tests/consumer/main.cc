// SPDX-License-Identifier: GPL-3.0-or-later
#include <gnuradio/largesc/loss_channel.h>
#include <iostream>

int main()
{
    auto channel = gr::largesc::loss_channel::make();
    std::cout << channel->name() << std::endl;
}

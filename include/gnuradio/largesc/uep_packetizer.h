// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <gnuradio/block.h>
#include <gnuradio/largesc/api.h>

namespace gr::largesc {

/*!
 * \brief Token frames to packets with unequal protection.
 *
 * Input `tokens`: PDUs of 8 tokens (u16) with the controller's decision. Output `packets`: PDUs of
 * bytes, see docs/packet-format.md; `credit`: frames in which nothing is sent; `status`: counters.
 */
class LARGESC_API uep_packetizer : virtual public gr::block
{
public:
    using sptr = std::shared_ptr<uep_packetizer>;

    /*!
     * \param frames_per_packet 1 to 4
     * \param layout `sequential` (a frame and copies of an earlier one) or `pair` (interleaved)
     * \param crc append a CRC-16; leave it out where the modem below has one
     */
    static sptr
    make(int frames_per_packet = 1, const std::string& layout = "sequential", bool crc = true);

    /// Counters by name.
    virtual pmt::pmt_t statistics() const = 0;
};

} // namespace gr::largesc

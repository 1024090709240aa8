// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <gnuradio/block.h>
#include <gnuradio/largesc/api.h>

namespace gr::largesc {

/*!
 * \brief Packets of any order and quality to token frames in playout order.
 *
 * Input `packets`: PDUs of bytes; `pull` (live): asks for the next frame. Output `tokens`: PDUs of
 * 8 tokens, 0xFFFF where one is missing, repairs marked; `report`: dict of the channel's state;
 * `status`: counters.
 */
class LARGESC_API uep_depacketizer : virtual public gr::block
{
public:
    using sptr = std::shared_ptr<uep_depacketizer>;

    /*!
     * \param frames_per_packet as at the sender
     * \param layout as at the sender
     * \param crc as at the sender
     * \param mode `offline` (nothing is late) or `live` (one frame a pull)
     * \param deadline_ms live: so much later copies may come; playout waits 20 ms longer
     * \param hold_packets offline: packets to wait for copies and reordered packets
     * \param report_interval_packets a report after so many packet times
     * \param end_with_sender end the stream when the sender's end packet comes
     * \param max_deadline_ms live: as long the wait may become where packets come late; 0: fixed
     */
    static sptr make(int frames_per_packet = 1,
                     const std::string& layout = "sequential",
                     bool crc = true,
                     const std::string& mode = "live",
                     int deadline_ms = 80,
                     int hold_packets = 10,
                     int report_interval_packets = 1,
                     bool end_with_sender = false,
                     int max_deadline_ms = 0);

    /// Counters by name.
    virtual pmt::pmt_t statistics() const = 0;
};

} // namespace gr::largesc

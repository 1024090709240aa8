// SPDX-License-Identifier: GPL-3.0-or-later
#include "refusal_watch.h"

#include <algorithm>

namespace largesc {

bool link_settings::fit(const std::uint8_t* data, std::size_t size) const
{
    if (crc) {
        if (!has_right_crc(data, size))
            return false;
        size -= CRC_BYTES;
    }
    return is_report(data, size) || is_text(data, size) ||
           read_packet(data, size, kind, frames_per_packet).has_value();
}

std::string link_settings::words() const
{
    return "frames_per_packet " + std::to_string(frames_per_packet) + ", layout " + name_of(kind) +
           ", crc " + (crc ? "on" : "off");
}

void refusal_watch::add(const std::uint8_t* data, std::size_t size, bool taken, std::int64_t now_ns)
{
    if (d_packets == 0)
        d_since_ns = now_ns;
    // What is longer is a packet of no setting, cut or not.
    kept_packet& place = d_kept[d_packets % KEPT];
    place.size = std::min(size, MOST_BYTES);
    std::copy_n(data, place.size, place.bytes.begin());
    ++d_packets;
    d_refused += !taken;
    if (now_ns - d_since_ns >= WINDOW_NS && d_packets >= LEAST_PACKETS)
        judge();
}

void refusal_watch::settle()
{
    if (d_packets >= LEAST_PACKETS)
        judge();
}

void refusal_watch::judge()
{
    // Packets with a CRC that nobody asks for may all pass, and be noise.
    const bool asked = 5 * d_refused >= d_packets || !d_own.crc;
    d_reason = asked ? explained() : std::string();
    d_packets = d_refused = 0;
}

int refusal_watch::fits(const link_settings& settings) const
{
    const int count = std::min<int>(d_packets, KEPT);
    return std::count_if(d_kept.begin(), d_kept.begin() + count, [&](const kept_packet& p) {
        return settings.fit(p.bytes.data(), p.size);
    });
}

std::string refusal_watch::explained() const
{
    const int count = std::min<int>(d_packets, KEPT);
    link_settings best = d_own;
    int most = 0;
    // With a CRC first: what passes one is no chance.
    for (bool crc : { true, false })
        for (layout kind : { layout::sequential, layout::pair, layout::parity })
            for (int frames = 1; frames <= MAX_FRAMES_PER_PACKET; ++frames)
                if (const int n = fits({ frames, kind, crc }); n > most) {
                    best = { frames, kind, crc };
                    most = n;
                }
    const std::string share = std::to_string(d_refused) + " of the last " +
                              std::to_string(d_packets) + " packets were refused: ";
    const bool better = fits(d_own) < most || (best.crc && !d_own.crc);
    if (10 * most >= 9 * count && better)
        return share + "they look like " + best.words() + ", and this receiver has " +
               d_own.words() + "; set both ends alike";
    if (2 * d_refused <= d_packets)
        return {};
    return share + "they are damaged on the way, signed with a key, or of another program; " +
           "this receiver has " + d_own.words();
}

} // namespace largesc

// SPDX-License-Identifier: GPL-3.0-or-later
#include "depacketizer.h"
#include "packetizer.h"

#include <gnuradio/largesc/keys.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;
using namespace largesc;

namespace {

py::bytes to_bytes(const std::vector<std::uint8_t>& data)
{
    return py::bytes(reinterpret_cast<const char*>(data.data()), data.size());
}

template <typename Counters>
py::dict to_dict(const Counters& counters)
{
    py::dict out;
    counters.for_each([&](const char* name, std::uint64_t value) { out[name] = value; });
    return out;
}

void bind_keys(py::module_& m)
{
    auto keys = m.def_submodule("keys", "Metadata keys of all messages.");
    for (const char* name : gr::largesc::keys::all)
        keys.attr(name) = name;
}

void bind_crc(py::module_& m)
{
    m.attr("CRC_BYTES") = CRC_BYTES;
    m.def(
        "append_crc",
        [](const std::string& packet) {
            std::vector<std::uint8_t> bytes(packet.begin(), packet.end());
            append_crc(bytes);
            return to_bytes(bytes);
        },
        py::arg("packet"),
        "Returns the bytes with their CRC-16 behind them, see docs/packet-format.md.\n\n"
        "packet: bytes without a CRC.");
    m.def(
        "has_right_crc",
        [](const std::string& packet) {
            return has_right_crc(reinterpret_cast<const std::uint8_t*>(packet.data()),
                                 packet.size());
        },
        py::arg("packet"),
        "Returns True for a packet that ends with its right CRC-16 and holds something else.\n\n"
        "packet: bytes with the CRC.");
}

void bind_packetizer(py::module_& m)
{
    py::class_<decision>(m, "PacketDecision", "What the controller decided for one frame.")
        .def(py::init([](int sent, int repeated, int distance, bool comfort, bool skip, int depth) {
                 return decision{ sent, repeated, distance, comfort, skip, depth };
             }),
             py::arg("tokens_sent") = TOKENS_PER_FRAME,
             py::arg("tokens_repeated") = 0,
             py::arg("copy_distance") = 0,
             py::arg("comfort") = false,
             py::arg("skip") = false,
             py::arg("tokens_protected") = 0,
             "Values beyond their range are cut to it.\n\n"
             "tokens_sent: first tokens of the frame that are sent, 0 to 8.\n"
             "tokens_repeated: first tokens of the frame that are sent again, 0 to 8; in the "
             "layout\n"
             "'parity' sums of earlier frames' tokens that are sent along with it.\n"
             "copy_distance: packets between a frame and its copies, 0 to 8; 0: no copies.\n"
             "comfort: the frame is one of silence, behind which nothing may follow.\n"
             "skip: nothing is sent of the frame (DTX).\n"
             "tokens_protected: layout 'parity', tokens of each earlier frame that are summed, 0 "
             "to 7.");

    py::class_<packetizer>(m, "Packetizer", "Token frames to packets; see docs/packet-format.md.")
        .def(py::init([](int frames, const std::string& kind, bool crc) {
                 return packetizer(frames, layout_from_string(kind), crc);
             }),
             py::arg("frames_per_packet") = 1,
             py::arg("layout") = "sequential",
             py::arg("crc") = false,
             "frames_per_packet: 1 to 4 frames of 80 ms.\n"
             "layout: 'sequential' (a frame and copies of an earlier one), 'pair' (two packets\n"
             "share the tokens of their frames) or 'parity' (a frame and sums of earlier ones).\n"
             "crc: a CRC-16 ends each packet.\n\n"
             "Raises ValueError that names the refused value.")
        .def(
            "push",
            [](packetizer& self, const tokens_t& tokens, const decision& d) {
                std::vector<py::bytes> out;
                for (const auto& p : self.push(tokens, d).packets)
                    out.push_back(to_bytes(p.bytes));
                return out;
            },
            py::arg("tokens"),
            py::arg("decision"),
            "Takes a frame; returns the packets, a list of bytes, that are now complete.\n\n"
            "tokens: 8 numbers below 2048; 0xFFFF: none, and none behind it is sent.\n"
            "decision: a PacketDecision, what of the frame is sent and repeated.")
        .def(
            "flush",
            [](packetizer& self) {
                std::vector<py::bytes> out;
                for (const auto& p : self.flush().packets)
                    out.push_back(to_bytes(p.bytes));
                return out;
            },
            "Ends the stream; returns a list with the last packet, if one was unfinished, and "
            "with\n"
            "parity its tail.")
        .def(
            "end_packet",
            [](packetizer& self) { return to_bytes(self.end_packet().bytes); },
            "Returns two bytes, and the CRC, that tell how many packet slots there were.")
        .def(
            "statistics",
            [](const packetizer& self) { return to_dict(self.counters()); },
            "Returns the counters by name, a dict of integers.");
}

void bind_depacketizer(py::module_& m)
{
    py::class_<received_frame>(m, "ReceivedFrame", "One frame for playout, or a repair.")
        .def_readonly("index", &received_frame::index, "Counts frames in playout order, from 0.")
        .def_readonly("tokens", &received_frame::tokens, "8 numbers, 0xFFFF where one is missing.")
        .def_readonly(
            "following", &received_frame::following, "The same of the frame behind, as known now.")
        .def_readonly("sent",
                      &received_frame::sent,
                      "Tokens that the sender gave it, 0 to 8; -1: not known, its packet is lost.")
        .def_property_readonly("received_tokens",
                               &received_frame::received_tokens,
                               "Tokens before the first missing one, 0 to 8.")
        .def_readonly("lost", &received_frame::lost, "True when nothing of it was received.")
        .def_readonly(
            "silence", &received_frame::silence, "True when nothing was to be said (DTX).")
        .def_readonly("repair",
                      &received_frame::repair,
                      "True for a frame that was played before and now has more tokens.");

    py::class_<depacketizer>(m, "Depacketizer", "Packets to token frames in playout order.")
        .def(py::init([](int frames,
                         const std::string& kind,
                         bool live,
                         int deadline,
                         int hold,
                         int most,
                         bool crc) {
                 return depacketizer(
                     { frames, layout_from_string(kind), live, deadline, hold, most, crc });
             }),
             py::arg("frames_per_packet") = 1,
             py::arg("layout") = "sequential",
             py::arg("live") = false,
             py::arg("deadline_ms") = 80,
             py::arg("hold_packets") = 10,
             py::arg("max_deadline_ms") = 0,
             py::arg("crc") = false,
             "frames_per_packet, layout, crc: as at the sender.\n"
             "live: one frame a pull; otherwise all frames, once they are known.\n"
             "deadline_ms: live, so many ms later copies may come, 0 to 5000.\n"
             "hold_packets: offline, packets to wait for copies and reordered packets, 1 to 32; 13 "
             "at\n"
             "least with the layout 'parity'.\n"
             "max_deadline_ms: live, as long as the wait may become where packets come late,\n"
             "deadline_ms to 5000; 0 for a fixed one.\n\n"
             "Raises ValueError that names the refused value.")
        .def(
            "push",
            [](depacketizer& self, const std::string& data, std::int64_t now_ns) {
                return self.push(
                    reinterpret_cast<const std::uint8_t*>(data.data()), data.size(), now_ns);
            },
            py::arg("data"),
            py::arg("now_ns") = 0,
            "Takes one packet; returns False when it is none of this link.\n\n"
            "data: bytes of the packet.\n"
            "now_ns: when it came, in ns of a clock that never goes back.")
        .def("pull",
             &depacketizer::pull,
             py::arg("now_ns"),
             "Live: returns the frame to play now, None while nothing has started.\n\n"
             "now_ns: the time of the pull, by the clock of push().")
        .def("pop",
             &depacketizer::pop,
             "Returns the next frame that is ready (offline) or repaired, None without one.")
        .def("flush",
             &depacketizer::flush,
             py::arg("total_frames") = -1,
             "Makes all frames ready.\n\n"
             "total_frames: offline, how many were sent; -1 where that is not known.")
        .def_property_readonly(
            "ended",
            &depacketizer::ended,
            "True when the sender has ended, and live its last frame has been pulled.")
        .def_property_readonly(
            "loss_probability",
            [](const depacketizer& d) { return d.losses().loss_probability(); },
            "Share of the last packets that were lost, 0 to 1.")
        .def_property_readonly(
            "mean_burst",
            [](const depacketizer& d) { return d.losses().mean_burst(); },
            "Mean length of a run of losses in packets, at least 1.")
        .def_property_readonly(
            "playout_delay_ms",
            [](const depacketizer& d) { return d.playout_delay_ns() / 1e6; },
            "Live: ms that the packet that was fastest lately waited for its playout.")
        .def_property_readonly("buffered_frames",
                               &depacketizer::buffered_frames,
                               "Frames up to the newest packet that wait for their playout.")
        .def(
            "statistics",
            [](const depacketizer& self) { return to_dict(self.counters()); },
            "Returns the counters by name, a dict of integers.");
}

void bind_loss_estimator(py::module_& m)
{
    py::class_<loss_estimator>(
        m, "LossEstimator", "Loss probability and mean burst length from the fate of packets.")
        .def(py::init<>())
        .def("add",
             &loss_estimator::add,
             py::arg("lost"),
             "Takes the fate of the next packet.\n\n"
             "lost: True when it did not come; packets are taken in the order of their sending.")
        .def_property_readonly("loss_probability",
                               &loss_estimator::loss_probability,
                               "Share of about the last 40 packets that were lost, 0 to 1.")
        .def_property_readonly("mean_burst",
                               &loss_estimator::mean_burst,
                               "Mean length of a run of losses in packets, at least 1.");
}

} // namespace

void bind_packets(py::module_& m)
{
    m.attr("TOKENS_PER_FRAME") = TOKENS_PER_FRAME;
    m.attr("TOKEN_BITS") = TOKEN_BITS;
    m.attr("TOKEN_VALUES") = TOKEN_VALUES;
    m.attr("ERASED_TOKEN") = ERASED_TOKEN;
    m.attr("FRAME_MS") = FRAME_MS;
    m.attr("PLAYOUT_MARGIN_MS") = PLAYOUT_MARGIN_MS;
    m.attr("CODE_REPORT") = CODE_REPORT;
    m.attr("REPORT_BYTES") = REPORT_BYTES;
    m.attr("TEXT_BYTE") = TEXT_BYTE;
    m.attr("MAX_COPY_DISTANCE") = MAX_COPY_DISTANCE;
    m.attr("PARITY_WINDOW") = PARITY_WINDOW;
    m.attr("MAX_PROTECTED_TOKENS") = MAX_PROTECTED_TOKENS;
    m.attr("MAX_FRAMES_PER_PACKET") = MAX_FRAMES_PER_PACKET;
    bind_keys(m);
    bind_crc(m);
    bind_packetizer(m);
    bind_depacketizer(m);
    bind_loss_estimator(m);
}

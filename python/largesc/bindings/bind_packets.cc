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
        "The bytes with their CRC-16 behind them, see docs/packet-format.md.");
    m.def(
        "has_right_crc",
        [](const std::string& packet) {
            return has_right_crc(reinterpret_cast<const std::uint8_t*>(packet.data()),
                                 packet.size());
        },
        py::arg("packet"),
        "Whether something, and behind it its CRC-16, are there.");
}

void bind_packetizer(py::module_& m)
{
    py::class_<decision>(m, "PacketDecision", "What the controller decided for one frame.")
        .def(py::init([](int sent, int repeated, int distance, bool comfort, bool skip) {
                 return decision{ sent, repeated, distance, comfort, skip };
             }),
             py::arg("tokens_sent") = TOKENS_PER_FRAME,
             py::arg("tokens_repeated") = 0,
             py::arg("copy_distance") = 0,
             py::arg("comfort") = false,
             py::arg("skip") = false,
             "n_s and n_c (0 to 8), distance in packets (0 to 8, 0: no copies); values beyond are "
             "cut.");

    py::class_<packetizer>(m, "Packetizer", "Token frames to packets; see docs/packet-format.md.")
        .def(py::init([](int frames, const std::string& kind, bool crc) {
                 return packetizer(frames, layout_from_string(kind), crc);
             }),
             py::arg("frames_per_packet") = 1,
             py::arg("layout") = "sequential",
             py::arg("crc") = false,
             "frames_per_packet: 1 to 4. layout: 'sequential' or 'pair'. crc: a CRC-16 ends each\n"
             "packet.\n\n"
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
            "Takes 8 tokens (0xFFFF: none); returns the packets that are now complete.")
        .def(
            "flush",
            [](packetizer& self) {
                std::vector<py::bytes> out;
                for (const auto& p : self.flush().packets)
                    out.push_back(to_bytes(p.bytes));
                return out;
            },
            "Ends the stream; returns the last packet, if one was unfinished.")
        .def(
            "end_packet",
            [](packetizer& self) { return to_bytes(self.end_packet().bytes); },
            "Two bytes, and the CRC, that tell how many packet slots there were.")
        .def(
            "statistics",
            [](const packetizer& self) { return to_dict(self.counters()); },
            "Counters by name, a dict of integers.");
}

void bind_depacketizer(py::module_& m)
{
    py::class_<received_frame>(m, "ReceivedFrame", "One frame for playout, or a repair.")
        .def_readonly("index", &received_frame::index)
        .def_readonly("tokens", &received_frame::tokens)
        .def_readonly("following", &received_frame::following)
        .def_readonly("sent", &received_frame::sent)
        .def_property_readonly("received_tokens", &received_frame::received_tokens)
        .def_readonly("lost", &received_frame::lost)
        .def_readonly("silence", &received_frame::silence)
        .def_readonly("repair", &received_frame::repair);

    py::class_<depacketizer>(m, "Depacketizer", "Packets to token frames in playout order.")
        .def(
            py::init([](int frames,
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
            "frames_per_packet, layout, crc: as at the sender. live: one frame a pull, or all "
            "once\n"
            "they are known. deadline_ms: live, so much later copies may come. hold_packets:\n"
            "offline, packets to wait for copies and reordered packets. max_deadline_ms: live, as\n"
            "long as the wait may become where packets come late; 0 for a fixed one.\n\n"
            "Raises ValueError that names the refused value.")
        .def(
            "push",
            [](depacketizer& self, const std::string& data, std::int64_t now_ns) {
                return self.push(
                    reinterpret_cast<const std::uint8_t*>(data.data()), data.size(), now_ns);
            },
            py::arg("data"),
            py::arg("now_ns") = 0,
            "Takes the bytes of one packet; False when they are no packet of this link.")
        .def("pull",
             &depacketizer::pull,
             py::arg("now_ns"),
             "Live: the frame to play now, None while nothing has started.")
        .def("pop",
             &depacketizer::pop,
             "Next frame that is ready (offline) or repaired, None when there is none.")
        .def("flush",
             &depacketizer::flush,
             py::arg("total_frames") = -1,
             "Makes all frames ready; total_frames tells how many were sent, where it is known.")
        .def_property_readonly("ended", &depacketizer::ended)
        .def_property_readonly("loss_probability",
                               [](const depacketizer& d) { return d.losses().loss_probability(); })
        .def_property_readonly("mean_burst",
                               [](const depacketizer& d) { return d.losses().mean_burst(); })
        .def_property_readonly("playout_delay_ms",
                               [](const depacketizer& d) { return d.playout_delay_ns() / 1e6; })
        .def_property_readonly("buffered_frames", &depacketizer::buffered_frames)
        .def(
            "statistics",
            [](const depacketizer& self) { return to_dict(self.counters()); },
            "Counters by name, a dict of integers.");
}

void bind_loss_estimator(py::module_& m)
{
    py::class_<loss_estimator>(
        m, "LossEstimator", "Loss probability and mean burst length from the fate of packets.")
        .def(py::init<>())
        .def("add", &loss_estimator::add, py::arg("lost"), "Fate of the next packet, in order.")
        .def_property_readonly("loss_probability", &loss_estimator::loss_probability)
        .def_property_readonly("mean_burst", &loss_estimator::mean_burst, "Packets, at least 1.");
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
    m.attr("MAX_FRAMES_PER_PACKET") = MAX_FRAMES_PER_PACKET;
    bind_keys(m);
    bind_crc(m);
    bind_packetizer(m);
    bind_depacketizer(m);
    bind_loss_estimator(m);
}

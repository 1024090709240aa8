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

void bind_keys(py::module_& m)
{
    namespace k = gr::largesc::keys;
    auto keys = m.def_submodule("keys", "Metadata keys of all messages.");
    for (const char* name : { k::frame_index,
                              k::frames,
                              k::capture_time_ns,
                              k::latent,
                              k::level_dbfs,
                              k::distortion,
                              k::tokens_sent,
                              k::tokens_repeated,
                              k::copy_distance,
                              k::comfort,
                              k::skip,
                              k::received_tokens,
                              k::following_tokens,
                              k::lost,
                              k::silence,
                              k::repair,
                              k::concealed_tokens,
                              k::gain,
                              k::end_of_stream,
                              k::loss_probability,
                              k::mean_burst_packets,
                              k::packets_received,
                              k::packets_lost,
                              k::buffered_frames,
                              k::snr_db })
        keys.attr(name) = name;
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
        .def(py::init([](int frames, const std::string& kind) {
                 return packetizer(frames, layout_from_string(kind));
             }),
             py::arg("frames_per_packet") = 1,
             py::arg("layout") = "sequential")
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
            [](const packetizer& self) { return to_bytes(self.end_packet().bytes); },
            "Two bytes that tell how many packet slots there were.")
        .def(
            "statistics",
            [](const packetizer& self) {
                py::dict s;
                s["tokens_sent"] = self.counters().tokens_sent;
                s["tokens_repeated"] = self.counters().tokens_repeated;
                s["copies_skipped"] = self.counters().copies_skipped;
                return s;
            },
            "Counters by name, a dict of integers.");
}

void bind_depacketizer(py::module_& m)
{
    py::class_<received_frame>(m, "ReceivedFrame", "One frame for playout, or a repair.")
        .def_readonly("index", &received_frame::index)
        .def_readonly("tokens", &received_frame::tokens)
        .def_readonly("following", &received_frame::following)
        .def_property_readonly("received_tokens", &received_frame::received_tokens)
        .def_readonly("lost", &received_frame::lost)
        .def_readonly("silence", &received_frame::silence)
        .def_readonly("repair", &received_frame::repair);

    py::class_<depacketizer>(m, "Depacketizer", "Packets to token frames in playout order.")
        .def(py::init([](int frames,
                         const std::string& kind,
                         bool live,
                         int deadline,
                         int hold,
                         int most) {
                 return depacketizer(
                     { frames, layout_from_string(kind), live, deadline, hold, most });
             }),
             py::arg("frames_per_packet") = 1,
             py::arg("layout") = "sequential",
             py::arg("live") = false,
             py::arg("deadline_ms") = 80,
             py::arg("hold_packets") = 10,
             py::arg("max_deadline_ms") = 0)
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
        .def("statistics", [](const depacketizer& d) {
            const auto& c = d.counters();
            py::dict s;
            s["packets_received"] = c.packets_received;
            s["packets_lost"] = c.packets_lost;
            s["packets_refused"] = c.packets_refused;
            s["duplicates"] = c.duplicates;
            s["late"] = c.late;
            s["resyncs"] = c.resyncs;
            s["repairs"] = c.repairs;
            s["frames_released"] = c.frames_released;
            s["frames_lost"] = c.frames_lost;
            s["silence_frames"] = c.silence_frames;
            s["skew_dropped"] = c.skew_dropped;
            s["skew_inserted"] = c.skew_inserted;
            s["playout_grown"] = c.playout_grown;
            s["playout_shrunk"] = c.playout_shrunk;
            return s;
        });
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
    m.attr("MAX_COPY_DISTANCE") = MAX_COPY_DISTANCE;
    m.attr("MAX_FRAMES_PER_PACKET") = MAX_FRAMES_PER_PACKET;
    bind_keys(m);
    bind_packetizer(m);
    bind_depacketizer(m);
    bind_loss_estimator(m);
}

// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <array>

/// Metadata keys of all messages; docs/architecture.md says what each means.
namespace gr::largesc::keys {

constexpr const char* frame_index = "frame_index";
constexpr const char* frames = "frames";
constexpr const char* capture_time_ns = "capture_time_ns";
constexpr const char* latent = "latent";
constexpr const char* level_dbfs = "level_dbfs";
constexpr const char* distortion = "distortion";
constexpr const char* tokens_sent = "tokens_sent";
constexpr const char* tokens_repeated = "tokens_repeated";
constexpr const char* copy_distance = "copy_distance";
constexpr const char* tokens_protected = "tokens_protected";
constexpr const char* comfort = "comfort";
constexpr const char* skip = "skip";
constexpr const char* received_tokens = "received_tokens";
constexpr const char* following_tokens = "following_tokens";
constexpr const char* lost = "lost";
constexpr const char* silence = "silence";
constexpr const char* repair = "repair";
constexpr const char* concealed_tokens = "concealed_tokens";
constexpr const char* gain = "gain";
constexpr const char* estimated_latent = "estimated_latent";
constexpr const char* end_of_stream = "end_of_stream";
constexpr const char* loss_probability = "loss_probability";
constexpr const char* mean_burst_packets = "mean_burst_packets";
constexpr const char* packets_received = "packets_received";
constexpr const char* packets_lost = "packets_lost";
constexpr const char* buffered_frames = "buffered_frames";
constexpr const char* snr_db = "snr_db";
constexpr const char* command_index = "command_index";
constexpr const char* channel_gain = "channel_gain";
constexpr const char* label = "label";
constexpr const char* probability = "probability";
constexpr const char* understood = "understood";
constexpr const char* burst_index = "burst_index";
constexpr const char* window = "window";
constexpr const char* first_frame = "first_frame";
constexpr const char* last = "last";
constexpr const char* gain_steps = "gain_steps";
constexpr const char* spoken_sample = "spoken_sample";
constexpr const char* speech_end_sample = "speech_end_sample";
constexpr const char* fading = "fading";

/// Every one of them, for bindings and tests.
inline constexpr std::array all{
    frame_index,
    frames,
    capture_time_ns,
    latent,
    level_dbfs,
    distortion,
    tokens_sent,
    tokens_repeated,
    copy_distance,
    tokens_protected,
    comfort,
    skip,
    received_tokens,
    following_tokens,
    lost,
    silence,
    repair,
    concealed_tokens,
    gain,
    estimated_latent,
    end_of_stream,
    loss_probability,
    mean_burst_packets,
    packets_received,
    packets_lost,
    buffered_frames,
    snr_db,
    command_index,
    channel_gain,
    label,
    probability,
    understood,
    burst_index,
    window,
    first_frame,
    last,
    gain_steps,
    spoken_sample,
    speech_end_sample,
    fading,
};

} // namespace gr::largesc::keys

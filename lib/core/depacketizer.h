// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include "jitter_tracker.h"
#include "loss_estimator.h"
#include "packet_format.h"
#include "refusal_watch.h"
#include "skew_tracker.h"

#include <deque>
#include <optional>

namespace largesc {

/// Live, the playout waits so much longer than `deadline_ms`: senders are not punctual.
constexpr int PLAYOUT_MARGIN_MS = 20;

/// One frame for playout, or a repair of an earlier one.
struct received_frame {
    std::uint64_t index = 0; ///< counts the frames that went out, from 0
    tokens_t tokens = erased_frame();
    /// What is there of the frame behind it, so that a gap can be filled from both sides.
    tokens_t following = erased_frame();
    int sent = -1;        ///< tokens that the sender gave it, -1: not known, its packet is lost
    bool lost = false;    ///< nothing of it was received
    bool silence = false; ///< DTX: nothing was to be said
    bool repair = false;  ///< played before, now with more tokens

    /// Tokens before the first missing one.
    int received_tokens() const { return prefix_length(tokens); }
};

struct depacketizer_config {
    int frames_per_packet = 1;
    layout kind = layout::sequential;
    bool live = false;
    int deadline_ms = 80; ///< live: copies may come so much later, and PLAYOUT_MARGIN_MS
    /// offline: packets to wait for copies and reordered packets; with parity PARITY_WINDOW at
    /// least
    int hold_packets = 10;
    /// live: as long the wait may become where packets come late; 0: fixed, deadline_ms
    int max_deadline_ms = 0;
    bool crc = false; ///< each packet ends with a CRC-16
};

/// `packets_lost` are those that were not there when their frames were released; one that comes
/// afterwards is also counted as `late`. `tokens_recovered` came out of parity; `parity_conflicts`
/// are sums that contradict what had come.
struct depacketizer_counters {
    std::uint64_t packets_received = 0, packets_lost = 0, refused_format = 0, refused_crc = 0,
                  duplicates = 0, late = 0, resyncs = 0, repairs = 0, frames_released = 0,
                  frames_lost = 0, silence_frames = 0, skew_dropped = 0, skew_inserted = 0,
                  playout_grown = 0, playout_shrunk = 0, tokens_recovered = 0, parity_conflicts = 0;

    /// Calls `visit(name, value)` for each, the one list of their names.
    template <typename Visit>
    void for_each(Visit&& visit) const
    {
        visit("packets_received", packets_received);
        visit("packets_lost", packets_lost);
        visit("refused_format", refused_format);
        visit("refused_crc", refused_crc);
        visit("duplicates", duplicates);
        visit("late", late);
        visit("resyncs", resyncs);
        visit("repairs", repairs);
        visit("frames_released", frames_released);
        visit("frames_lost", frames_lost);
        visit("silence_frames", silence_frames);
        visit("skew_dropped", skew_dropped);
        visit("skew_inserted", skew_inserted);
        visit("playout_grown", playout_grown);
        visit("playout_shrunk", playout_shrunk);
        visit("tokens_recovered", tokens_recovered);
        visit("parity_conflicts", parity_conflicts);
    }
};

/// Packets of any order and quality in, frames in playout order out. Its own state is bounded
/// whatever comes in; what `pop` returns is the caller's to fetch after each push.
class depacketizer
{
public:
    /// Throws std::invalid_argument that names the refused value.
    explicit depacketizer(const depacketizer_config& config);

    /// Takes the bytes of one packet; returns false when they are no packet of this link.
    bool push(const std::uint8_t* data, std::size_t size, std::int64_t now_ns);
    /// Live: the frame to play now, or none while nothing has started.
    std::optional<received_frame> pull(std::int64_t now_ns);
    /// Frames ready for playout (offline), and repairs.
    std::optional<received_frame> pop();
    /// Makes everything ready. Offline, `total_frames` >= 0 tells how many frames were sent.
    void flush(std::int64_t total_frames = -1);
    /// Live: no packet follows; what waits is pulled as before, and then the stream has ended.
    void expect_end();
    /// The sender has ended: offline its end packet has come, live its last frame has been pulled.
    bool ended() const { return d_config.live ? d_finished : d_end_slot.has_value(); }

    const depacketizer_counters& counters() const { return d_counters; }
    const loss_estimator& losses() const { return d_losses; }
    /// Why most packets are refused, in words; empty while they are not.
    const std::string& refusal_reason() const { return d_refusals.reason(); }
    /// Live: what the packet that was fastest lately waited for its playout.
    std::int64_t playout_delay_ns() const;
    /// Frames up to the newest packet that still wait for their playout.
    int buffered_frames() const;

private:
    /// What is known of one packet slot.
    struct record {
        std::uint64_t slot = 0;
        bool used = false;
        bool received = false;
        std::int64_t came_ns = 0, released_ns = 0;
        std::array<int, MAX_FRAMES_PER_PACKET> code{};
        std::array<std::int64_t, MAX_FRAMES_PER_PACKET> index{}; ///< of playout, -1: not yet
        std::array<tokens_t, MAX_FRAMES_PER_PACKET> tokens{};
    };

    bool take(const std::uint8_t* data, std::size_t size, std::int64_t now_ns);
    void take_end(std::uint8_t sequence);
    std::optional<std::uint64_t> place(const packet_fields& fields);
    bool confirmed(std::uint8_t sequence);
    bool contradicts(const packet_fields& fields, std::uint64_t slot);
    std::uint64_t restart(std::uint8_t sequence);
    void start(std::uint64_t slot, std::int64_t now_ns);
    void stop();
    record& at(std::uint64_t slot);
    tokens_t known_of_next() const;
    std::optional<std::uint64_t> store_sequential(const packet_fields& fields, std::uint64_t slot);
    std::optional<std::uint64_t> store_pair(const packet_fields& fields, std::uint64_t slot);
    std::optional<std::uint64_t> store_parity(const packet_fields& fields, std::uint64_t slot);
    std::optional<std::uint64_t> known_end() const { return d_end_slot ? d_end_slot : d_tail_slot; }
    void store_recovered(const std::vector<recovered_token>& found);
    int hold_packets() const;
    void repaired(const record& r, int i);
    void release_until(std::uint64_t slot);
    std::optional<received_frame> release_frame();
    std::optional<received_frame> next_frame(std::int64_t now_ns);
    void measure_wait(const record& r, std::int64_t played_ns, std::int64_t came_ns);
    void measure_slack(std::uint64_t slot, std::int64_t now_ns);
    void choose_correction();
    bool correction_is_due();
    received_frame insert_frame();
    void rewind(int frames);
    void drop_frame(std::int64_t now_ns);
    void skip_until(std::uint64_t slot, std::int64_t now_ns);
    void skip_backlog(std::int64_t now_ns);
    bool next_is_calm();

    const depacketizer_config d_config;
    const int d_frames;
    const std::int64_t d_least_ns, d_most_ns; ///< limits of the playout delay
    std::array<record, 128> d_records;
    bool d_started = false;    ///< a packet of this stream has been placed
    bool d_playing = false;    ///< live: the first frame of the stream has been released
    bool d_in_silence = false; ///< the last frame heard of was a comfort frame
    bool d_finished = false;
    bool d_first_stream = true;
    std::uint64_t d_first_slot = 0, d_highest = 0;
    std::uint64_t d_next_slot = 0; ///< of the frame that is released next
    int d_next_frame = 0;
    std::uint64_t d_next_index = 0;
    std::int64_t d_first_ns = 0, d_last_ns = 0, d_pulled_ns = 0;
    std::int64_t d_resumed_ns = 0; ///< live: the first pull behind a time without any
    std::int64_t d_start_ns;       ///< that the first frame waits, as long as the last stream did
    std::optional<std::uint64_t> d_end_slot;  ///< as the end packet told
    std::optional<std::uint64_t> d_tail_slot; ///< the same, as a packet of parity alone told
    std::uint8_t d_candidate = 0;
    int d_candidates = 0;
    std::deque<received_frame> d_ready;
    skew_tracker d_skew;
    jitter_tracker d_jitter;
    int d_correction = 0, d_pulls_waited = 0, d_patience = 0, d_fewest_tokens = 0;
    int d_backlog_pulls = 0;
    bool d_adapting = false; ///< the correction follows the jitter, not the skew
    bool d_skipping = false; ///< frames are left out, and how long they waited tells nothing
    depacketizer_counters d_counters;
    loss_estimator d_losses;
    refusal_watch d_refusals;
    parity_solver d_parity;
};

} // namespace largesc

# SPDX-License-Identifier: GPL-3.0-or-later
"""Every block, stopped and started again: each run begins anew and gives what the first one gave.

docs/architecture.md, "Starting again", says what may outlive a run.
"""

import contextlib
import socket
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pmt
import pytest
import soundfile
from gnuradio import largesc
from gnuradio.largesc import keys
from gnuradio.largesc._core import append_crc
from gnuradio.largesc.blocks.messages import (
    end_of_stream,
    make_burst,
    make_packet,
    make_pdu,
    packet_bytes,
    report_dict,
    to_pmt,
)
from gnuradio.largesc.packets.report import Report, decode, encode
from gnuradio.largesc.packets.signature import PacketSigner, overhead_bytes
from gnuradio.largesc.packets.text import checked_text
from gnuradio.largesc.packets.text import encode as encode_text
from gnuradio.largesc.radio.profiles import PROFILES
from translation_trials import CASES as TRANSLATION_CASES
from translation_trials import use_small_models
from trials import SHARE, Trial

GRC = Path(__file__).parent.parent / "grc"
KEY = bytes(range(32))
FRAMES, BURSTS = 30, 10


@dataclass
class Place:
    """What cases need of fixtures."""

    models: str
    folder: Path
    speech: np.ndarray

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def key(self) -> str:
        path = self.folder / "key"
        path.write_bytes(KEY)
        path.chmod(0o600)
        return str(path)


@pytest.fixture
def place(models, tmp_path, speech, monkeypatch) -> Place:
    use_small_models(monkeypatch)
    return Place(models, tmp_path, speech[:48000])


def frames(count: int = FRAMES, **meta: object) -> list:
    """`tokens` messages of an encoder and their end."""
    draw = np.random.default_rng(2)
    messages = []
    for n in range(count):
        facts = {keys.frame_index: n, keys.level_dbfs: -20.0 - n % 5} | meta
        facts[keys.distortion] = np.linspace(9 + n % 3, 1, 9).astype(np.float32)
        facts[keys.latent] = draw.standard_normal(16).astype(np.float32)
        messages.append(("tokens", make_pdu(facts, draw.integers(0, 2048, 8))))
    return [*messages, ("tokens", end_of_stream(count))]


def lossy_frames() -> list:
    """`tokens` messages of a depacketizer, some of them lost or cut, with a repair."""
    messages = frames()
    for n in (4, 5, 11, 12, 13, 14, 20):
        lost = np.full(8, 0xFFFF, dtype=np.uint16)
        lost[: n % 3] = n
        messages[n] = ("tokens", make_pdu({keys.frame_index: n, keys.tokens_sent: 8}, lost))
    repair = {keys.frame_index: 5, keys.repair: True}
    return [*messages[:8], ("tokens", make_pdu(repair, np.arange(8))), *messages[8:]]


def packet(index: int, data: bytes, end: bool = False) -> object:
    meta = {keys.frame_index: index, keys.frames: 1} | ({keys.end_of_stream: True} if end else {})
    return pmt.cons(to_pmt(meta), pmt.cdr(make_packet(data)))


def packets(lost: tuple = ()) -> list:
    """`packets` messages of a packetizer, as they are sent, without those that are lost."""
    trial = Trial(largesc.uep_packetizer(), messages=packetizable, ports_out=["packets"])
    trial.ends, trial.read = FRAMES + 1, lambda port, message: message
    sent = [message for message in trial.run(plain=False)["packets"]]
    return [("packets", m) for n, m in enumerate(sent) if n not in lost]


def packetizable() -> list:
    return frames(**{keys.tokens_sent: 6, keys.tokens_repeated: 3, keys.copy_distance: 1})


def plain_packets(count: int = FRAMES) -> list:
    data = [bytes([n]) * (5 + n % 7) for n in range(count)]
    return [("packets", packet(n, data[n], end=n == count - 1)) for n in range(count)]


def encoder(place: Place) -> Trial:
    block = largesc.mimi_encoder(codec=place.models)
    return Trial(block, place.speech + 0.05, ports_out=["tokens", "status"], ends=26)


def controller(place: Place, **options: object) -> Trial:
    report = report_dict(Report(0.3, 2.0, None, None))

    def messages() -> list:
        found = frames()
        return [*found[:10], ("report", report), *found[10:]]

    block = largesc.adaptive_controller(model=place.models, **options)
    return Trial(block, None, messages, None, ["tokens", "status"], FRAMES + 1)


def concealer(place: Place, method: str) -> Trial:
    block = largesc.moshi_concealer(
        method=method, model=place.models, codec=place.models, mode="offline", samples=2
    )
    return Trial(block, None, lossy_frames, None, ["tokens", "status"], FRAMES + 1)


def decoder(place: Place) -> Trial:
    def messages() -> list:
        fading = frames(**{keys.gain: 0.5})
        return [*frames()[:-1], *[m for m in fading[-6:]]]

    block = largesc.mimi_decoder(codec=place.models, mode="offline")
    return Trial(block, None, messages, np.float32, ["status", "credit"], 1920 * (FRAMES + 5))


def depacketizer(mode: str) -> Trial:
    block = largesc.uep_depacketizer(mode=mode)
    sent = packets(lost=(3, 8, 9, 15))
    ports = ["tokens", "report", "credit", "status"]
    ends = FRAMES + 1 if mode == "offline" else 1
    return Trial(block, None, lambda: sent, None, ports, ends)


def loss_channel() -> Trial:
    block = largesc.loss_channel(
        model="gilbert_elliott", loss_probability=0.3, mean_burst=2.0, jitter_ms=200.0,
        duplicate_probability=0.2, bit_error_rate=0.01,
    )  # fmt: skip
    ports = ["packets", "credit", "status"]
    return Trial(block, None, plain_packets, None, ports, FRAMES // 2)


def signer(place: Place) -> Trial:
    def unsigned(port: str, message: object) -> object:
        if port == "status":
            return message
        # Its counter goes on: the other end takes no number twice.
        return packet_bytes(message)[: -overhead_bytes()]

    block = largesc.packet_signer(key_file=place.key())
    ports = ["packets", "credit", "status"]
    return Trial(block, None, plain_packets, None, ports, FRAMES, unsigned)


def verifier(place: Place) -> Trial:
    core = PacketSigner(KEY)

    def messages() -> list:
        # What was accepted once is refused for ever: each run brings new packets.
        found = []
        for n, (port, message) in enumerate(plain_packets()):
            data = core.sign(packet_bytes(message))
            damaged = bytes([data[0] ^ 1]) + data[1:] if n % 7 == 3 else data
            found.append((port, packet(n, damaged, end=n == FRAMES - 1)))
        return found

    def read(port: str, message: object) -> object:
        # The clocks of both ends are compared.
        key = pmt.intern("sender_ahead_s")
        return pmt.dict_delete(message, key) if port == "status" else message

    def facts() -> dict:
        return {k: v for k, v in block.statistics().items() if k != "sender_ahead_s"}

    block = largesc.packet_verifier(key_file=place.key())
    ports = ["packets", "credit", "status"]
    return Trial(block, None, messages, None, ports, FRAMES - 4, read, facts=facts)


def echo() -> str:
    """A packet modem that sends back what it gets; returns its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            modem, _ = listener.accept()
            # A run that ends may leave what it has not read.
            with modem, contextlib.suppress(OSError):
                while data := modem.recv(4096):
                    modem.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def kiss_packets() -> Trial:
    block = largesc.kiss_packets(listen="", tnc=echo(), call="N0CALL")
    sent = plain_packets()
    return Trial(block, None, lambda: sent, None, ["packets"], FRAMES)


def report_rx() -> Trial:
    reports = [Report(n / 20, 1.0 + n, None, None) for n in range(12)]
    sent = [("packets", make_packet(encode(report, n, True))) for n, report in enumerate(reports)]
    sent[3:3] = [sent[0], ("packets", make_packet(append_crc(b"speech")))]
    return Trial(largesc.report_rx(), None, lambda: sent, None, ["report", "status"], 12)


def report_tx() -> Trial:
    def read(port: str, message: object) -> object:
        # Their numbers go on: the other end may not have stopped.
        return message if port == "status" else str(decode(packet_bytes(message), True)[1])

    messages = [("status", to_pmt({"es_n0_db": 12.0}))]
    for n in range(8):
        messages.append(("report", report_dict(Report(n / 20, 1.5, None, None))))
        messages.append(("send", pmt.PMT_T))
    # Half of them have no SNR in front.
    messages = [*messages[1:9], messages[0], *messages[9:]]
    block = largesc.report_tx(interval_ms=0)
    return Trial(block, None, lambda: messages, None, ["packets", "status"], 8, read)


def link_monitor() -> Trial:
    messages = []
    for n in range(FRAMES):
        messages += [("received", packet(n, b"x" * 20))] * (n % 4 > 0)
        messages += [("sent", packet(n, b"x" * 20))]
    ports = ["rate", "loss", "status"]
    return Trial(largesc.link_monitor(), None, lambda: messages, None, ports, FRAMES)


def status_text() -> Trial:
    shown = [("loss", "lost", "", 1.0, "%"), ("rate", "bits", "seconds", 1.0, "bit/s")]
    messages = [
        ("status", to_pmt({"lost": n, "bits": 100 * n * n, "seconds": n})) for n in range(1, 9)
    ]
    block = largesc.status_text(title="link", shown=shown, console=False)
    # "nothing yet" comes before them.
    return Trial(block, None, lambda: messages, None, ["text"], 9)


def text_tx() -> Trial:
    block = largesc.text_tx(call_sign="N0CALL", text="hello", interval_s=1)
    return Trial(block, None, plain_packets, None, ["packets", "status"], FRAMES + 3)


def text_rx() -> Trial:
    data = checked_text("N0CALL", "hello")
    sent = [("packets", make_packet(encode_text(data, n, True))) for n in range(6)]
    sent[2:2] = [("packets", make_packet(append_crc(b"speech")))]
    return Trial(largesc.text_rx(), None, lambda: sent, None, ["text", "status"], 6)


def status_lamp() -> Trial:
    counts = [("status", to_pmt({"accepted": n})) for n in (0, 1, 2, 2, 2, 5, 5)]
    return Trial(largesc.status_lamp(), None, lambda: counts, None, ["state"], 5)


def speech_tx(place: Place) -> Trial:
    block = largesc.speech_tx(codec=place.models, controller=place.models)
    return Trial(block, place.speech, ports_out=["packets", "status"], ends=26)


def speech_rx(place: Place) -> Trial:
    sent = packets(lost=(3, 8, 9, 15))
    block = largesc.speech_rx(codec=place.models, model=place.models, mode="offline")
    ports = ["report", "credit", "status"]
    return Trial(block, None, lambda: sent, np.float32, ports, 1920 * (FRAMES - 1))


def speech_source(place: Place) -> Trial:
    wav = place.path("in.wav")
    both = np.stack([place.speech, 0.3 * place.speech], axis=1)
    soundfile.write(wav, both[:6000], 16000)
    block = largesc.speech_source(kind="file", wav_file=wav, repeat=False)
    return Trial(block, stream_out=np.float32, ends=8800)


def speech_sink(place: Place) -> Trial:
    wav = place.path("out.wav")
    block = largesc.speech_sink(kind="file", wav_file=wav)

    def written() -> object:
        samples, rate = soundfile.read(wav)
        return rate, samples.tolist()

    return Trial(block, place.speech[:8000], result=written)


def packet_radio_tx(**options: object) -> Trial:
    block = largesc.packet_radio_tx(**options)
    sent = plain_packets(BURSTS)
    return Trial(block, None, lambda: sent, np.complex64, ["status"], 5000)


def packet_radio_rx(profile: str, times: int = 1) -> Trial:
    sent = packet_radio_tx(profile=profile).run()["stream"]
    samples = np.repeat(sent, times).astype(np.complex64)
    rate = times * PROFILES[profile].sample_rate
    block = largesc.packet_radio_rx(profile=profile, sample_rate=rate)

    def facts() -> dict:
        # Of the last burst the header may come too late to be counted.
        counted = block.statistics().items()
        return {k: v for k, v in counted if k not in ("syncs", "headers") or profile != "wide"}

    # What `status` says of bursts that are on their way is another thing each time.
    return Trial(block, samples, ports_out=["packets", "symbols"], ends=BURSTS, facts=facts)


def radio_channel(fading: str) -> Trial:
    block = largesc.radio_channel(
        snr_db=10.0, carrier_offset_hz=100.0, clock_ppm=50.0, fading=fading, doppler_hz=5.0,
        delay_us=400.0, seed=3,
    )  # fmt: skip
    samples = np.exp(1j * np.arange(20000)).astype(np.complex64)
    return Trial(block, samples, stream_out=np.complex64, ends=19900)


def two_hums() -> np.ndarray:
    """What passes for two commands."""
    t = np.arange(60000) / 24000
    loud = ((t > 0.4) & (t < 0.8)) | ((t > 1.5) & (t < 1.9))
    noise = 1e-3 * np.random.default_rng(0).standard_normal(len(t))
    return (noise + 0.3 * np.sin(2 * np.pi * 200 * t) * loud).astype(np.float32)


def task_encoder(place: Place) -> Trial:
    block = largesc.task_encoder(model=place.models, symbols=32)
    # Two bursts and the end.
    return Trial(block, two_hums(), ports_out=["bursts", "packets", "status"], ends=3)


def task_decider(place: Place) -> Trial:
    draw = np.random.default_rng(5)

    def messages() -> list:
        noise = draw.standard_normal((BURSTS, 2, 32)) if not found else None
        for n in range(BURSTS if noise is not None else 0):
            burst = make_burst({keys.snr_db: float(n)}, noise[n, 0] + 1j * noise[n, 1])
            found.append(("bursts", burst))
        return found

    found: list = []
    block = largesc.task_decider(model=place.models)
    return Trial(block, None, messages, None, ["decision", "status"], BURSTS)


def task_tx(place: Place) -> Trial:
    block = largesc.task_tx(model=place.models, symbols=32)
    # Silence in front, two bursts with preamble and guard, and some of the silence behind.
    symbols = 16 + 2 * (256 + 32 + 12) + 400
    return Trial(block, two_hums(), stream_out=np.complex64, ports_out=["status"], ends=4 * symbols)


def task_rx(place: Place) -> Trial:
    samples = task_tx(place).run()["stream"].astype(np.complex64)
    block = largesc.task_rx(model=place.models, symbols=32)
    return Trial(block, samples, ports_out=["decision", "bursts"], ends=2)


def analogue_speech_tx(place: Place) -> Trial:
    block = largesc.analogue_speech_tx()
    # Three bursts of 0.64 s, the last one filled with silence.
    return Trial(block, place.speech, stream_out=np.complex64, ends=3 * 4608)


def analogue_speech_rx(place: Place) -> Trial:
    samples = analogue_speech_tx(place).run()["stream"].astype(np.complex64)
    block = largesc.analogue_speech_rx()
    # The codec's 1920 samples for each 576, and what still waits at the end.
    ends = (len(samples) // 576 + 8) * 1920
    return Trial(block, samples, list, np.float32, ["symbols", "status"], ends)


# Block: its cases, by name.
CASES = {
    "mimi_encoder": {"": encoder},
    "adaptive_controller": {
        "exact": lambda place: controller(place, dtx=True),
        "learned": lambda place: controller(place, policy="learned"),
    },
    "uep_packetizer": {
        "": lambda place: Trial(
            largesc.uep_packetizer(layout="pair"), None, packetizable, None,
            ["packets", "credit", "status"], FRAMES + 1,
        )
    },
    "loss_channel": {"": lambda place: loss_channel()},
    "uep_depacketizer": {
        "offline": lambda place: depacketizer("offline"),
        "live": lambda place: depacketizer("live"),
    },
    "moshi_concealer": {
        "interpolate": lambda place: concealer(place, "interpolate"),
        "repeat": lambda place: concealer(place, "repeat"),
    },
    "mimi_decoder": {"": decoder},
    "packet_signer": {"": signer},
    "packet_verifier": {"": verifier},
    "kiss_packets": {"": lambda place: kiss_packets()},
    "report_rx": {"": lambda place: report_rx()},
    "report_tx": {"": lambda place: report_tx()},
    "link_monitor": {"": lambda place: link_monitor()},
    "text_tx": {"": lambda place: text_tx()},
    "text_rx": {"": lambda place: text_rx()},
    "status_lamp": {"": lambda place: status_lamp()},
    "status_text": {"": lambda place: status_text()},
    "speech_tx": {"": speech_tx},
    "speech_rx": {"": speech_rx},
    "speech_source": {"": speech_source},
    "speech_sink": {"": speech_sink},
    "packet_radio_tx": {
        "narrow": lambda place: packet_radio_tx(profile="narrow"),
        "wide": lambda place: packet_radio_tx(profile="wide"),
        "resampled": lambda place: packet_radio_tx(profile="narrow", sample_rate=50e3),
    },
    "packet_radio_rx": {
        "narrow": lambda place: packet_radio_rx("narrow"),
        "wide": lambda place: packet_radio_rx("wide"),
        "resampled": lambda place: packet_radio_rx("narrow", 3),
    },
    "radio_channel": {
        "none": lambda place: radio_channel("none"),
        "rayleigh": lambda place: radio_channel("rayleigh"),
        "selective": lambda place: radio_channel("selective"),
    },
    "task_encoder": {"": task_encoder},
    "task_decider": {"": task_decider},
    "task_tx": {"": task_tx},
    "task_rx": {"": task_rx},
    "analogue_speech_tx": {"": analogue_speech_tx},
    "analogue_speech_rx": {"": analogue_speech_rx},
} | TRANSLATION_CASES  # fmt: skip


def test_no_block_is_without_a_case():
    blocks = {path.name.split(".")[0].removeprefix("largesc_") for path in GRC.glob("*.block.yml")}
    assert blocks == set(CASES)


@pytest.mark.parametrize(
    ("block", "case"), [(block, case) for block, cases in CASES.items() for case in cases]
)
def test_second_run_gives_what_the_first_gave(block, case, place):
    trial = CASES[block][case](place)
    first = trial.run()
    trial.run(whole=False)
    compare(first, trial.run(like=first))
    compare(first, trial.run(like=first))


def compare(first: dict, again: dict) -> None:
    """What came out is the same on each port, and so are the counters."""
    assert first.keys() == again.keys()
    for name, found in first.items():
        other = again[name]
        if name == "stream":
            count = min(len(found), len(other))
            assert count >= SHARE * len(found), (count, len(found))
            # In-tree filters round by where in a buffer they are.
            assert np.abs(found[:count] - other[:count]).max() < 1e-3
        elif name == "status":
            # Of several blocks, in any order.
            assert not Counter(found) - Counter(other)
        elif isinstance(found, list):
            # The first port ends the run; on others something may still have come.
            assert other[: len(found)] == found, name
        elif name == "statistics":
            assert flat(other) == pytest.approx(flat(found), rel=0.01)
        else:
            assert other == found, name


def flat(facts: dict) -> dict:
    """Counters by name; of a hierarchical block, by those within as well."""
    found = {}
    for name, value in facts.items():
        inner = value if isinstance(value, dict) else {"": value}
        found |= {f"{name} {k}": v for k, v in inner.items() if not isinstance(v, str)}
    return found

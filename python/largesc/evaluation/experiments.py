# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``largesc evaluate`` compares: named sets of systems, channels and measures."""

from dataclasses import dataclass, replace
from pathlib import Path

from ..channel.loss_timeline import LossChannel
from ..options import PARITY_WINDOW
from ..speech.format import FRAME_MS
from .systems.aac import Aac
from .systems.codec2 import Codec2
from .systems.lyra import Lyra
from .systems.opus import Opus
from .systems.original import Original
from .systems.own import OwnSystem
from .systems.parity import Parity
from .systems.system import System
from .utterances import MOST_SECONDS

WORDS = ("words_tiny", "words_base")
NO_LOSS = LossChannel(0.0)


@dataclass(frozen=True)
class Experiment:
    """One comparison; a setting of ``largesc evaluate``.

    Attributes:
        systems: their names are unique.
        channels: all systems meet the same losses in each.
        measures: names of :data:`.measures.MEASURES`.
        utterances: at most so many, spread over the speakers.
        reference: system that the others are compared with, utterance by utterance.
        lossless: systems that only go through :data:`NO_LOSS`.
        drawings: of the losses, for each utterance.
        most_seconds: utterances are no longer.
        recogniser: of the measure ``words_given``, see :func:`.recogniser.weights_folder`.
    """

    systems: tuple[System, ...]
    channels: tuple[LossChannel, ...]
    measures: tuple[str, ...]
    utterances: int
    reference: str
    lossless: tuple[System, ...] = ()
    drawings: int = 1
    most_seconds: float = MOST_SECONDS
    recogniser: str = ""

    @property
    def all_systems(self) -> tuple[System, ...]:
        """Those that lose packets and those that do not."""
        return self.systems + self.lossless


@dataclass(frozen=True)
class Sources:
    """What a setting is built from.

    Attributes:
        codec, lm, controller: model sources of our systems.
        lyra, tplcnet: folders of the competitors' models, None: not there.
        traces: loss traces.
        more_lms: name and model source of further language models, for ``ablation``.
    """

    codec: str = "embedded"
    lm: str = "embedded"
    controller: str = "embedded"
    lyra: Path | None = None
    tplcnet: Path | None = None
    traces: tuple[Path, ...] = ()
    more_lms: tuple[tuple[str, str], ...] = ()


def grid(losses: list[float], bursts_ms: list[float]) -> tuple[LossChannel, ...]:
    """No loss once, then each loss rate with each mean burst, 0 for independent slots."""
    none = [NO_LOSS] if 0.0 in losses else []
    lossy = [LossChannel(p, burst) for burst in bursts_ms for p in losses if p > 0.0]
    return (*none, *lossy)


def ours(sources: Sources, **facts: object) -> OwnSystem:
    """The default, or what ``facts`` make of it."""
    named = {"codec": sources.codec, "lm": sources.lm, "controller": sources.controller}
    return OwnSystem(**({"name": "ours"} | named | facts))


def patient(sources: Sources) -> list[OwnSystem]:
    """With parity in place of copies: twelve packets of one frame, or of two, are waited for."""
    wait_ms = FRAME_MS * PARITY_WINDOW
    two = {"layout": "parity, two frames a packet", "deadline_ms": 2 * wait_ms}
    return [
        ours(sources, name="ours, parity, waits 1 s", layout="parity", deadline_ms=wait_ms),
        ours(sources, name="ours, parity, waits 2 s", **two),
    ]


def published(sources: Sources, rate_bps: float) -> list[OwnSystem]:
    """The paper's layout and policy on our models, read both ways, with one sample a token."""
    facts = {"policy": "learned", "rate_bps": rate_bps, "concealer": "lm", "samples": 1}
    return [
        ours(sources, name="LargeSC as published, two packets a pair", layout="pair", **facts),
        ours(
            sources,
            name="LargeSC as published, one packet a pair",
            layout="pair in one packet",
            **facts,
        ),
    ]


def quick(sources: Sources) -> Experiment:
    """Returns an experiment that takes a few minutes on two cores."""
    systems = (
        ours(sources),
        ours(sources, name="ours, with language model", concealer="lm"),
        published(sources, 1500.0)[0],
        Opus(6000, 60),
        Codec2("1200"),
        Lyra(sources.lyra, 3200),
    )
    channels, measures = grid([0.0, 0.2], [0.0, 240.0]), ("visqol", "plcmos", "stoi")
    return Experiment(systems, channels, measures, 3, "ours")


def sweep(sources: Sources) -> Experiment:
    """The comparison whose results are in docs/results."""
    systems = (
        ours(sources),
        ours(sources, name="ours, never waits", wait=False),
        *patient(sources),
        *published(sources, 1500.0),
        Parity(4, 4, 2, ours(sources)),
        Codec2("1200"),
        Lyra(sources.lyra, 3200),
        Opus(6000, 60),
    )
    measures = ("visqol", "visqol_lattice", "plcmos", "stoi", *WORDS, "f0", "speaker")
    return Experiment(systems, grid([0.0, 0.1, 0.2, 0.3], [0.0, 240.0]), measures, 24, "ours")


def words(sources: Sources) -> Experiment:
    """What is understood, by a recogniser; the original and bare tokens tell where words go."""
    plain = {"policy": "fixed", "rate_bps": 0.0}
    systems = (
        ours(sources),
        *patient(sources),
        published(sources, 1500.0)[0],
        Lyra(sources.lyra, 3200),
        Opus(6000, 60),
        Codec2("1200"),
    )
    bare = (ours(sources, name=f"{n} tokens alone", tokens=(n, 0), **plain) for n in (8, 4))
    channels = (*grid([0.0, 0.1, 0.3], [0.0]), LossChannel(0.2, 240.0))
    return Experiment(
        systems, channels, WORDS, 24, "ours", (Original(), *bare), drawings=3, most_seconds=30.0
    )


def network(sources: Sources) -> Experiment:
    """Over UDP/IP, where headers weigh most; also through the traces that are given."""
    two = {"layout": "two frames a packet", "deadline_ms": 160}
    systems = (
        ours(sources, name="ours, two frames a packet", **two),
        ours(sources),
        published(sources, 1500.0)[1],
        Lyra(sources.lyra, 3200),
        Opus(6000, 60),
    )
    plain = sweep(sources)
    channels = (*plain.channels, *traced(sources))
    return Experiment(systems, channels, plain.measures, 12, systems[0].name)


def alone(sources: Sources) -> Experiment:
    """Every competitor by itself, without losses: one that looks weak here is a mistake of ours."""
    others = [s for s in full(sources).systems if isinstance(s, Opus | Codec2 | Lyra | Aac)]
    systems = (ours(sources), *others)
    return Experiment(systems, grid([0.0], []), sweep(sources).measures, 8, "ours")


def ablation(sources: Sources) -> Experiment:
    """The paper's ablations at one rate, and other language models."""
    systems = [
        ours(sources),
        ours(sources, name="with language model", concealer="lm"),
        ours(sources, name="repeat", concealer="repeat"),
        ours(sources, name="no copies", policy="fixed", tokens=(8, 0)),
        ours(sources, name="policy table", policy="table"),
        ours(sources, name="policy learned", policy="learned"),
        ours(sources, name="policy fixed, 5 and 3 copies", policy="fixed", tokens=(5, 3)),
        ours(sources, name="language model in 8 bit", concealer="lm", int8=True),
        *(ours(sources, name=name, concealer="lm", lm=source) for name, source in sources.more_lms),
    ]
    losses = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]
    measures = ("visqol", "plcmos", "stoi")
    return Experiment(tuple(systems), grid(losses, [0.0, 240.0]), measures, 8, "ours")


def concealment(sources: Sources) -> Experiment:
    """The concealers alone: all tokens once, no copies."""
    plain = {"policy": "fixed", "rate_bps": 0.0}
    one = {"concealer": "lm", "samples": 1}
    systems = [
        ours(sources, name="frames around", **plain),
        ours(sources, name="frames around and language model", concealer="lm", **plain),
        ours(sources, name="language model, one sample", **one, **plain),
        ours(sources, name="language model, most likely token", temperature=0.0, **one, **plain),
        ours(sources, name="repeat", concealer="repeat", **plain),
        ours(sources, name="silence", concealer="silence", **plain),
        *(ours(sources, name=n, concealer="lm", lm=lm, **plain) for n, lm in sources.more_lms),
    ]
    measures = ("visqol", "visqol_lattice", "plcmos", "stoi", WORDS[0])
    channels = grid([0.2, 0.4], [0.0, 240.0])
    return Experiment(tuple(systems), channels, measures, 8, "repeat")


def prefixes(sources: Sources) -> Experiment:
    """Only the first tokens of each frame are sent, nothing is lost: as they are, or completed."""
    plain = {"policy": "fixed", "rate_bps": 0.0}
    concealers = (("alone", "repeat"), ("and frames around", "interpolate"))
    systems = [
        ours(sources, name=f"{n} tokens, {name}", tokens=(n, 0), concealer=concealer, **plain)
        for n in (2, 4)
        for name, concealer in concealers
    ]
    measures = ("visqol", "visqol_lattice", "plcmos", "stoi")
    return Experiment(tuple(systems), grid([0.0], []), measures, 16, systems[0].name)


def full(sources: Sources) -> Experiment:
    """Everything, for whoever has the machines: days on two cores."""
    rates = [ours(sources, name=f"ours, {r} bit/s", rate_bps=float(r)) for r in (1000, 2000, 2500)]
    offline = ours(sources, name="ours, copies up to 320 ms later", deadline_ms=320)
    systems = [
        *sweep(sources).systems,
        *ablation(replace(sources, more_lms=())).systems[1:],
        *rates,
        offline,
        Parity(4, 2, 1, ours(sources)),
        Parity(5, 8, 2, ours(sources)),
        *(
            Opus(bps, ms)
            for bps in (6000, 8000, 16000)
            for ms in (20, 60)
            if (bps, ms) != (6000, 60)
        ),
        Codec2("700C"),
        Codec2("2400"),
        Lyra(sources.lyra, 6000),
        Lyra(sources.lyra, 9200),
        Lyra(sources.lyra, 3200, sources.tplcnet or Path("tPLCnet_s.tflite")),
        Aac(),
    ]
    losses = [round(0.05 * n, 2) for n in range(11)]
    channels = [*grid(losses, [0.0, 160.0, 240.0, 400.0])]
    channels += traced(sources)
    measures = sweep(sources).measures
    return Experiment(tuple(systems), tuple(channels), measures, 106, "ours")


def traced(sources: Sources) -> list[LossChannel]:
    """Returns a channel for each loss trace of ``sources``."""
    return [LossChannel(share_lost(path), trace=str(path)) for path in sources.traces]


def share_lost(trace: Path) -> float:
    """Share of ones among the flags of a trace.

    Raises:
        ValueError: it cannot be read, or has no flags.
    """
    try:
        flags = [c for c in trace.read_text() if c in "01"]
    except OSError as error:
        raise ValueError(f"trace {trace} cannot be read: {error}") from error
    if not flags:
        raise ValueError(f"trace {trace} holds no flags: expected 0 and 1")
    return flags.count("1") / len(flags)


# Their names are those of ``--setting``.
EXPERIMENTS = {
    build.__name__: build
    for build in (quick, sweep, words, network, alone, ablation, concealment, prefixes, full)
}

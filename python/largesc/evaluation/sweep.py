# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs an experiment on Ray, here or on a cluster; a finished cell is kept and never done again.

A cell is one system on one utterance through one channel. Results are in ``results.csv`` and
``results.parquet``, times, which no seed can repeat, in ``times.csv``, decoded speech of the first
utterances, or of all, in ``audio/``.
"""

from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np

from ..channel.loss_timeline import LossChannel, lost_at
from ..models.store import resolve
from ..ray_cluster import joined_ray
from ..speech.files import read_audio, write_audio
from ..speech.format import SAMPLE_RATE_HZ
from ..tables import write_csv
from .cache import Cache, key_of
from .experiments import NO_LOSS, Experiment
from .measures import ENGLISH_MEASURES, measure
from .systems.system import UDP_BYTES, Packets, System

# Utterances whose speech is kept, for the report's players.
HEARD = 2
# Of the rows, those that differ from run to run.
TIMES = ("compute_share", "compute_ms_p50", "compute_ms_p95")


@dataclass(frozen=True)
class Cell:
    """One system on one utterance through one channel; ``seed`` draws the losses.

    ``drawing`` numbers the drawings of one channel, ``text`` is what is said, None if unknown;
    ``recogniser`` is that of ``words_given``.
    """

    utterance: str
    corpus: str
    seed: int
    system: System
    channel: LossChannel
    measures: tuple[str, ...]
    drawing: int = 1
    text: str | None = None
    recogniser: str = ""

    def key(self) -> str:
        """The same for the same work with the same models."""
        of_system = sorted((k, v) for k, v in vars(self.system).items() if not k.startswith("_"))
        parts = (self.utterance, self.seed, type(self.system).__name__, of_system)
        judged = self.measures, self.text, self.recogniser
        return key_of(*parts, self.channel, *judged, models_of(self.system))


def models_of(system: System) -> list[str]:
    """What tells the models of a system from others in the same place: their sums or sizes."""
    own = getattr(system, "own", system)
    found = []
    for part in ("codec", "lm", "controller"):
        if source := getattr(own, part, None):
            folder = resolve(source, part)
            sums = folder / "sha256.json"
            found.append(sums.read_text() if sums.exists() else str(folder.stat().st_mtime))
    return found


def run_cell(
    cell: Cell, speech: np.ndarray, packets: Packets, encode_s: float
) -> tuple[dict, np.ndarray]:
    """The row of a cell, and its decoded speech, from ``packets`` that took ``encode_s``."""
    seconds = len(speech) / SAMPLE_RATE_HZ
    shut = cell.channel.draw(seconds, cell.seed)
    begin = process_time()
    lost = lost_at(shut, packets.leave_ms)
    decoded = cell.system.decode(packets, lost, len(speech))
    computing_s = process_time() - begin + encode_s
    sent_s = packets.leave_ms[-1] / 1000.0
    radio_bps = 8.0 * packets.radio_bytes.sum() / sent_s
    english = not cell.corpus.endswith("-de")
    names = [n for n in cell.measures if english or n not in ENGLISH_MEASURES]
    row = {
        "system": cell.system.name,
        "channel": cell.channel.name,
        "loss": round(cell.channel.loss, 4),
        "utterance": cell.utterance,
        "drawing": cell.drawing,
        "seconds": round(seconds, 2),
        "packets_lost": round(float(lost.mean()), 4),
        "payload_bps": round(packets.payload_bits / sent_s),
        "radio_bps": round(radio_bps),
        "udp_bps": round(radio_bps + 8.0 * UDP_BYTES * len(lost) / sent_s),
        "framing_ms": round(cell.system.latency.framing_ms, 1),
        "waiting_ms": round(cell.system.latency.waiting_ms, 1),
        "compute_share": round(computing_s / seconds, 4),
    }
    values = measure(names, speech, decoded.speech, cell.text, cell.recogniser)
    rounded = {k: v if isinstance(v, str) else round(v, 4) for k, v in values.items()}
    return row | decoded.facts | rounded, decoded.speech


def run_group(cells: list[Cell], speech: np.ndarray) -> list[tuple[str, dict, np.ndarray]]:
    """Cells of one utterance and system: key, row and decoded speech of each."""
    import torch

    torch.set_num_threads(1)
    # Models are loaded before the clock runs.
    system, channel = cells[0].system, cells[0].channel
    start = speech[: SAMPLE_RATE_HZ // 2]
    packets = system.encode(start, channel)
    system.decode(packets, np.zeros(len(packets.leave_ms), dtype=bool), len(start))
    found, channel = [], None
    for cell in cells:
        # All drawings of a channel lose of the same packets.
        if cell.channel != channel:
            channel, begin = cell.channel, process_time()
            packets = system.encode(speech, channel)
            encode_s = process_time() - begin + packets.facts.get("saved_s", 0.0)
        found.append((cell.key(), *run_cell(cell, speech, packets, encode_s)))
    return found


def cells_of(experiment: Experiment, utterances: list[dict], seed: int) -> list[Cell]:
    """All cells of an experiment, utterance by utterance.

    Losses are drawn with ``seed``, one more thousand for each utterance, and one more million for
    each drawing. Where some utterances have a ``text`` and one has none, that one's words are not
    counted.
    """
    with_text = any(row.get("text") for row in utterances)
    cells = []
    for number, row in enumerate(utterances):
        text = (row.get("text") or "") if with_text else None
        judged = {
            "measures": experiment.measures,
            "text": text,
            "recogniser": experiment.recogniser,
        }
        for system in experiment.all_systems:
            for channel in (NO_LOSS,) if system in experiment.lossless else experiment.channels:
                drawings = experiment.drawings if channel.loss else 1
                for drawing in range(1, drawings + 1):
                    drawn = seed + 1000 * number + 1_000_000 * (drawing - 1)
                    about = row["path"], row["corpus"], drawn, system, channel
                    cells.append(Cell(*about, drawing=drawing, **judged))
    return cells


class Results:
    """The rows that are there, and the tables made from them.

    Of the first ``heard`` utterances speech is kept as well.
    """

    def __init__(self, folder: Path, heard: int = HEARD) -> None:
        self.heard = heard
        self.folder, self.cells = folder, Cache(folder / "cells")
        (folder / "audio").mkdir(exist_ok=True)

    def add(self, key: str, row: dict, speech: np.ndarray, number: int) -> None:
        """Keeps a cell, and its speech if it is of the first utterances."""
        if number <= self.heard:
            write_audio(self.folder / "audio" / audio_name(row, number), speech)
        self.cells.add(key, row)

    def write_tables(self, cells: list[Cell]) -> list[dict]:
        """Writes the CSVs and the Parquet file of ``cells``, in their order; returns the rows."""
        rows = [self.cells[key] for cell in cells if (key := cell.key()) in self.cells]
        values = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
        named = ("system", "channel", "loss", "utterance", "drawing")
        times = [{k: v for k, v in row.items() if k in named + TIMES} for row in rows]
        write_csv(values, self.folder / "results.csv")
        write_csv(times, self.folder / "times.csv")
        import pyarrow.csv
        import pyarrow.parquet

        table = pyarrow.csv.read_csv(self.folder / "results.csv")
        pyarrow.parquet.write_table(table, self.folder / "results.parquet")
        return rows


def audio_name(row: dict, number: int) -> str:
    """File of a cell's decoded speech, of the ``number``-th utterance."""
    text = f"{number} {row['system']} {row['channel']} {100 * float(row['loss']):g}"
    if int(row.get("drawing", 1)) > 1:
        text += f" {row['drawing']}"
    return "".join(c if c.isalnum() else "_" for c in text) + ".flac"


def run(
    experiment: Experiment,
    utterances: list[dict],
    output: Path,
    seed: int = 1,
    address: str | None = None,
    processes: int = 2,
    keep_audio: bool = False,
) -> list[dict]:
    """Computes what is missing of an experiment and returns all its rows.

    Args:
        experiment: its systems are all installed.
        utterances: rows with ``path``, ``corpus`` and ``file``.
        output: folder; cells found in it are not computed again.
        seed: of the losses, see :func:`cells_of`.
        address: of a Ray cluster; None: a Ray of its own, with ``processes`` workers.
        processes: how many cells run at a time on this machine.
        keep_audio: of all utterances, so that words can be counted again, see ``studies/words.py``.

    Raises:
        ValueError: Ray is not installed, or no cluster at ``address``.
    """
    results = Results(output, len(utterances) if keep_audio else HEARD)
    cells = cells_of(experiment, utterances, seed)
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        if cell.key() not in results.cells:
            groups.setdefault((cell.utterance, cell.system.name), []).append(cell)
    if groups:
        files = {row["path"]: Path(row["file"]) for row in utterances}
        for number, path in enumerate(list(files.values())[: results.heard], 1):
            write_audio(output / "audio" / f"{number}_original.flac", read_audio(path))
        _compute(groups, files, results, address, processes)
    return results.write_tables(cells)


def _compute(
    groups: dict[tuple, list[Cell]],
    files: dict[str, Path],
    results: Results,
    address: str | None,
    processes: int,
) -> None:
    from tqdm import tqdm

    ray = joined_ray(address, processes)
    try:
        # A worker that dies takes with it what it was doing, and that is done again.
        remote = ray.remote(num_cpus=1, max_retries=5)(run_group)
        waiting, running = list(groups.items()), {}
        numbers = {utterance: number for number, utterance in enumerate(files, 1)}
        width = max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))
        with tqdm(total=sum(map(len, groups.values())), unit="cell", smoothing=0.1) as bar:
            while waiting or running:
                while waiting and len(running) < width:
                    (utterance, _), group = waiting.pop(0)
                    speech = read_audio(files[utterance])
                    running[remote.remote(group, speech)] = group
                (done, *_), _ = ray.wait(list(running), num_returns=1)
                for (key, row, speech), cell in zip(ray.get(done), running.pop(done), strict=True):
                    results.add(key, row, speech, numbers[cell.utterance])
                    bar.update()
    finally:
        ray.shutdown()

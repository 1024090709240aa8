# SPDX-License-Identifier: GPL-3.0-or-later
"""Cuts commands and other single words out of speech whose text is known.

    largesc train task-words --speech TABLE_OR_FOLDER --work WORK

``WORK/words.tsv`` and the files beside it are a table of recordings for ``--commands`` of
``task-teacher`` and ``task``, beside recordings of commands: of many more speakers than these have.
The speech has its text in a column ``text`` or in files beside it, as LibriSpeech does.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import soundfile

from ...evaluation.recogniser import JUDGE, SECOND
from ...files import replacing
from ...speech.files import read_audio, rows_of, write_audio
from ...speech.format import SAMPLE_RATE_HZ
from ..commands import words_of
from ..config import recipe_parser, start
from ..word_cuts import LONGEST_S, WordPlaces, cut

DEFAULT_CONFIG = Path(__file__).parent / "task_words.yaml"
CONFIG_KEYS = ("seed", "labels", "others")
COLUMNS = ("path", "label", "speaker", "corpus")
SAY_EACH = 50


def chosen_rows(rows: list[dict], labels: list[str]) -> list[dict]:
    """Utterances whose text has one of the labels in it.

    Raises:
        ValueError: there is none.
    """
    found = [r for r in rows if set(words_of(r.get("text") or "")) & set(labels)]
    if not found:
        raise ValueError("no text of --speech has one of the labels in it: give a column text")
    return found


def cut_all(
    row: dict, folder: Path, places: WordPlaces, config: dict, number: int, work: Path
) -> list[dict]:
    """Writes the words of one utterance; rows of the table."""
    try:
        speech = read_audio(folder / row["path"])
    except (OSError, RuntimeError, soundfile.LibsndfileError) as error:
        print(f"{row['path']} cannot be read: {error}", flush=True)
        return []
    if len(speech) > LONGEST_S * SAMPLE_RATE_HZ:
        return []
    words = places(speech, row["text"])
    commands = [w for w in words if w.text in config["labels"]]
    others = [w for w in words if w.text not in config["labels"] and len(w.text) > 1]
    drawn = np.random.default_rng([config["seed"], number]).permutation(len(others))
    found = []
    for place, word in enumerate([*commands, *[others[n] for n in drawn[: config["others"]]]]):
        samples = cut(speech, word)
        if len(samples):
            path = f"{number:06d}_{place}.flac"
            write_audio(work / path, samples)
            found.append((path, word.text, row["speaker"], row["corpus"]))
    return [dict(zip(COLUMNS, one, strict=True)) for one in found]


def train(config: dict, source: Path, work: Path, recogniser: str) -> int:
    """Cuts what is not cut yet, and returns how many words there are.

    Raises:
        ValueError: no text has a label in it, or ``work`` holds words of other speech.
    """
    folder, rows = rows_of(source)
    rows = chosen_rows(rows, config["labels"])
    told = json.dumps([config, recogniser, [[r["path"], r["text"]] for r in rows]]).encode()
    kept = work / "words.json"
    facts = {"sum": hashlib.sha256(told).hexdigest(), "done": 0, "rows": []}
    work.mkdir(parents=True, exist_ok=True)
    if kept.exists():
        facts, expected = json.loads(kept.read_text()), facts["sum"]
        if facts["sum"] != expected:
            raise ValueError(f"{work} holds words of other speech or settings: take another folder")
    places = WordPlaces(recogniser)
    for number in range(facts["done"], len(rows)):
        facts["rows"] += cut_all(rows[number], folder, places, config, number, work)
        facts["done"] = number + 1
        if facts["done"] % SAY_EACH == 0 or facts["done"] == len(rows):
            with replacing(kept) as partial:
                partial.write_text(json.dumps(facts))
            print(f"words: {len(facts['rows'])} of {number + 1}/{len(rows)} utterances", flush=True)
    lines = ["\t".join(COLUMNS), *("\t".join(row.values()) for row in facts["rows"])]
    with replacing(work / "words.tsv") as partial:
        partial.write_text("\n".join(lines) + "\n")
    return len(facts["rows"])


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train task-words`` with ``arguments``; None: those of the process."""
    parser = recipe_parser("task-words", __doc__.split("\n\n")[0], DEFAULT_CONFIG)
    parser.add_argument("--speech", type=Path, required=True, help="folder, or table with text")
    parser.add_argument(
        "--recogniser", default=SECOND, help="that finds the words, never the judge [%(default)s]"
    )
    args = parser.parse_args(arguments)
    if args.recogniser == JUDGE:
        parser.error(f"--recogniser {JUDGE} judges and must not teach: use {SECOND}, or a folder")
    train(start(args, CONFIG_KEYS), args.speech, args.work, args.recogniser)


if __name__ == "__main__":
    main()

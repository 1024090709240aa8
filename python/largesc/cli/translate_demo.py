# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts in another language, said in English behind a fading channel."""

import argparse
from pathlib import Path

import numpy as np

from ..features.log_mel import UPLINK_BPS
from ..files import writable_folder
from ..speech.files import resampled, write_audio
from ..speech.format import SAMPLE_RATE_HZ
from ..speech.prompts import RATE_HZ, prompts, speech_of
from ..studies.study import plt
from ..studies.translation_picture import draw_translation
from ..tasks.translation_loopback import Lags, TranslationLoopback
from .say import say
from .translate import Screen, check_used, options_of, subtitles

# Short ones, of those that no model was fitted to. The table of the study has all.
PROMPTS = ("conf-getpin", "cannot-complete-as-dialed", "confbridge-conf-begin")
PAUSE_S = 1.0


def demo(args: argparse.Namespace) -> int:
    """Writes speech, subtitles and a picture to ``args.output``, and prints what was understood."""
    options = options_of(args)
    check_used(args, options)
    output = writable_folder(Path(args.output))
    held = prompts(options.language, fitted=False)
    chosen = [p for p in held if p.name in PROMPTS] or held[:3]
    pause = np.zeros(int(PAUSE_S * SAMPLE_RATE_HZ), dtype=np.float32)
    source = np.concatenate(
        [x for p in chosen for x in (resampled(speech_of(p), RATE_HZ), pause)]
    ).astype(np.float32)
    link = TranslationLoopback(options)
    for prompt in chosen:
        print(f"said ({prompt.language}):  {prompt.text}\nreference:  {prompt.reference}")
    air = "no channel" if options.channel == "none" else f"{options.channel}, {options.snr_db:g} dB"
    symbols_per_s = options.symbols * link.model.features_per_s
    air = f"radio {options.radio}, {air}" if options.radio else air
    print(f"\nunderstood ({air}, {symbols_per_s:g} symbols a second):")
    screen, steps, lags = Screen(False), [], Lags()
    for step in link.run(np.array_split(source, max(1, len(source) // 960))):
        steps.append(step)
        lags.add(step)
        screen.show(step.text, step.text_s)
    screen.end()
    speech = link.speech()
    write_audio(output / "source.wav", source)
    write_audio(output / "english.wav", speech)
    (output / "english.srt").write_text(
        subtitles([phrase for step in steps for phrase in step.phrases])
    )
    title = f"{options.language} to English, {air}, {symbols_per_s:g} symbols a second"
    figure = draw_translation(title, source, steps, speech)
    figure.savefig(output / "translation.png", dpi=80)
    plt.close(figure)
    facts = lags.figures()
    say(
        f"median from the end of a phrase to its first English word {facts['lag_first_s']:.1f} s, "
        f"to all of its text {facts['lag_text_s']:.1f} s; computing {link.computing_s:.1f} s for "
        f"{link.spoken_s:.1f} s; device to edge {UPLINK_BPS / 1000:g} kbit/s; "
        f"source.wav, english.wav, english.srt and translation.png are in {output}/"
    )
    return 0

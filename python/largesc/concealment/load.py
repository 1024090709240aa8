# SPDX-License-Identifier: GPL-3.0-or-later
"""Concealers, and the models in them, from their sources.

torch is imported for a method that needs it only.

An empty file ``with_text`` beside a language model says that it was adapted with text.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..codec.load import load_codec
from ..models.store import (
    ModelError,
    check_sha256,
    check_weights,
    load_weights,
    made_by_others,
    official_file,
    read_config,
    resolve,
)
from ..options import GatewayOptions, LinkOptions, ReceiverOptions, check_choice
from ..speech.format import FRAME_SAMPLES
from .concealer import LanguageModelConcealer, RepeatConcealer, make_concealer
from .interpolation import FrameCompleter, LatentEstimator

# Lies beside a language model that was adapted with text; LMModel has no place for it.
WITH_TEXT = "with_text"
OTHER_STREAMS = ("zero", "silence")


@dataclass(frozen=True)
class LanguageModel:
    """A loaded moshi ``LMModel``.

    Attributes:
        model: of moshi, in evaluation mode.
        acoustic_delay: 0 or 1 frames.
        name: the source, for messages.
        text: adapted with text, so that its text stream holds what it says; else padding.
    """

    model: object
    acoustic_delay: int
    name: str
    text: bool = False


def load_concealer(
    method: str = ReceiverOptions.method,
    *,
    model: str = ReceiverOptions.model,
    codec: str = LinkOptions.codec,
    temperature: float = ReceiverOptions.temperature,
    top_k: int = ReceiverOptions.top_k,
    samples: int = ReceiverOptions.samples,
    seed: int = ReceiverOptions.seed,
    fade_after_frames: int = ReceiverOptions.fade_after_frames,
    delay_mode: str = ReceiverOptions.delay_mode,
    other_streams: str = ReceiverOptions.other_streams,
    int8: bool = False,
) -> RepeatConcealer:
    """A concealer with all that it needs.

    Args:
        method: ``context`` (a recurrent network, of every frame), ``interpolate`` (from the frames
            around), ``lm`` (moshi's LMModel, and the frames
            around where the model has an estimator), ``repeat`` or ``silence``.
        model: source of context model, language model and estimator.
        codec: whose codebooks a mean is taken with.
        temperature: of the sampling, 0 for the most likely token.
        top_k: tokens to choose among.
        samples: frames to draw for a lost one, whose mean is played.
        seed: of the sampling.
        fade_after_frames: lost frames in a row before the fade to comfort noise.
        delay_mode: for a model with an acoustic delay, see ``LanguageModelStream``.
        other_streams: what a model of more than 8 streams hears of the other speaker: ``zero``
            (Moshi's zero token) or ``silence`` (the codec's tokens of silence).
        int8: the language model's matrix products in 8 bit.

    Raises:
        ValueError: a parameter is out of range, or a model is not there.
    """
    check_choice("other_streams", other_streams, OTHER_STREAMS)
    completer, books = None, None
    if method == "interpolate" or (method == "lm" and samples > 1):
        from ..codec.codebooks import codebooks_of

        books = codebooks_of(load_codec(codec).model)
        if (estimator := load_estimator(model)) is not None:
            completer = FrameCompleter(estimator, books)
        elif method == "interpolate":
            raise ValueError(
                f"model {model!r} has no estimator, which method 'interpolate' needs: make one "
                "with `largesc train interpolation`, or use method 'lm'"
            )
    if method == "context":
        from ..codec.codebooks import codebooks_of
        from .context import ContextConcealer, ContextStream

        books = codebooks_of(load_codec(codec).model)
        stream = ContextStream(load_context(model), books)
        if (estimator := load_estimator(model)) is not None:
            completer = FrameCompleter(estimator, books)
        return ContextConcealer(stream, completer, fade_after_frames)
    if method != "lm":
        return make_concealer(method, None, fade_after_frames, completer)
    loaded = load_language_model(model)
    network = loaded.model
    others = network.n_q - network.dep_q
    if int8:
        from .dynamic_int8 import quantised

        network = quantised(network)
    return make_concealer(
        method,
        network,
        fade_after_frames,
        completer,
        temperature=temperature,
        top_k=top_k,
        delay_mode=delay_mode,
        other_tokens=silence_tokens(codec)[:others] if other_streams != "zero" else None,
        seed=seed,
        samples=samples,
        codebooks=books,
        sample_text=loaded.text,
    )


def concealer_maker(
    method: str,
    books: np.ndarray,
    *,
    most: int = GatewayOptions.calls,
    options: ReceiverOptions | None = None,
) -> Callable[[], RepeatConcealer]:
    """Makes concealers of many streams that share their weights.

    Args:
        method: ``context``, ``interpolate``, ``lm``, ``repeat`` or ``silence``.
        books: codebooks of the codec, float32 ``[8, entries, dimension]``.
        most: streams of a language model that are stepped at once at most.
        options: model, fade, and of the language model as for :func:`load_concealer`.

    Raises:
        ValueError: an unknown method, or a model is not there.
    """
    options = options or ReceiverOptions()
    model, fade_after_frames = options.model, options.fade_after_frames
    if method in ("repeat", "silence"):
        return lambda: make_concealer(method, None, fade_after_frames)
    estimator = load_estimator(model)

    def completer() -> FrameCompleter | None:
        return None if estimator is None else FrameCompleter(estimator, books)

    if method == "context":
        from .context import ContextConcealer, ContextStream

        network = load_context(model)
        return lambda: ContextConcealer(
            ContextStream(network, books), completer(), fade_after_frames
        )
    if method == "lm":
        return language_model_maker(books, completer, most, options)
    make_concealer(method, None, fade_after_frames, completer())
    return lambda: make_concealer(method, None, fade_after_frames, completer())


def language_model_maker(
    books: np.ndarray,
    completer: Callable[[], FrameCompleter | None],
    most: int,
    options: ReceiverOptions,
) -> Callable[[], RepeatConcealer]:
    """As :func:`concealer_maker`, of a language model that hears zeros of the other speaker."""
    from .lm_batch import LanguageModelBatch, SharedLanguageModelStream

    loaded = load_language_model(options.model)
    batch = LanguageModelBatch(loaded.model, options.samples, loaded.text, most)

    def made() -> RepeatConcealer:
        stream = SharedLanguageModelStream(
            batch,
            temperature=options.temperature,
            top_k=options.top_k,
            delay_mode=options.delay_mode,
            seed=options.seed,
            codebooks=books,
            sample_text=loaded.text,
        )
        # A mean is played with what stands around it, as load_concealer has it.
        around = completer() if options.samples > 1 else None
        return LanguageModelConcealer(stream, options.fade_after_frames, completer=around)

    return made


def silence_tokens(codec: str) -> list[int]:
    """The 8 tokens that a codec makes of silence, once it has settled."""
    from ..codec.speech_encoder import SpeechEncoder

    frames = SpeechEncoder(load_codec(codec)).push(np.zeros(25 * FRAME_SAMPLES, dtype=np.float32))
    return frames[-1].tokens.tolist()


def load_language_model(source: str = "embedded") -> LanguageModel:
    """Loads a token language model; sources as for a codec.

    Raises:
        ModelError: nothing usable is there, or memory does not suffice.
    """
    folder = resolve(source, "lm")
    if (folder / "adapter_config.json").exists():
        return load_adapted(folder, source)
    if (folder / "lm.json").exists():
        from .build_lm import build_language_model

        config = read_config(folder, "lm")
        with made_by_others(source):
            model = build_language_model(config)
            load_weights(model, folder, "lm")
        return LanguageModel(model.eval(), max(model.delays), source, (folder / WITH_TEXT).exists())
    import torch
    from moshi.models import loaders

    weights = official_file(folder, "model.safetensors", source)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    require_memory(weights, device)
    check_weights(weights)
    with made_by_others(str(weights)):
        model = loaders.get_moshi_lm(weights, device=device)
    return LanguageModel(model.eval(), max(model.delays), source)


def load_adapted(folder: Path, source: str) -> LanguageModel:
    """A language model with the LoRA adapter in ``folder`` (peft's format) merged into it."""
    from peft import PeftModel

    with made_by_others(source):
        base = load_language_model(read_config(folder, "adapter_config")["base_model_name_or_path"])
        model = PeftModel.from_pretrained(base.model, str(folder)).merge_and_unload()
    return LanguageModel(model.eval(), base.acoustic_delay, source, (folder / WITH_TEXT).exists())


def load_context(source: str = "embedded") -> object:
    """Loads a ``ContextModel``.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    folder = resolve(source, "lm")
    if not (folder / "context.json").is_file():
        raise ModelError(
            f"model {source!r} has no context model, which method 'context' needs: make one with "
            "`largesc train context`, or use method 'interpolate'"
        )
    from .context_model import ContextConfig, ContextModel

    facts = read_config(folder, "context")
    try:
        model = ContextModel(ContextConfig(**facts))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder / 'context.json'} has no sizes of a model: {error}") from error
    load_weights(model, folder, "context")
    return model.eval()


def load_estimator(source: str = "embedded") -> LatentEstimator | None:
    """Loads the ``LatentEstimator`` beside a model; None where there is none, as with Moshi."""
    path = resolve(source, "lm") / "estimator.safetensors"
    if not path.is_file():
        return None
    from safetensors.numpy import load_file

    check_sha256(path)
    with made_by_others(str(path)):
        return LatentEstimator(load_file(str(path)))


def require_memory(weights: Path, device: str) -> None:
    """Raises :class:`ModelError` when the weights cannot fit into the memory of ``device``."""
    import torch

    needed = weights.stat().st_size
    if device == "cuda":
        free = torch.cuda.mem_get_info()[0]
    else:
        free = available_memory()
    if needed > free:
        raise ModelError(
            f"{weights} needs {needed / 2**30:.1f} GiB, {device} has {free / 2**30:.1f} GiB free: "
            "use a machine with more memory or a GPU, the model 'embedded', or the concealer "
            "'interpolate'"
        )


def available_memory() -> int:
    """Bytes of the machine that programs can have; the page cache is among them."""
    path = Path("/proc/meminfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("MemAvailable"):
            return 1024 * int(line.split()[1])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

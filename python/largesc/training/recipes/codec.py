# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the embedded codec in stages that can be run and resumed one by one.

    largesc train codec --config codec.yaml --speech train.tsv --work WORK

1. ``linear``: the linear part of encoder and decoder, by regression.
2. ``autoencoder``: encoder and decoder on the continuous latent.
3. ``codebooks``: residual k-means on the latents of all training speech.
4. ``decoder``: the decoder alone, on quantised latents with prefix dropout.
5. ``adversarial``: as before, against a discriminator; the encoder and so the tokens stay.
"""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from ...codec.build import build_codec
from ...speech.format import FRAME_SAMPLES
from ..augmentation import add_variants
from ..config import recipe_parser, start
from ..kmeans import residual_kmeans
from ..linear import fit_linear
from ..run import Run
from ..speech import Crops, open_samples, prepare, split
from ..stages import AdversarialStage, CodecPass, Stage
from ..teacher import Teacher
from ..world import BANDS, continuous, prepare_world, shares_of_noise

STAGES = ("linear", "autoencoder", "codebooks", "decoder", "adversarial")
DEFAULT_CONFIG = Path(__file__).parent / "codec.yaml"
# Peaks of the utterances that codebooks are fitted to, relative to full scale.
LEVELS_DB = (-18.0, -0.5)
CONFIG_KEYS = ("seed", "model", "stages", "teacher", "licences")


def tensors(
    speech: np.ndarray, pitch: np.ndarray, world: np.ndarray, device: torch.device
) -> tuple:
    """A batch of crops as float32: speech, and what ``VocoderLoss`` wants to know of it."""
    envelope, coarse = np.split(world, [BANDS], axis=2)
    analysed = (*continuous(pitch), envelope, shares_of_noise(coarse))
    speech, *analysed = (
        torch.from_numpy(a.astype(np.float32)).to(device) for a in (speech, *analysed)
    )
    return speech, tuple(analysed)


@torch.no_grad()
def fit_codebooks(model: nn.Module, samples, utterances, frames: int, seed: int) -> list[float]:
    """Fits all codebooks on the latents of up to ``frames`` frames; returns the energy left."""
    found, total = [], 0
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(utterances))
    for number in order:
        u = utterances[number]
        count = u.samples // FRAME_SAMPLES
        if count < 8:
            continue
        pcm = samples[u.start : u.start + count * FRAME_SAMPLES].astype("float32")
        pcm *= 10.0 ** (rng.uniform(*LEVELS_DB) / 20.0) / np.abs(pcm).max()
        latent = model.encoder(torch.from_numpy(pcm)[None, None])[0].T
        found.append(latent[2:])
        total += len(found[-1])
        if total >= frames:
            break
    latents = torch.cat(found)
    print(f"fitting codebooks on {len(latents)} frames", flush=True)
    layers = model.quantizer.vq.layers
    books, left = residual_kmeans(latents, len(layers), model.cardinality, 12, seed)
    for layer, (centroids, usage) in zip(layers, books, strict=True):
        book = layer._codebook
        book.cluster_usage.copy_(usage)
        book.embedding_sum.copy_(centroids * usage[:, None])
        book._initialized.fill_(1)
    return left


class Speech:
    """Training and development speech of a table, decoded once into the work folder.

    Training has each utterance twice, the second time varied; development has originals alone.
    """

    def __init__(self, table: Path, work: Path) -> None:
        cache = work / "speech"
        utterances = prepare(table, cache)
        variants = add_variants(utterances, cache)
        self.samples = open_samples(cache)
        self.world = prepare_world(utterances + variants, cache)
        self.train, self.dev = split(utterances)
        self.train += split(variants)[0]
        print(f"{len(self.train)} utterances to train, {len(self.dev)} for development", flush=True)


def train_stage(
    name: str, config: dict, speech: Speech, work: Path, accelerator: Accelerator
) -> None:
    """Runs one stage, from its checkpoint where there is one.

    Raises:
        ValueError: the stage before has not been run, or the checkpoint is of another config.
    """
    facts, model = config["stages"][name], build_codec(config["model"])
    run = Run(work / f"{name}.pt", config["model"], facts.get("minutes", 0.0), accelerator)
    before = STAGES[STAGES.index(name) - 1]
    if not run.state and name != STAGES[0]:
        path = work / f"{before}.pt"
        if not path.exists():
            raise ValueError(f"{path} is missing: run the stage {before!r} first")
        model.load_state_dict(torch.load(path, weights_only=False)["model"])
    length = facts["frames"] * FRAME_SAMPLES
    if name == "linear":
        if not run.state and accelerator.is_main_process:
            run.keep(model=model)
            crops = Crops(speech.samples, speech.world, speech.train, length, config["seed"])
            batches = [tensors(*crops.batch(16), "cpu") for _ in range(facts["crops"] // 16)]
            run.report(variance_left=fit_linear(model, batches))
            run.save()
        accelerator.wait_for_everyone()
        return
    if name == "codebooks":
        if not run.state and accelerator.is_main_process:
            run.keep(model=model)
            left = fit_codebooks(
                model.eval(), speech.samples, speech.train, facts["frames"], config["seed"]
            )
            run.report(**{f"energy_left_{n}": value for n, value in enumerate(left)})
            run.save()
        accelerator.wait_for_everyone()
        return
    teacher = None
    if config["teacher"] and name == "autoencoder":
        teacher = Teacher(Path(config["teacher"]), config["model"]["encoder"]["dimension"])
    codec_pass = CodecPass(
        model,
        config["model"]["delay_samples"],
        train_encoder=name == "autoencoder",
        teacher=teacher,
    )
    if name == "adversarial":
        stage: Stage = AdversarialStage(codec_pass, facts["rate"], accelerator)
    else:
        stage = Stage(codec_pass, facts["rate"], accelerator, facts["listen"])
    run.keep(**stage.parts())
    if isinstance(stage, AdversarialStage):
        stage.steps = run.step
    seed = config["seed"] + run.step + 1000 * accelerator.process_index
    crops = Crops(speech.samples, speech.world, speech.train, length, seed)
    dev = Crops(speech.samples, speech.world, speech.dev, 20 * FRAME_SAMPLES, seed=99).batch(12)
    dev = tensors(*dev, accelerator.device)
    codec_pass.train()
    run.begin()
    while not run.over():
        batch = tensors(*crops.batch(facts["batch"]), accelerator.device)
        losses = stage.step(batch, run.rate_factor())
        if run.end_step():
            run.report(**losses, **stage.evaluate(dev))
    run.save()


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train codec`` with ``arguments``; None: those of the process."""
    parser = recipe_parser("codec", __doc__.split("\n\n")[0], DEFAULT_CONFIG, minutes=True)
    parser.add_argument(
        "--speech", type=Path, required=True, help="folder of audio, or tsv: path, corpus, speaker"
    )
    parser.add_argument("--stage", choices=STAGES, help="this one alone; default: all")
    args = parser.parse_args(arguments)
    config = start(args, CONFIG_KEYS)
    accelerator = Accelerator()
    with accelerator.main_process_first():
        speech = Speech(args.speech, args.work)
    for name in [args.stage] if args.stage else STAGES:
        train_stage(name, config, speech, args.work, accelerator)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Plots of an evaluation, from the rows of its CSV."""

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

from ..speech.format import FRAME_MS  # noqa: E402
from ..tables import by_utterance, mean_half, paired  # noqa: E402

COLOURS = plt.get_cmap("tab20").colors
# Of fewer no interval is shown, and nobody is called better: another few would say otherwise.
LEAST_UTTERANCES = 8


def systems_of(rows: list[dict]) -> list[str]:
    """Names in the order of their appearance."""
    return list(dict.fromkeys(row["system"] for row in rows))


def channels_of(rows: list[dict]) -> list[str]:
    """Kinds of loss, ``none`` left out unless it is all there is."""
    found = list(dict.fromkeys(row["channel"] for row in rows))
    return [name for name in found if name != "none"] or found


def mean_of(rows: list[dict], name: str, **wanted: object) -> tuple[float, float]:
    """Mean and half interval of ``name`` over the rows that have all that is ``wanted``.

    The interval is NaN where there are fewer than :data:`LEAST_UTTERANCES`.
    """
    chosen = [r for r in rows if all(str(r[k]) == str(v) for k, v in wanted.items())]
    mean, half = mean_half(*by_utterance(chosen, name))
    return mean, half if count_of(chosen) >= LEAST_UTTERANCES else float("nan")


def losses_of(rows: list[dict], channel: str) -> list[str]:
    """Loss rates of a kind of loss and, where it is there, no loss."""
    found = {r["loss"] for r in rows if r["channel"] in (channel, "none")}
    return sorted(found, key=float)


def count_of(rows: list[dict]) -> int:
    """Returns how many utterances the rows are about."""
    return len({row["utterance"] for row in rows})


def title_of(place: tuple[str, str]) -> str:
    """Of a channel and its loss rate."""
    channel, loss = place
    return "no loss" if channel == "none" else f"{channel}, {100 * float(loss):g} %"


def panels(rows: list[dict], measures: list[str], values: Callable, path: Path) -> None:
    """One panel a measure and kind of loss, with a line for each system against the loss rate.

    Args:
        rows: of the CSV.
        measures: a row of panels each.
        values: of system, measure and channel: dict of loss rate to mean and its interval.
        path: PNG to write.
    """
    channels, names = channels_of(rows), systems_of(rows)
    size = (5.2 * len(channels) + 3.5, 3.2 * len(measures))
    figure, axes = plt.subplots(len(measures), len(channels), figsize=size, squeeze=False)
    for line, measure in zip(axes, measures, strict=True):
        for axis, channel in zip(line, channels, strict=True):
            for number, system in enumerate(names):
                found = values(system, measure, channel)
                if not found:
                    continue
                mean, low, high = np.array(list(found.values())).T
                places = 100 * np.array(list(found), float) + 0.15 * (number - len(names) / 2)
                style = {"label": system, "capsize": 2, "marker": "o", "ms": 3, "lw": 1}
                span = np.maximum([mean - low, high - mean], 0.0)
                axis.errorbar(places, mean, span, color=COLOURS[number % 20], **style)
            axis.set_title(f"{channel}, {count_of(rows)} utterances", fontsize=9)
            axis.set_xlabel("time that the channel is shut (%)")
            axis.set_ylabel(measure)
            axis.grid(alpha=0.3)
    found = {}
    for axis in axes.flat:
        found |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(found.values(), found.keys(), loc="center right", fontsize=8)
    figure.tight_layout(rect=(0, 0, 1 - 3.3 / size[0], 1))
    save(figure, path)


def against_loss(rows: list[dict], measures: list[str], path: Path) -> None:
    """Means with the intervals of the first system; those of all would hide the lines."""
    first = systems_of(rows)[0]

    def values(system: str, measure: str, channel: str) -> dict:
        own = [r for r in rows if r["system"] == system and r["channel"] in (channel, "none")]
        found = {p: mean_of(own, measure, loss=p) for p in losses_of(own, channel)}
        drawn = {p: (m, half if system == first else 0.0) for p, (m, half) in found.items()}
        return {p: (m, m - half, m + half) for p, (m, half) in drawn.items()}

    panels(rows, measures, values, path)


def differences(rows: list[dict], reference: str, measures: list[str], path: Path) -> None:
    """Differences to the system ``reference``, utterance by utterance, with their intervals."""
    found = {measure: paired(rows, reference, measure) for measure in measures}

    def values(system: str, measure: str, channel: str) -> dict:
        own = {
            loss: value
            for (name, where, loss), value in found[measure].items()
            if name == system and where in (channel, "none")
        }
        return dict(sorted(own.items(), key=lambda item: float(item[0])))

    panels(rows, measures, values, path)


def against_rate(rows: list[dict], measure: str, path: Path) -> None:
    """Each system at its total rate on a bare radio frame: without loss, and at the worst one."""

    def kbps(system: str, channel: str, loss: str) -> float:
        where = {"system": system, "channel": channel, "loss": loss}
        return mean_of(rows, "radio_bps", **where)[0] / 1000.0

    ticks = [1, 1.5, 2, 3, 5, 7, 10, 20]
    against(rows, measure, kbps, "kbit/s on a bare radio frame", ticks, path)


def against_computing(rows: list[dict], times: list[dict], measure: str, path: Path) -> None:
    """Each system at the processor time that coder, decoder and concealer take."""

    def milliseconds(system: str, channel: str, loss: str) -> float:
        where = {"system": system, "channel": channel, "loss": loss}
        return FRAME_MS * mean_of(times, "compute_share", **where)[0]

    label = "processor time (ms) for 80 ms of speech, one core"
    against(
        rows,
        measure,
        milliseconds,
        label,
        [0.2, 0.5, 1, 2, 5, 10, 15, 20, 25, 30, 40, 60, 80],
        path,
    )


def against(
    rows: list[dict], measure: str, place_of: Callable, label: str, ticks: list, path: Path
) -> None:
    """A measure against a quantity: ``place_of`` has that of a system, channel and loss."""
    channels = channels_of(rows)
    places = [("none", "0.0")] if any(r["channel"] == "none" for r in rows) else []
    places += [(c, losses_of(rows, c)[-1]) for c in channels if c != "none"]
    figure, axes = plt.subplots(
        1, len(places), figsize=(5.6 * len(places) + 2.5, 4.4), squeeze=False
    )
    for axis, (channel, loss) in zip(axes[0], places, strict=True):
        for number, system in enumerate(systems_of(rows)):
            mean, half = mean_of(rows, measure, system=system, channel=channel, loss=loss)
            style = {"fmt": "o", "capsize": 2, "label": system}
            place = place_of(system, channel, loss)
            # The original is sent at no rate.
            if not place > 0.0 or np.isnan(mean):
                continue
            axis.errorbar(place, mean, half, color=COLOURS[number % 20], **style)
        axis.set_title(f"{title_of((channel, loss))}, {count_of(rows)} utterances", fontsize=9)
        axis.set_xscale("log")
        low, high = axis.get_xlim()
        low = max((t for t in ticks if t <= low), default=low)
        high = min((t for t in ticks if t >= high), default=high)
        axis.set_xlim(low, high)
        shown = [t for t in ticks if low <= t <= high]
        axis.set_xticks(shown, [f"{t:g}" for t in shown])
        axis.set_xticks([], minor=True)
        axis.set_xlabel(label)
        axis.set_ylabel(measure)
        axis.grid(alpha=0.3, which="both")
    # Beside the points, not on them.
    axes[0, -1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    figure.tight_layout()
    save(figure, path)


def bars(rows: list[dict], measure: str, path: Path) -> None:
    """Each system at the worst loss of each kind, as the paper draws its ablation."""
    channels = [c for c in channels_of(rows) if c != "none"]
    names = systems_of(rows)
    figure, axis = plt.subplots(figsize=(9, 0.36 * len(names) * max(1, len(channels)) + 1.5))
    for number, channel in enumerate(channels):
        loss = losses_of(rows, channel)[-1]
        found = [mean_of(rows, measure, system=s, channel=channel, loss=loss) for s in names]
        mean, half = np.array(found).T
        places = np.arange(len(names)) + 0.8 * (number + 0.5) / len(channels) - 0.4
        style = {"label": title_of((channel, loss)), "capsize": 2}
        axis.barh(places, mean, 0.75 / len(channels), xerr=half, **style)
        for place, value in zip(places, mean, strict=True):
            axis.text(0.02 * np.nanmax(mean), place, f"{value:.2f}", va="center", fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(f"{measure}, {count_of(rows)} utterances")
    axis.legend(fontsize=8)
    figure.tight_layout()
    save(figure, path)


def latency(rows: list[dict], times: list[dict], path: Path) -> None:
    """Framing and waiting by design, and computing: p95 of a frame, or the mean of a packet."""
    names = systems_of(rows)
    parts = {"framing and look-ahead": "framing_ms", "waiting for copies or parity": "waiting_ms"}
    figure, axis = plt.subplots(figsize=(9, 0.36 * len(names) + 1.5))
    left = np.zeros(len(names))
    for label, column in parts.items():
        width = np.array([mean_of(rows, column, system=s)[0] for s in names])
        axis.barh(names, width, left=left, label=label)
        left += width
    share = np.array([mean_of(times, "compute_share", system=s)[0] for s in names])
    mean = share * np.array([mean_of(rows, "framing_ms", system=s)[0] for s in names])
    p95 = np.array([mean_of(times, "compute_ms_p95", system=s)[0] for s in names])
    computing = np.where(np.isnan(p95), mean, p95)
    axis.barh(names, computing, left=left, label="computing (ours: p95 of a frame)")
    for name, total in zip(names, left + computing, strict=True):
        axis.text(total + 2, name, f"{total:.0f} ms", va="center", fontsize=7)
    axis.axvline(460, color="grey", ls=":", label="LargeSC as published, 460 ms")
    axis.set_xlim(0, 1.1 * max(460.0, *(left + computing)))
    axis.invert_yaxis()
    axis.tick_params(axis="y", labelsize=8)
    axis.set_xlabel("delay (ms), without network and sound cards")
    axis.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    save(figure, path)


def save(figure: plt.Figure, path: Path) -> None:
    """Writes a figure at 90 dpi, and closes it."""
    figure.savefig(path, dpi=90)
    plt.close(figure)

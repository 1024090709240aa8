# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: bursts or packets of spoken commands to decisions."""

from gnuradio import gr

from .._core import keys
from ..options import TaskOptions
from ..tasks.commands import CommandDecider, Decision, checked_snr_db
from ..tasks.model import load_task
from .block_base import TokenBlock, setter
from .messages import is_count, is_finite, read_burst, read_packet, to_pmt

# Numbers of commands begin again behind the last that a packet can carry.
INDICES = 65536


class task_decider(TokenBlock, gr.basic_block):  # noqa: N801
    """What was commanded, and how sure that is.

    Input: message ports `bursts` (PDUs of complex symbols; of the metadata are read snr_db,
    channel_gain and command_index) and `packets` (PDUs of bytes). Output: message ports `decision`
    (dicts: label, probability, understood, snr_db, command_index), `status`.

    ``understood`` is false where the likeliest label is no command, or not likely enough: then
    nothing is to be done. What cannot be read is counted as ``refused``.

    Args:
        model: source of the model, the same at both ends.
        snr_db: of a symbol, for bursts that do not say.
        confidence: least probability of a command that is understood, 0 to 1.

    Raises:
        ValueError: an argument is out of range.
        ModelError: there is no such model.
    """

    def __init__(
        self,
        *,
        model: str = TaskOptions.model,
        snr_db: float = TaskOptions.snr_db,
        confidence: float = TaskOptions.confidence,
    ) -> None:
        gr.basic_block.__init__(self, "task_decider", None, None)
        ports = {"bursts": self._on_burst, "packets": self._on_packet}
        self.open_ports(ports, ["decision"], "bursts")
        self.task_model = load_task(model)
        self._core = CommandDecider(self.task_model, confidence)
        self._snr_db = checked_snr_db(snr_db)
        self.counters |= {"decisions": 0, "understood": 0}
        self._index = 0

    def begin(self) -> None:
        self._index = 0

    def _on_burst(self, message: object) -> None:
        over, _ = read_packet(message)
        if over:
            self._finish_once()
            return
        found = read_burst(message)
        if found is None:
            self.refuse("expected a PDU of complex symbols")
            return
        meta, burst = found
        snr_db, gain = meta.get(keys.snr_db), meta.get(keys.channel_gain, 1.0)
        index = meta.get(keys.command_index)
        self._publish(
            self._core.decide(
                burst,
                snr_db if is_finite(snr_db) else self._snr_db,
                gain if isinstance(gain, int | float | complex) else 1.0,
                index % INDICES if is_count(index) else self._index,
            )
        )

    def _on_packet(self, message: object) -> None:
        over, packet = read_packet(message)
        if packet:
            self._publish(self._core.decide_packet(packet, self._snr_db))
        elif over:
            self._finish_once()
        else:
            self.refuse("expected a PDU of bytes (u8)")

    def _finish_once(self) -> None:
        # The end comes at both ports.
        if not self.ended():
            self.finish()

    def _publish(self, decision: Decision) -> None:
        facts = {
            keys.label: decision.label,
            keys.probability: decision.probability,
            keys.understood: decision.understood,
            keys.snr_db: decision.snr_db,
            keys.command_index: decision.index,
        }
        self.publish("decision", to_pmt(facts))
        self._index = (decision.index + 1) % INDICES
        self.counters["decisions"] += 1
        self.counters["understood"] += decision.understood
        self.publish_status()

    @setter
    def set_snr_db(self, snr_db: float) -> None:
        """Changes the SNR of bursts that do not say, while running."""
        self._snr_db = checked_snr_db(snr_db)

    @setter
    def set_confidence(self, confidence: float) -> None:
        """Changes the least probability while running."""
        self._core.set_confidence(confidence)

    def statistics(self) -> dict[str, int]:
        """Counters: decisions, understood, refused, refused_settings."""
        return dict(self.counters)

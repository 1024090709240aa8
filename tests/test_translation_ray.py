# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoding of the translation link in processes of Ray, with a tiny SeamlessM4T."""

import os
import signal

import numpy as np
import pytest
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.cli.translate_ray import RayDecoders
from gnuradio.largesc.features.load import loaded
from gnuradio.largesc.features.model import Question
from gnuradio.largesc.models.packaged import absent
from helpers import wait_until
from tiny_seamless import WIDTH, write_tiny_seamless

if lacking := absent(["ray", "transformers", "sentencepiece"]):
    pytest.skip(f"{lacking[0]} is not installed", allow_module_level=True)

EDGE = ["translate", "edge", "--listen", "*:1", "--to", "*:1"]


def questions(count: int) -> list[Question]:
    rng = np.random.default_rng(0)
    return [
        Question(rng.normal(size=(n + 5, WIDTH)).astype(np.float32), "fra") for n in range(count)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    found = tmp_path_factory.mktemp("models") / "seamless"
    write_tiny_seamless(found, sure=30.0)
    return str(found)


@pytest.fixture(scope="module")
def decoders(folder):
    found = RayDecoders(folder, 2)
    yield found
    found.close()


def test_answers_are_those_of_one_process_and_in_order(decoders, folder):
    asked = questions(5)
    alone = loaded(folder).decode_all(asked)
    for count in (5, 1):
        found = decoders(asked[:count])
        assert [h.tokens for h in found] == [h.tokens for h in alone[:count]]


def test_a_fault_of_a_question_ends_no_process(decoders):
    wrong = Question(np.ones((4, WIDTH + 1), dtype=np.float32), "fra")
    with pytest.raises(RuntimeError, match="no answer of a process of Ray"):
        decoders([wrong])
    assert decoders.replaced == 0 and len(decoders(questions(2))) == 2


def test_a_process_that_dies_is_replaced(decoders, capsys):
    victim = decoders._ray.get(decoders._decoders[0].process.remote())
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="no answer of a process of Ray"):
        # It may take a moment until Ray knows.
        for _ in range(20):
            decoders(questions(2))
    assert decoders.replaced == 1 and "process 0 of Ray is replaced" in capsys.readouterr().err
    # The other one answers meanwhile.
    assert len(decoders(questions(3))) == 3
    wait_until(lambda: len(decoders._ready()) == 2)
    assert decoders._ray.get(decoders._decoders[0].process.remote()) != victim


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--speaker", "--ray", "2"], "--ray would do nothing at the speaker's edge: give it to"),
        (["--listener", "--ray", "65"], "ray 65 is out of range: use 0 to 64"),
    ],
)
def test_options_that_do_not_fit_are_refused(given, said, capsys):
    assert main([*EDGE, *given]) == 2
    assert said in capsys.readouterr().err


def test_more_processes_than_processors_are_refused(folder, monkeypatch):
    monkeypatch.setattr(
        "gnuradio.largesc.ray_cluster.joined_ray",
        lambda *_, **__: type(
            "Ray", (), {"cluster_resources": lambda: {"CPU": 2.0}, "shutdown": lambda: None}
        ),
    )
    with pytest.raises(ValueError, match="--ray 3: Ray has 2 processors: use at most these"):
        RayDecoders(folder, 3)

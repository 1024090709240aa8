# SPDX-License-Identifier: GPL-3.0-or-later
"""Studies: each answers one question about the link, and is run by ``largesc study NAME``.

A study is a module with ``add_options(parser)`` and ``study(args)``; what they share is in
:mod:`.study`. A new one gets a line here.
"""

# Name on the command line, which its CSV bears as well, and module.
STUDIES = {
    "call_churn": "call_churn",
    "calls": "calls",
    "closed_loop": "closed_loop",
    "codec_pictures": "codec_pictures",
    "codec_table": "codec_table",
    "endurance": "endurance",
    "gateway_flood": "gateway_flood",
    "gateway_workers": "gateway_workers",
    "playout": "playout",
    "radio_analogue": "radio.analogue",
    "radio_conditions": "radio.conditions",
    "radio_per": "radio.per",
    "radio_search": "radio.search",
    "radio_speech": "radio.speech",
    "radio_unequal": "radio.unequal",
    "restarts": "restarts",
    "steps": "steps",
    "task": "task",
    "translation": "translation",
    "words": "words",
}

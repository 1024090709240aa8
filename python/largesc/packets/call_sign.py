# SPDX-License-Identifier: GPL-3.0-or-later
"""Call signs of amateur stations.

ITU Radio Regulations, article 19.68: one or two characters, one of them a letter, and a digit as
the prefix; then up to four characters, the last of which is a letter. A few countries have
prefixes of three characters, and special calls more digits.
"""

import re

CALL = r"(?=[0-9]?[A-Z])[A-Z0-9]{1,3}[0-9][A-Z0-9]{0,4}[A-Z]"
# Abroad a prefix stands in front, and what says how one is on the air behind.
WHOLE = re.compile(rf"(?:[A-Z0-9]{{1,4}}/)?{CALL}(?:/[A-Z0-9]{{1,4}})?")


def checked_call_sign(text: str) -> str:
    """The call sign in capitals.

    Raises:
        ValueError: it is none.
    """
    call = text.strip().upper()
    if not call.isascii() or not WHOLE.fullmatch(call):
        raise ValueError(
            f"call sign {text[:40]!r} is none: letters A to Z and digits, as DL1ABC or F/DL1ABC/P"
        )
    return call

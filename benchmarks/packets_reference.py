# SPDX-License-Identifier: GPL-3.0-or-later
"""The pack-and-parse of packets_benchmark.cc in NumPy, frame by frame, and its ratio to C++.

Usage: packets_reference.py [path of packets_benchmark]
"""

import json
import subprocess
import sys
import time

import numpy as np

WEIGHTS = 1 << np.arange(10, -1, -1)


def pack(sequence: int, own: np.ndarray, copies: np.ndarray, distance: int) -> bytes:
    """Bytes of a packet with one frame; `own`, `copies`: tokens [n]."""
    tokens = np.concatenate((own, copies))
    bits = (tokens[:, None] & WEIGHTS) > 0
    header = bytes((sequence & 0xFF, len(own) << 4 | distance))
    return header + np.packbits(bits.reshape(-1)).tobytes()


def parse(packet: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Own tokens and copies of a packet with one frame."""
    payload = np.frombuffer(packet, np.uint8, offset=2)
    count = len(payload) * 8 // 11
    bits = np.unpackbits(payload)[: 11 * count].reshape(count, 11)
    tokens = bits @ WEIGHTS
    sent = packet[1] >> 4
    return tokens[:sent], tokens[sent:]


def numpy_frames_per_second(seconds: float = 1.0) -> float:
    frames = np.random.default_rng(1).integers(0, 2048, (1024, 8))
    start = time.perf_counter()
    n = 0
    while n % 256 or time.perf_counter() - start < seconds:
        own, earlier = frames[n % 1024], frames[(n - 1) % 1024]
        sent, copies = parse(pack(n, own, earlier[:2], 1))
        assert sent[7] == own[7] and copies[1] == earlier[1]
        n += 1
    return n / (time.perf_counter() - start)


def main() -> None:
    reference = numpy_frames_per_second()
    print(f"NumPy: pack and parse {reference:,.0f} frames/s")
    if len(sys.argv) > 1:
        out = subprocess.run(
            [sys.argv[1], "--benchmark_format=json"], check=True, capture_output=True, text=True
        )
        for result in json.loads(out.stdout)["benchmarks"]:
            rate = result["items_per_second"]
            print(f"C++:   {result['name']} {rate:,.0f} frames/s, {rate / reference:.0f} x NumPy")


if __name__ == "__main__":
    main()

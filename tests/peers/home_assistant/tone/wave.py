"""A sine as a WAV file: one channel of 16 bits."""

import math
import struct

RATE_HZ = 16000


def sine(pitch_hz, seconds):
    samples = [round(12000 * math.sin(math.tau * pitch_hz * n / RATE_HZ)) for n in range(seconds * RATE_HZ)]
    data = struct.pack(f"<{len(samples)}h", *samples)
    header = struct.pack("<HHIIHH", 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    riff = b"WAVEfmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(riff)) + riff

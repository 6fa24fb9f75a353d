"""Writes src/io/golden/blocks.gguf: blocks of every type that GGUF files hold, and their values in float32.

The bytes come from a seed; the values from the Python package `gguf` 0.19.0, which is independent of
Tender. For each type there is a tensor NAME [blocks, block] and a tensor NAME.expected of type F32.

    python oracle/make_gguf_golden.py
"""

from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type

SEED = 20261124
# Where a block keeps its float16 numbers: they get values that a model could hold, and the extremes.
HALVES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
    Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.MXFP4: [],
}
EXTREMES = [65504.0, -65504.0, 2.0**-24, -0.0, 1.0, -0.0123]


def blocks_of(kind, rng):
    """Random bytes, a block of zero bytes, one of 0xff, and one for each extreme scale."""
    size = GGML_QUANT_SIZES[kind][1]
    count = 2 + (2 if GGML_QUANT_SIZES[kind][0] == 256 else 6)
    blocks = rng.integers(0, 256, size=(count, size), dtype=np.uint8)
    blocks[0] = 0
    blocks[1] = 255
    for i, block in enumerate(blocks):
        for n, at in enumerate(HALVES[kind]):
            value = EXTREMES[(i + n) % len(EXTREMES)] if i != 3 else rng.normal(0, 0.1)
            block[at : at + 2] = np.frombuffer(np.float16(value).tobytes(), dtype=np.uint8)
    if kind == Type.MXFP4:
        blocks[:, 0] = [0, 1, 2, 126, 127, 128, 251, 252][:count]
    return blocks


def main():
    rng = np.random.default_rng(SEED)
    out = Path(__file__).resolve().parent.parent / "src/io/golden/blocks.gguf"
    out.parent.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(out, "golden")
    writer.add_uint32("golden.seed", SEED)
    for kind in HALVES:
        blocks = blocks_of(kind, rng)
        values = gguf.quants.dequantize(blocks, kind).astype(np.float32)
        assert np.isfinite(values).all(), kind
        writer.add_tensor(kind.name, blocks, raw_dtype=kind)
        writer.add_tensor(kind.name + ".expected", values.reshape(len(blocks), -1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes a checkpoint of a published shape with random weights: for memory and speed, where what a model says does
not matter.

    oracle/make_shaped_checkpoint.py llama-7b OUT --tokenizer ../shared/data/tokenizers/llama2/tokenizer.model
    oracle/make_shaped_checkpoint.py llama-7b OUT --layers 4

Weights are normal, float16, of a spread that keeps rows of a size (1/sqrt of the inputs); norms are 1. One block of
random numbers is used again at other offsets, so that 13 GB are written as fast as the disk takes them. The same seed
gives the same file. Needs numpy. Without --tokenizer the directory can be run by `tender bench`, not on text.
"""

import argparse
import json
import pathlib
import shutil
import struct

import numpy as np

SHAPES = {  # layers, width, heads, KV heads, MLP width, vocabulary, context, tied head
    "llama-7b": (32, 4096, 32, 32, 11008, 32000, 4096, False),
    "llama-1b": (16, 2048, 32, 8, 8192, 32000, 4096, True),
    "smollm2-135m": (30, 576, 9, 3, 1536, 49152, 8192, True),
}
BLOCK = 1 << 24  # random numbers that are made


def tensors_of(shape, layers):
    """(name, sides) in the order of the file; a norm has one side."""
    _, width, heads, kv_heads, middle, vocabulary, _, tied = shape
    keys = width // heads * kv_heads
    yield "model.embed_tokens.weight", (vocabulary, width)
    for n in range(layers):
        layer = f"model.layers.{n}."
        yield layer + "input_layernorm.weight", (width,)
        yield layer + "self_attn.q_proj.weight", (width, width)
        yield layer + "self_attn.k_proj.weight", (keys, width)
        yield layer + "self_attn.v_proj.weight", (keys, width)
        yield layer + "self_attn.o_proj.weight", (width, width)
        yield layer + "post_attention_layernorm.weight", (width,)
        yield layer + "mlp.gate_proj.weight", (middle, width)
        yield layer + "mlp.up_proj.weight", (middle, width)
        yield layer + "mlp.down_proj.weight", (width, middle)
    yield "model.norm.weight", (width,)
    if not tied:
        yield "lm_head.weight", (vocabulary, width)


def write(path, shape, layers, seed):
    tensors = list(tensors_of(shape, layers))
    header, place = {"__metadata__": {"format": "pt"}}, 0
    for name, sides in tensors:
        size = 2 * int(np.prod(sides))
        header[name] = {"dtype": "F16", "shape": list(sides), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(seed)
    block = rng.standard_normal(BLOCK, dtype=np.float32)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, sides in tensors:
            count = int(np.prod(sides))
            if len(sides) == 1:
                file.write(np.ones(count, dtype="<f2").tobytes())
                continue
            scaled = (block * np.float32(sides[1] ** -0.5)).astype("<f2")
            at = int(rng.integers(BLOCK))
            while count > 0:
                piece = scaled[at:at + count]
                file.write(piece.tobytes())
                count -= len(piece)
                at = 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--layers", type=int, help="fewer than the shape has")
    parser.add_argument("--tokenizer", type=pathlib.Path, help="tokenizer.model of Llama 2, copied")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    layers = options.layers or shape[0]
    _, width, heads, kv_heads, middle, vocabulary, context, tied = shape
    options.out.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "float16",
        "hidden_size": width, "intermediate_size": middle, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "max_position_embeddings": context, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "vocab_size": vocabulary, "tie_word_embeddings": tied, "bos_token_id": 1,
        "eos_token_id": 2,
    }
    (options.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if options.tokenizer:
        shutil.copy(options.tokenizer, options.out / "tokenizer.model")
    write(options.out / "model.safetensors", shape, layers, options.seed)


if __name__ == "__main__":
    main()

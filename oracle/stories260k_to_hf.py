#!/usr/bin/env python3
"""Turns the Llama of llama2.c's legacy format (stories260K.bin) into a Hugging Face directory.

    oracle/stories260k_to_hf.py ../shared/data/models/stories260K/stories260K.bin OUT

The file: seven int32 (width, MLP width, layers, heads, KV heads, vocabulary, context; a negative vocabulary says
that the head is not tied), then float32 matrices, each kind for all layers at once: embedding, attention norms,
q, k, v, o, MLP norms, gate (w1), down (w2), up (w3), final norm, and cosines and sines, which we do not need.
Rotary pairs stand side by side there and half a head apart in Hugging Face's order. The same conversion in C++
is in src/model/stories_data_test.cc. Needs numpy and safetensors.
"""

import json
import pathlib
import sys

import numpy as np
from safetensors.numpy import save_file


def split_halves(matrix, heads):
    """Rows 2i and 2i + 1 of each head become rows i and i + d/2."""
    out, width = matrix.shape
    return matrix.reshape(heads, out // heads // 2, 2, width).swapaxes(1, 2).reshape(out, width)


def main():
    raw = np.fromfile(sys.argv[1], dtype="<f4")
    width, middle, layers, heads, kv_heads, vocabulary, context = raw[:7].view("<i4").tolist()
    keys = width // heads * kv_heads
    shapes = {
        "embed_tokens": (vocabulary, width), "input_layernorm": (layers, width),
        "self_attn.q_proj": (layers, width, width), "self_attn.k_proj": (layers, keys, width),
        "self_attn.v_proj": (layers, keys, width), "self_attn.o_proj": (layers, width, width),
        "post_attention_layernorm": (layers, width), "mlp.gate_proj": (layers, middle, width),
        "mlp.down_proj": (layers, width, middle), "mlp.up_proj": (layers, middle, width), "norm": (width,),
    }
    tensors, place = {}, 7
    for name, shape in shapes.items():
        values = raw[place:place + np.prod(shape)].reshape(shape)
        place += values.size
        if name in ("embed_tokens", "norm"):
            tensors[f"model.{name}.weight"] = values
            continue
        for n in range(layers):
            part = values[n]
            if name.endswith(("q_proj", "k_proj")):
                part = split_halves(part, heads if name.endswith("q_proj") else kv_heads)
            tensors[f"model.layers.{n}.{name}.weight"] = np.ascontiguousarray(part)
    out = pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=width,
                  intermediate_size=middle, num_hidden_layers=layers, num_attention_heads=heads,
                  num_key_value_heads=kv_heads, vocab_size=vocabulary, max_position_embeddings=context,
                  rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True, torch_dtype="float32",
                  bos_token_id=1, eos_token_id=2)
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    main()

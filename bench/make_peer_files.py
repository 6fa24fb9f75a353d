#!/usr/bin/env python3
"""Writes the GGUF files that other engines read in `tender bench --compare`.

    bench/make_peer_files.py requantize MODEL.gguf Q8_0 OUT.gguf    every matrix in one type
    bench/make_peer_files.py convert DIRECTORY Q4_0 OUT.gguf        out of oracle/make_shaped_checkpoint.py

The head (or the embedding that it is tied to) gets the same type, so that both engines read about as many bytes; `tender
bench` prints it. Vectors stay float32. A made-up checkpoint gets a vocabulary of numbered tokens. Needs numpy and gguf.
"""

import argparse
import json
import pathlib
import struct

import gguf
import numpy as np

NAMES = {  # Hugging Face to GGUF, within a layer
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
ENDS = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight"}

FILE_TYPES = {gguf.GGMLQuantizationType.F16: gguf.LlamaFileType.MOSTLY_F16,
              gguf.GGMLQuantizationType.Q4_0: gguf.LlamaFileType.MOSTLY_Q4_0,
              gguf.GGMLQuantizationType.Q4_1: gguf.LlamaFileType.MOSTLY_Q4_1,
              gguf.GGMLQuantizationType.Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0}


def add(writer, name, values, kind):
    if values.ndim == 1:
        writer.add_tensor(name, values.astype(np.float32))
        return
    writer.add_tensor(name, gguf.quants.quantize(values.astype(np.float32), kind), raw_dtype=kind)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def requantize(source, kind, out):
    reader = gguf.GGUFReader(source)
    architecture = str(bytes(reader.fields["general.architecture"].parts[-1]), "utf-8")
    writer = gguf.GGUFWriter(out, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        value, of = field.contents(), field.types[0]
        if of == gguf.GGUFValueType.ARRAY:
            writer.add_array(field.name, value)
        else:
            writer.add_key_value(field.name, value, of)
    writer.add_file_type(FILE_TYPES[kind])
    for tensor in reader.tensors:
        add(writer, tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type), kind)
    finish(writer)


def tensors_of(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + size)
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            yield name, data[begin:end].view("<f2").reshape(entry["shape"])


def interleave(values, heads):
    """Rotary pairs, which lie half a head apart, become neighbours, as this architecture has them in GGUF."""
    rows, width = values.shape
    return values.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def convert(source, kind, out):
    config = json.loads((source / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(FILE_TYPES[kind])
    # "llama" wants byte tokens; the rest are numbers
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens += [f"t{i}" for i in range(len(tokens), config["vocab_size"])]
    kinds = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.BYTE] * 256
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    for name, values in tensors_of(source / "model.safetensors"):
        if name in ENDS:
            add(writer, ENDS[name], values, kind)
            continue
        layer, rest = name.removeprefix("model.layers.").split(".", 1)
        values = values.astype(np.float32)
        if "q_proj" in rest or "k_proj" in rest:
            values = interleave(values, heads if "q_proj" in rest else kv_heads)
        add(writer, f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight", values, kind)
    finish(writer)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["requantize", "convert"])
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("type", choices=["Q8_0", "Q4_0", "Q4_1", "F16"])
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    kind = gguf.GGMLQuantizationType[options.type]
    (requantize if options.what == "requantize" else convert)(options.source, kind, options.out)


if __name__ == "__main__":
    main()

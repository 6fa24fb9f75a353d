#!/usr/bin/env python3
"""Tiny random models as Hugging Face directories, with the logits that they must give.

Writes src/model/golden/<name>/ (config.json, model.safetensors) and src/model/golden/<name>.json (token ids,
logits, a bound of float32's error). Needs torch 2.x, transformers 5.x and safetensors; the versions that made
a file stand in it. Everything follows from the seeds, so a second run writes the same bytes.

The logits are those of `transformers` with all weights and all arithmetic in float64, except for the cosines
and sines of rotary positions, which `transformers` always computes in float32 and which count as part of the
model. Its RMSNorm casts to float32 as well; it is replaced by the same formula in float64. That the replaced
model is still the same one is checked against the untouched float32 model.

The bound: a float32 forward pass is an exact one of a model whose weights are off by relative errors; for a
sum of n products they exceed 4 sqrt(n) 2^-24 with a probability below 2 exp(-8) (Higham and Mary 2019,
SIAM J. Sci. Comput. 41(5), theorem 2.4), and so it is with norms, activations and attention. The float64 model
is run with such errors, all of that full size and of random signs, several times; the largest change of any
logit is the bound.
"""

import copy
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

UNIT = 2.0**-24
DRAWS = 12
OUT = pathlib.Path(__file__).resolve().parent.parent / "src/model/golden"

LLAMA = dict(vocab_size=61, hidden_size=20, intermediate_size=33, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=6, max_position_embeddings=64, rms_norm_eps=1e-2)
OPT = dict(vocab_size=61, hidden_size=20, ffn_dim=37, num_hidden_layers=2, num_attention_heads=4,
           max_position_embeddings=40, pad_token_id=1, bos_token_id=2, eos_token_id=2)
ROPE = dict(rope_type="default", rope_theta=10000.0)

MODELS = {
    # grouped queries, heads that do not add up to the width, odd sizes, a head of its own
    "llama_gqa": (transformers.LlamaConfig(**LLAMA, tie_word_embeddings=False, rope_parameters=ROPE), {}),
    # one KV head, tied, all biases; old spelling of the rotary settings
    "llama3_tied": (
        transformers.LlamaConfig(
            **{**LLAMA, "hidden_size": 18, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 8},
            tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
            rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0,
                                 high_freq_factor=4.0, original_max_position_embeddings=32)),
        {"old_rope": True}),
    "llama_linear": (
        transformers.LlamaConfig(**{**LLAMA, "num_hidden_layers": 1, "num_key_value_heads": 4},
                                 tie_word_embeddings=True,
                                 rope_parameters=dict(rope_type="linear", rope_theta=100.0, factor=4.0)), {}),
    # biases of q, k and v; weights in bfloat16
    "qwen2": (transformers.Qwen2Config(**LLAMA, tie_word_embeddings=True, rope_parameters=ROPE),
              {"dtype": torch.bfloat16}),
    # a window shorter than the text; weights in float16
    "mistral": (transformers.MistralConfig(**LLAMA, tie_word_embeddings=False, sliding_window=5,
                                           rope_parameters=ROPE), {"dtype": torch.float16}),
    "opt_pre": (transformers.OPTConfig(**OPT), {}),
    # as the 350M: norms after the blocks, a narrow embedding; names without "model."
    "opt_post": (transformers.OPTConfig(**OPT, do_layer_norm_before=False, word_embed_proj_dim=12),
                 {"bare_names": True}),
    "opt_plain": (transformers.OPTConfig(**{**OPT, "num_hidden_layers": 1}, enable_bias=False,
                                         layer_norm_elementwise_affine=False, tie_word_embeddings=False), {}),
}


def draw_weights(model, generator, dtype):
    """Sizes that keep activations near one, so that every part of the model matters; OPT's embeddings are
    small enough that the epsilon of its norms (1e-5) matters too."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                noise = 1 + 0.2 * noise
            elif name.endswith("bias"):
                noise = 0.3 * noise
            elif "embed" in name:
                noise = noise * (0.02 if model.config.model_type == "opt" else 1)
            else:
                noise = noise * (1.5 / value.shape[-1] ** 0.5)
            value.copy_(noise.to(dtype).float())


def exact_norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def in_float64(model):
    double = copy.deepcopy(model).double()
    for module in double.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = exact_norm.__get__(module)
    return double


def logits_of(model, sequences):
    with torch.no_grad():
        return [model(torch.tensor([ids]), use_cache=False).logits[0] for ids in sequences]


def with_errors(double, generator, length):
    """A copy whose weights and intermediate results are off as float32's rounding may leave them."""

    def signs(x):
        return torch.randint(0, 2, x.shape, generator=generator).double() * 2 - 1

    def scaled(x, units):
        """x, off by the errors of sums of so many terms"""
        units = 4 * units**0.5
        return x * (1 + units * UNIT * signs(x)) if torch.is_tensor(x) else x

    model = in_float64(double)
    for name, module in model.named_modules():
        kind = type(module).__name__
        if isinstance(module, torch.nn.Linear):
            terms = module.in_features + 1
            if name.endswith(("q_proj", "k_proj")):  # the products of q and k sum over a head
                terms += double.config.hidden_size
            with torch.no_grad():
                module.weight.copy_(scaled(module.weight, terms))
            if name.endswith(("o_proj", "out_proj")):  # what comes out of softmax(q k) v
                module.register_forward_pre_hook(lambda m, x: (scaled(x[0], 2 * length + 16),))
        elif kind.endswith("Norm"):
            module.register_forward_hook(lambda m, i, y: scaled(y, y.shape[-1] / 16 + 16))
        elif kind.endswith("RotaryEmbedding"):
            module.inv_freq.copy_(scaled(module.inv_freq, 2))
            module.register_forward_hook(lambda m, i, y: tuple(scaled(part, 4) for part in y))
        elif kind.endswith("DecoderLayer"):
            module.register_forward_hook(lambda m, i, y: scaled(y, 4))
        elif "SiLU" in kind:
            module.register_forward_hook(lambda m, i, y: scaled(y, 8))
    return model


def write_directory(name, model, config, options):
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    settings = config.to_diff_dict() | {"architectures": [type(model).__name__], "model_type": config.model_type}
    settings["dtype"] = str(options.get("dtype", torch.float32)).removeprefix("torch.")
    for key in ("transformers_version", "_name_or_path"):
        settings.pop(key, None)
    if options.get("old_rope"):
        scaling = dict(settings.pop("rope_parameters"))
        settings["rope_theta"] = scaling.pop("rope_theta")
        settings["rope_scaling"] = scaling
    (folder / "config.json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
    tensors = {}
    for key, value in model.state_dict().items():
        if config.tie_word_embeddings and key == "lm_head.weight":
            continue
        if options.get("bare_names"):
            key = key.removeprefix("model.")
        tensors[key] = value.to(options.get("dtype", torch.float32)).contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def make(name, seed):
    config, options = MODELS[name]
    generator = torch.Generator().manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").float().eval()
    draw_weights(model, generator, options.get("dtype", torch.float32))
    write_directory(name, model, config, options)
    sequences = [torch.randint(0, config.vocab_size, (n,), generator=generator).tolist() for n in (24, 7, 1)]

    double = in_float64(model)
    exact = logits_of(double, sequences)
    single = max((a.double() - b).abs().max().item() for a, b in zip(logits_of(model, sequences), exact))
    bound = 0.0
    for _ in range(DRAWS):
        changed = logits_of(with_errors(double, generator, max(map(len, sequences))), sequences)
        bound = max(bound, max((a - b).abs().max().item() for a, b in zip(changed, exact)))
    assert single <= bound, (name, single, bound)
    document = {
        "made_by": f"oracle/make_model_golden.py, seed {seed}, torch {torch.__version__.split('+')[0]}, "
                   f"transformers {transformers.__version__}",
        "sequences": sequences,
        "bound": float(f"{bound:.3e}"),
        "logits": [[[float(f"{value:.9g}") for value in row] for row in part.tolist()] for part in exact],
    }
    (OUT / f"{name}.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")
    size = max(value.abs().max().item() for value in exact)
    print(f"{name}: bound {bound:.2e}, transformers in float32 {single:.2e}, largest logit {size:.2f}")


if __name__ == "__main__":
    for index, model_name in enumerate(MODELS):
        if len(sys.argv) < 2 or model_name in sys.argv[1:]:
            make(model_name, 1000 + index)

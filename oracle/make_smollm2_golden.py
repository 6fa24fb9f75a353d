#!/usr/bin/env python3
"""What SmolLM2 must say to 64 tokens: log-probabilities and logits computed with transformers in float64.

    tender convert models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf smollm2-hf --dtype f32
    oracle/make_smollm2_golden.py smollm2-hf

Writes src/model/golden/smollm2.json: ids, at every position the five likeliest tokens with their natural
log-probabilities, 400 logits at scattered places, and the bound of oracle/make_model_golden.py, which says how
both are computed (float64 but for rotary cosines; errors at full size with random signs).
"""

import json
import sys

import torch
import transformers

import make_model_golden as tiny

# The opening of the King James Bible, in the ids of SmolLM2's tokenizer.
TEXT = ("In the beginning God created the heaven and the earth. And the earth was without form, and void; and darkness "
        "was upon the face of the deep. And the Spirit of God moved upon the face of the waters. And God said, Let "
        "there be light: and there was light. And God saw the light, that it was good: and God divided the light.")
TOKENS, TOP, PLACES, DRAWS = 64, 5, 400, 4


def main():
    directory = sys.argv[1]
    ids = transformers.AutoTokenizer.from_pretrained(directory)(TEXT)["input_ids"][:TOKENS]
    assert len(ids) == TOKENS
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    double = tiny.in_float64(model)
    (exact,) = tiny.logits_of(double, [ids])
    (single,) = tiny.logits_of(model, [ids])
    del model
    generator = torch.Generator().manual_seed(2)
    bound = 0.0
    for _ in range(DRAWS):
        (changed,) = tiny.logits_of(tiny.with_errors(double, generator, TOKENS), [ids])
        bound = max(bound, (changed - exact).abs().max().item())
    places = torch.randint(0, exact.numel(), (PLACES,), generator=generator).tolist()
    values, tokens = exact.log_softmax(-1).topk(TOP)
    document = {
        "made_by": f"oracle/make_smollm2_golden.py, torch {torch.__version__.split('+')[0]}, "
                   f"transformers {transformers.__version__}",
        "ids": ids,
        "bound": float(f"{bound:.3e}"),
        "top": [[[t, round(v, 7)] for t, v in zip(ts, vs)] for ts, vs in zip(tokens.tolist(), values.tolist())],
        "logits": [[p // exact.shape[1], p % exact.shape[1], float(f"{exact.flatten()[p].item():.9g}")]
                   for p in sorted(places)],
    }
    (tiny.OUT / "smollm2.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")
    print(f"bound {bound:.2e}, transformers in float32 {(single - exact).abs().max().item():.2e}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Perplexity of an HF directory by transformers, to hold `tender eval perplexity` against.

    tender convert model.gguf hf --dtype f32
    python3 oracle/check_perplexity.py hf wiki.test.raw --protocol llama.cpp --limit 4
    tender eval perplexity hf --text wiki.test.raw --protocol llama.cpp --limit 4 --json

Prints the cross-entropy of each window and the perplexity. With --expect VALUE it fails unless the
perplexity is within 1e-4 of it, relatively. Needs torch and transformers; reads local files only.
"""

import argparse
import math
import re
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def joined(text: str, how: str) -> str:
    """The text that is tokenized, from the rows of a file (evaluation.md 5.1)."""
    rows = re.findall(r"[^\n]*\n|[^\n]+", text)
    if how == "wikitext":
        return "\n\n".join(row if row.strip() else "" for row in rows)
    if how == "lines":
        return "\n\n".join(row.rstrip("\n") for row in rows)
    return text


def losses(model, window: list[int]) -> torch.Tensor:
    """-ln P of every token but the first, in float64 from float32 logits."""
    with torch.no_grad():
        logits = model(torch.tensor([window])).logits[0, :-1].double()
    targets = torch.tensor(window[1:])
    return torch.logsumexp(logits, -1) - logits.gather(1, targets[:, None])[:, 0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--protocol", choices=["gptq", "llama.cpp"], default="gptq")
    parser.add_argument("--join", choices=["none", "wikitext", "lines"], default="none")
    parser.add_argument("--seqlen", type=int)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--expect", type=float)
    options = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(options.model, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(options.model, local_files_only=True, dtype=torch.float32).eval()
    # newline translation would change the bytes
    text = joined(options.text.read_bytes().decode("utf-8"), options.join)
    llama = options.protocol == "llama.cpp"
    if llama and text.endswith("\n"):
        text = text[:-1]
    ids = tokenizer(text)["input_ids"]
    adds_bos = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    seqlen = options.seqlen or (512 if llama else 2048)
    windows = min(len(ids) // seqlen, options.limit or len(ids))
    first = seqlen // 2 if llama else 0
    print(f"{len(ids)} tokens, {len(ids) // seqlen} windows of {seqlen}, {windows} evaluated")

    means = []
    for number in range(windows):
        window = ids[number * seqlen : (number + 1) * seqlen]
        if llama and adds_bos:
            window = [tokenizer.bos_token_id, *window[1:]]
        means.append(losses(model, window)[first:].mean().item())
        print(f"window {number}: cross-entropy {means[-1]:.9f}")
    perplexity = math.exp(sum(means) / len(means))  # windows are equally long: the mean of all tokens too
    print(f"perplexity {perplexity:.6f}")
    if options.expect is not None and abs(options.expect / perplexity - 1) > 1e-4:
        print(f"differs from {options.expect} by {options.expect / perplexity - 1:.2e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

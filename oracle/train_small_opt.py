#!/usr/bin/env python3
"""Trains a small OPT from scratch on WikiText-2 and writes it as a Hugging Face directory.

    oracle/train_small_opt.py ../shared/data/wikitext2 OUT [--minutes 20]

OPT is the family whose outlier channels the Tender paper is about, and no weights of it are at hand: this one is
small, but it was trained on real text, it has LayerNorms with offsets, ReLU and biases, and its numbers lie on no
quantization grid. Outlier channels come from `tender rewrite`, which does not change what it computes.

Byte-level BPE of 4096 tokens made from the training split; 4 layers of width 256, 4 heads, context 512, tied head.
The training split is the tokenised one (the raw one is not at hand): evaluate on wiki.test.tokens. Weights are
written as float16, products of the training in bfloat16. Needs torch, transformers, tokenizers; on two quiet cores
some 8000 tokens a second.
"""

import argparse
import json
import lzma
import math
import pathlib
import time

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import OPTConfig, OPTForCausalLM

VOCABULARY, CONTEXT, BATCH = 4096, 512, 8
SEED = 1


def make_tokenizer(text, out):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["</s>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="</s> $A", pair="</s> $A $B", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "</s>", "eos_token": "</s>",
        "model_max_length": CONTEXT}, indent=2) + "\n")
    return tokenizer


def encode(tokenizer, text):
    """As one stream, a line at a time: the tokenizer never joins over line ends of this text."""
    ids = []
    for encoded in tokenizer.encode_batch(text.splitlines(keepends=True), add_special_tokens=False):
        ids.extend(encoded.ids)
    return torch.tensor(ids)


@torch.no_grad()
def loss_of(model, ids):
    total, count = 0.0, 0
    for begin in range(0, len(ids) - CONTEXT, CONTEXT):
        window = ids[begin:begin + CONTEXT].unsqueeze(0)
        total += model(window, labels=window).loss.item()
        count += 1
    return total / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path, help="folder with wiki.train.tokens.xz and wiki.valid.tokens")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    options.out.mkdir(parents=True, exist_ok=True)
    train_text = lzma.open(options.data / "wiki.train.tokens.xz").read().decode()
    tokenizer = make_tokenizer(train_text, options.out)
    train = encode(tokenizer, train_text)
    valid = encode(tokenizer, (options.data / "wiki.valid.tokens").read_text())
    print(f"{len(train)} tokens to train on, {len(valid)} to check", flush=True)
    end = tokenizer.token_to_id("</s>")
    config = OPTConfig(vocab_size=VOCABULARY, hidden_size=256, word_embed_proj_dim=256, num_hidden_layers=4, ffn_dim=1024,
                       num_attention_heads=4, max_position_embeddings=CONTEXT, dropout=0.0, attention_dropout=0.0,
                       bos_token_id=end, eos_token_id=end, pad_token_id=end)
    model = OPTForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1)
    begin, step, shown = time.time(), 0, 0.0
    limit = options.minutes * 60
    while (spent := time.time() - begin) < limit:
        share = spent / limit
        rate = 2e-3 * min(1.0, (step + 1) / 200) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = torch.randint(len(train) - CONTEXT, (BATCH,))
        batch = torch.stack([train[s:s + CONTEXT] for s in starts])
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch, labels=batch).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if spent - shown > 60:
            shown = spent
            print(f"{spent / 60:5.1f} min, step {step}, {step * BATCH * CONTEXT} tokens, loss {loss.item():.3f}", flush=True)
    model.eval()
    print(f"perplexity of the validation split {math.exp(loss_of(model, valid)):.2f} after {step} steps", flush=True)
    model.to(torch.float16).save_pretrained(options.out, safe_serialization=True)


if __name__ == "__main__":
    main()

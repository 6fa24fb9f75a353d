#!/usr/bin/env python3
"""Quantizes the default model at W8A8 and W4A8, measures all on real text and generates with each.

usage: demo.py TENDER_BINARY [--windows N]
Run by ./demo. Writes demo.json beside the README and the quantized models under demo-out/.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "demo-out"
MODEL = ROOT / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPT = "The three most important inventions in human history are"
# The Old Testament calibrates, the New Testament is measured: no verse is in both.
CALIBRATION = ("kjv-old-testament.txt", "Gen1:1-Mal4:6")
EVALUATION = ("kjv-new-testament.txt", "Mat1:1-Rev22:21")
RECIPES = {
    "W8A8 Tender": ["--weight-bits", "8", "--activation-bits", "8"],
    "W4A8 Tender": ["--weight-bits", "4", "--activation-bits", "8"],
}
SAMPLES, SEQLEN = 16, 512


def say(text):
    print(f"\n\033[1m== {text}\033[0m" if sys.stderr.isatty() else f"\n== {text}", file=sys.stderr, flush=True)


def bible(name, verses):
    """A part of the King James Bible, one verse a line, verse marks stripped."""
    path = OUT / name
    if not path.exists():
        text = subprocess.run(["bible", "-f", verses], check=True, capture_output=True, text=True).stdout
        part = path.with_suffix(".partial")
        part.write_text(re.sub(r"(?m)^\S+?\d+:\d+\s", "", text))
        part.rename(path)
    return path


def wikitext():
    data = os.environ.get("TENDER_DATA")
    for root in filter(None, (data and pathlib.Path(data), ROOT.parent / "shared/data")):
        if (root / "wikitext2/wiki.test.raw").exists():
            return root / "wikitext2/wiki.test.raw"
    return None


def run(binary, *arguments):
    """Runs tender with --json; its progress goes to this terminal."""
    command = [binary, *map(str, arguments)]
    print("$ tender " + " ".join(map(str, arguments)).replace(str(ROOT) + "/", ""), file=sys.stderr, flush=True)
    done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"demo: {' '.join(command)} ended with {done.returncode}\n{done.stdout}")
    return json.loads(done.stdout)


def matrix_bits(facts):
    """Bits per weight of the linear layers of the original: all matrices but the embedding."""
    tensors = [t for t in facts["tensors"] if len(t["shape"]) == 2 and not t["name"].startswith("token_embd")]
    count = lambda shape: shape[0] * shape[1]
    return 8 * sum(t["bytes"] for t in tensors) / sum(count(t["shape"]) for t in tensors)


def measure(binary, name, path, texts, windows, *how):
    """`how`: flags of the commands that run the model."""
    row = {"model": name, "path": str(path.relative_to(ROOT))}
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    row["mebibytes"] = round(sum(file.stat().st_size for file in files) / 2**20, 1)
    row["perplexity"] = {}
    for label, text in texts.items():
        result = run(binary, "eval", "perplexity", path, "--text", text, "--protocol", "llama.cpp", "--limit", windows, *how)
        row["perplexity"][label] = {key: result[key] for key in (
            "perplexity", "standard_error", "protocol", "windows", "seqlen", "scored_tokens", "text_sha256")}
    speed = run(binary, "bench", path, "-p", 256, "-n", 32, "-r", 3, *how)
    for key in ("prefill_tokens_per_second", "decode_tokens_per_second", "threads", "kernels"):
        row[key] = speed[key]
    row["text"] = run(binary, "generate", path, "--prompt", PROMPT, "-n", 40, *how)["text"]
    return row


def table(rows, texts):
    head = ["model", "MiB", "bits/weight", "of all", *[f"perplexity {label}" for label in texts], "prefill tok/s", "decode tok/s"]
    lines = [head]
    for row in rows:
        lines.append([row["model"], f"{row['mebibytes']:.1f}", f"{row['bits_per_weight']:.2f}", f"{row['bits_per_weight_model']:.2f}",
                      *[f"{p['perplexity']:.3f} ± {p['standard_error']:.3f}" for p in row["perplexity"].values()],
                      f"{row['prefill_tokens_per_second']:.0f}", f"{row['decode_tokens_per_second']:.0f}"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(line, widths))) for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--windows", type=int, default=12, help="windows of 512 tokens per text and model")
    arguments = parser.parse_args()
    binary = str(pathlib.Path(arguments.binary).resolve())
    began = time.time()
    OUT.mkdir(exist_ok=True)
    calibration, evaluation = bible(*CALIBRATION), bible(*EVALUATION)
    texts = {"KJV": evaluation}
    if wikitext():
        texts["WikiText-2"] = wikitext()

    say("the model: SmolLM2-135M-Instruct (Apache-2.0) as it comes")
    facts = run(binary, "inspect", MODEL)
    say(facts["weights"])
    rows = []
    for name, weights in (("original, fp32", "dequantized"), ("original, packed", "packed")):
        say(f"perplexity, speed and text of the original, its weights {weights}")
        rows.append(measure(binary, name, MODEL, texts, arguments.windows, "--weights", weights))
        rows[-1]["bits_per_weight"] = matrix_bits(facts)
        rows[-1]["bits_per_weight_model"] = facts["bits_per_weight"]
    for name, recipe in RECIPES.items():
        say(f"{name}: quantize, then the same on the integer path")
        place = OUT / name.lower().replace(" ", "-")
        made = run(binary, "quantize", MODEL, place, "--method", "tender", *recipe, "--calibration", calibration,
                   "--samples", SAMPLES, "--seqlen", SEQLEN, "--force", "--restart")
        rows.append(measure(binary, name, place, texts, arguments.windows))
        rows[-1]["bits_per_weight"] = made["bits_per_weight"]
        rows[-1]["bits_per_weight_model"] = made["bits_per_weight_model"]
        rows[-1]["quantize_seconds"] = made["seconds"]

    say("the texts")
    for row in rows:
        print(f"[{row['model']}] {PROMPT}{row['text']}\n")
    print(table(rows, texts))
    print(f"\nbits/weight: as stored, of the 210 matrices of the layers; of all: all stored bytes over all parameters. Perplexity: llama.cpp protocol,\n"
          f"the first {arguments.windows} windows of 512 tokens of each text, a sample and no result to quote; calibrated on\n"
          f"{SAMPLES} x {SEQLEN} tokens of the Old Testament, KJV measured on the New. MiB: weight files.\n"
          f"{facts['weights']}")
    document = {"version": 1, "tender": facts["tender"], "prompt": PROMPT, "windows": arguments.windows,
                "weights": facts["weights"], "rows": rows, "seconds": round(time.time() - began, 1)}
    (ROOT / "demo.json").write_text(json.dumps(document, indent=2) + "\n")
    print(f"\ndemo.json written; {document['seconds']:.0f} s without the build")


main()

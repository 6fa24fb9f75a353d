"""Token ids of the HF `tokenizers` package on mixed text of the shared data, as hashes.

    python3 oracle/make_tokenizer_golden.py SHARED_DATA > src/text/golden/mixed_text_ids.json

Needs PyPI `tokenizers` and `sentencepiece` (the proto reader is not used: pieces and scores come from
the processor). The text is English, code and many languages, and 2 MB of it. Of each vocabulary the
golden keeps the number of ids and the SHA-256 of the ids as little-endian int32.
"""

import hashlib
import json
import pathlib
import struct
import sys

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

TEXTS = [
    "calib_exllamav2/code.utf8",
    "calib_exllamav2/multilingual.utf8",
    "calib_exllamav2/technical.utf8",
    "calib_exllamav2/tiny.utf8",
    "calib_exllamav2/c4.utf8",
    "wikitext2/wiki.valid.raw",
]
# What running text has too little of: emoji with joiners and skin tones, combining marks, rare blanks,
# numbers of other scripts, contractions in all cases, special tokens.
ODD = (
    "👩‍👩‍👧‍👦 👍🏽🇩🇪 é e\u0301 ﬁ Å \u00a0\u2003\u3000\u180e\u200b\u2028\u0085x\r\n\r\n\t\t \x00\x01\x7f "
    "I'M we'Ve THEY'LL don't 'S'd'Re ١٢٣ ४५६ Ⅷ ½ ² 一二三 1234567 3.14159 a1b2 <|endoftext|><s>hi</s> <unk>"
    "  two   three    four\n\n\n  x \n y 한국어 日本語テスト العربية עברית ไทย हिन्दी ▁▁▁ ▁a ======== -------- \ufeff\ufffd"
) * 3


def byte_level(folder, digits, special):
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    out = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    steps = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False))
    out.pre_tokenizer = pre_tokenizers.Sequence(steps)
    out.decoder = decoders.ByteLevel()
    out.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return out


def llama2(path):
    processor = sentencepiece.SentencePieceProcessor(str(path))
    pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for i in range(259, len(pieces)):  # behind the special and the byte pieces
        for cut in range(1, len(pieces[i])):
            left, right = pieces[i][:cut], pieces[i][cut:]
            if left in vocab and right in vocab:
                merges.append((-processor.get_score(i), vocab[left], vocab[right], left, right))
    merges.sort(key=lambda merge: merge[:3])
    out = Tokenizer(
        models.BPE(vocab=vocab, merges=[m[3:] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    out.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    out.add_special_tokens([AddedToken(token, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    return out


def main():
    data = pathlib.Path(sys.argv[1])
    text = "".join((data / name).read_bytes().decode("utf-8") for name in TEXTS) + ODD
    folder = data / "tokenizers"
    smollm = json.loads((folder / "smollm/vocab.json").read_text(encoding="utf-8"))
    kinds = {
        "gpt2": byte_level(folder / "gpt2", False, ["<|endoftext|>"]),
        "opt": byte_level(folder / "opt", False, ["<s>", "<pad>", "</s>", "<unk>", "<|endoftext|>"]),
        "smollm": byte_level(folder / "smollm", True, sorted(smollm, key=smollm.get)[:17]),
        "llama2": llama2(folder / "llama2/tokenizer.model"),
    }
    golden = {
        "texts": TEXTS,
        "odd": ODD,
        "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "tokenizers_version": tokenizers.__version__,
        "ids": {},
    }
    for name, tokenizer in kinds.items():
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        packed = struct.pack(f"<{len(ids)}i", *ids)
        golden["ids"][name] = {"count": len(ids), "sha256": hashlib.sha256(packed).hexdigest()}
        if len(sys.argv) > 2:
            pathlib.Path(sys.argv[2], name + ".ids").write_bytes(packed)
    if len(sys.argv) > 2:
        pathlib.Path(sys.argv[2], "text.txt").write_bytes(text.encode())
    print(json.dumps(golden, indent=1))


main()

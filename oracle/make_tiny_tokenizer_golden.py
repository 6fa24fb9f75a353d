"""Tiny tokenizers with the ids that the HF `tokenizers` package gives for many odd texts.

    python3 oracle/make_tiny_tokenizer_golden.py > src/text/golden/tiny_tokenizers.json

Needs PyPI `tokenizers` (0.23.3 wrote the committed file). Two BPE models are trained here by counting
pairs in a few sentences, one over bytes and one over pieces; the other parts of each tokenizer.json
vary. `numbers` says which of `texts` a tokenizer sees, `plain` has the ids of each text without, `around` those of the empty text with what the
post-processor adds. `literal` (special tokens in the text are text) and `decoded` (without special
tokens) hold what differs from `plain` and from the text, by place in `numbers`.
"""

import collections
import json
import random

from tokenizers import Tokenizer

CORPUS = (
    "the quick brown fox jumps over the lazy dog and the dog does not care about the fox at all "
    "in the beginning there was the word and the word was short then there were many words and numbers "
    "don't you think they're there we've seen it'll be what I'd say isn't it's the year 2024 and 1999 "
    "return value if value else none for index in range 100 print hello world hello there naïve café "
).split()
MARK = "▁"
L = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

TEXTS = [
    "",
    " ",
    "hello",
    " hello",
    "hello world",
    "the dog and the fox",
    "  two  blanks   three    four",
    "trailing  ",
    "\n",
    "a\r\nb\r\n\r\nc\n\n\nd",
    " \n \n  x",
    "\ttab\t\ttabs",
    "don't DON'T we've WE'VE they'LL I'm I'M 's 'S ''d",
    "1 12 123 1234 12345 3.14 1e9 x2y ٣٤ Ⅷ ½ ² 一二三",
    "naïve café e\u0301 \u00e9 \u1e9b\u0323 ﬁ Å \u212b \u0130 İstanbul ΑΣ",
    "👩‍👩‍👧 👍🏽 🇩🇪 😀😀",
    "日本語のテキスト。中文，标点！ 한국어 ไทย हिन्दी العربية",
    "a\u00a0b\u2003c\u3000d\u200be\u2028f\u0085g\ufeffh",
    "nul\x00in\x01the\x7ftext",
    "<s>hi</s> <s> hi </s><unk>",
    "the<tok>dog <tok> fox  <tok>  end",
    "<l>a  <l>b\n<l> c<r>d <r>  e<r>\n\nf",
    "word wordy sword <w> a<w> <w>b <w>",
    "Loud LOUD loud <N> <n> <N>x",
    "▁the ▁ ▁▁ a▁b",
    "if (value[0] == 100) { return none; } // hello_world $x = ^y~|z`",
    "a,b;c.d,,e..f, g",
    "....",
    "the-dog--fox---",
    "[[nested]] <not a token> <",
]


def random_texts(seed, count):
    rng = random.Random(seed)
    atoms = CORPUS[:40] + list(" \n\t.,'\"<>/0123456789") + ["  ", "\r\n", "<s>", "<tok>", "é", "e\u0301", "語", "😀", "ß", "\u00a0"]
    return ["".join(rng.choice(atoms) for _ in range(rng.randrange(2, 16))) for _ in range(count)]


def train(words, count):
    """(alphabet, merges): the most frequent pair first, ties by text."""
    counts = collections.Counter(tuple(word) for word in words)
    alphabet = sorted({c for word in counts for c in word})
    merges = []
    for _ in range(count):
        pairs = collections.Counter()
        for word, n in counts.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        joined = collections.Counter()
        for word, n in counts.items():
            out = []
            for c in word:
                if out and (out[-1], c) == best:
                    out[-1] += c
                else:
                    out.append(c)
            joined[tuple(out)] += n
        counts = joined
    return alphabet, merges


def stand_ins():
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return {b: chr(b if b in own else next(others)) for b in range(256)}


def byte_model():
    table = stand_ins()
    words = ["".join(table[b] for b in ((" " if i else "") + w).encode()) for i, w in enumerate(CORPUS)]
    words += ["".join(table[b] for b in w.encode()) for w in ("  ", "  ", "    ", "\n\n", "12", "123", "é", "語")]
    _, merges = train(words, 110)
    # One word that merges do not make, for ignore_merges.
    tokens = ["<unk>", "<s>", "</s>"] + [table[b] for b in range(256)] + ["".join(m) for m in merges] + ["Ġwordy"]
    return {"vocab": {t: i for i, t in enumerate(dict.fromkeys(tokens))}, "merges": merges}


def piece_model():
    alphabet, merges = train([MARK + w for w in CORPUS] + [MARK * 2, MARK * 2, MARK * 4], 110)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + alphabet + ["".join(m) for m in merges]
    return {"vocab": {t: i for i, t in enumerate(dict.fromkeys(tokens))}, "merges": [" ".join(m) for m in merges]}


def byte_level(prefix=False, use_regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": use_regex}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def pre(*steps):
    return sequence("pretokenizers", *steps)


def metaspace(scheme, split_words):
    return {"type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme, "split": split_words}


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
LLAMA_NORMALIZER = sequence("normalizers", {"type": "Prepend", "prepend": MARK}, REPLACE)
LLAMA_DECODER = sequence(
    "decoders",
    {"type": "Replace", "pattern": {"String": MARK}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
)


def template(bos, eos):
    side = lambda t: [{"SpecialToken": {"id": t, "type_id": 0}}] if t else []
    single = side(bos) + [{"Sequence": {"id": "A", "type_id": 0}}] + side(eos)
    ids = {"<s>": 1, "</s>": 2}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in (bos, eos) if t},
    }


def added(content, token_id, **flags):
    out = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {"id": token_id, "content": content, **out, **flags}


FIRST = 1000  # the first id behind a model's vocabulary is put in its place: the library numbers them so
SPECIAL = [added(t, i, special=True) for i, t in enumerate(("<unk>", "<s>", "</s>"))]
FLAGGED = SPECIAL + [
    added("<tok>", FIRST + 0),
    added("<l>", FIRST + 1, lstrip=True),
    added("<r>", FIRST + 2, rstrip=True, special=True),
    added("<w>", FIRST + 3, single_word=True),
    added("<n>", FIRST + 4, normalized=True),
    added("word", FIRST + 5, single_word=True, normalized=True),
    added("<tok> f", FIRST + 6),
]


def documents():
    """name, model, options of the model, the rest of tokenizer.json."""
    bytes_of = lambda steps, **rest: {"pre_tokenizer": steps, "decoder": byte_level(), "added_tokens": SPECIAL, **rest}
    pieces_of = lambda **rest: {"decoder": LLAMA_DECODER, "added_tokens": SPECIAL, **rest}
    fallback = {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    digits = {"type": "Digits", "individual_digits": True}
    plain = byte_level(use_regex=False)
    yield "gpt2", "bytes", {}, bytes_of(byte_level())
    yield "roberta", "bytes", {}, bytes_of(
        byte_level(prefix=True),
        post_processor={"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True, "add_prefix_space": True},
    )
    yield "smollm", "bytes", {}, bytes_of(pre(digits, byte_level()))
    yield "llama3", "bytes", {"ignore_merges": True}, bytes_of(
        pre(split(L), plain), post_processor=sequence("processors", byte_level(), template("<s>", None))
    )
    yield "qwen2", "bytes", {}, bytes_of(pre(split(L.replace("{1,3}", "")), plain), normalizer={"type": "NFC"})
    yield "falcon", "bytes", {}, bytes_of(
        pre({"type": "Punctuation", "behavior": "Contiguous"}, byte_level(), {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]"))
    )
    yield "flags", "bytes", {}, bytes_of(
        byte_level(), added_tokens=FLAGGED, normalizer={"type": "Lowercase"}, post_processor=template("<s>", "</s>")
    )
    yield "nfkc", "bytes", {}, bytes_of(
        byte_level(), normalizer=sequence("normalizers", {"type": "NFKC"}, {"type": "Strip", "strip_left": True, "strip_right": False})
    )
    yield "accents", "bytes", {}, bytes_of(
        byte_level(),
        normalizer=sequence("normalizers", {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}),
    )
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        yield behavior, "bytes", {}, bytes_of(pre(split(r"[,.;]|\d", behavior), plain))
    yield "inverted", "bytes", {}, bytes_of(pre(split(r"\w+", "Removed", True), plain))
    yield "words", "bytes", {}, bytes_of(pre({"type": "WhitespaceSplit"}, plain))
    yield "words_and_signs", "bytes", {}, bytes_of(pre({"type": "Whitespace"}, plain))
    yield "delimiter", "bytes", {}, bytes_of(pre({"type": "CharDelimiterSplit", "delimiter": "-"}, split("the", kind="String"), plain))
    yield "llama2", "pieces", fallback, pieces_of(normalizer=LLAMA_NORMALIZER, post_processor=template("<s>", None))
    yield "first", "pieces", fallback, pieces_of(pre_tokenizer=metaspace("first", False), added_tokens=FLAGGED)
    yield "always", "pieces", fallback, pieces_of(pre_tokenizer=metaspace("always", True), decoder=metaspace("always", True))
    yield "never", "pieces", fallback, pieces_of(pre_tokenizer=metaspace("never", True), decoder=metaspace("never", True))
    yield "fused", "pieces", {"fuse_unk": True, "unk_token": "<unk>"}, pieces_of(normalizer=REPLACE)
    yield "unfused", "pieces", {"unk_token": "<unk>"}, pieces_of(normalizer=REPLACE)
    yield "dropped", "pieces", {}, {"added_tokens": SPECIAL, "normalizer": REPLACE}


def differing(values, usual):
    return {str(i): value for i, (value, other) in enumerate(zip(values, usual)) if value != other}


# What the ways of splitting need; the other tokenizers see all texts.
FEW = [0, 2, 6, 9, 10, 13, 14, 19, 25, 26, 27, 28, 30, 31]
FEW_FOR = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous", "inverted", "words",
           "words_and_signs", "delimiter", "accents", "never", "unfused", "falcon", "always"}


def main():
    models = {"bytes": byte_model(), "pieces": piece_model()}
    all_texts = TEXTS + random_texts(1, 8)
    out = {"models": models, "texts": all_texts, "tokenizers": []}
    for name, model, options, rest in documents():
        numbers = FEW if name in FEW_FOR else list(range(len(all_texts)))
        texts = [all_texts[i] for i in numbers]
        base = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
        document = {"version": "1.0", "truncation": None, "padding": None, "normalizer": None,
                    "pre_tokenizer": None, "post_processor": None, "decoder": None, **rest,
                    "added_tokens": list(rest["added_tokens"]),
                    "model": {**base, **options, **models[model]}}
        for token in document["added_tokens"]:
            if token["id"] >= FIRST:
                document["added_tokens"][document["added_tokens"].index(token)] = {
                    **token, "id": token["id"] - FIRST + len(models[model]["vocab"])}
        tokenizer = Tokenizer.from_str(json.dumps(document))
        ids = [tokenizer.encode(text).ids for text in texts]
        plain = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        tokenizer.encode_special_tokens = True
        literal = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        decoded = [tokenizer.decode(line, skip_special_tokens=True) for line in plain]
        document["model"] = {**options, "type": "BPE"}
        out["tokenizers"].append({
            "name": name, "model": model, "numbers": numbers, "document": document, "plain": plain,
            "around": ids[0], "literal": differing(literal, plain), "decoded": differing(decoded, texts),
        })
        for line, bare in zip(ids, plain):  # what is put around does not depend on the text
            assert len(line) == len(bare) + len(ids[0]), name
    print(json.dumps(out, ensure_ascii=True, separators=(",", ":")).replace('{"name"', '\n{"name"').replace(',"texts"', ',\n"texts"'))


main()

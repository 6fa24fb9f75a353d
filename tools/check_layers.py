#!/usr/bin/env python3
"""Holds every #include "module/…" of src/ against src/layers.txt."""
import pathlib
import re
import sys

src = pathlib.Path(__file__).resolve().parent.parent / "src"
lines = [line.split(":") for line in (src / "layers.txt").read_text().splitlines() if line.strip()]
allowed = {name.strip(): {name.strip(), *rest.split()} for name, rest in lines}
bad = []
for path in sorted([*src.rglob("*.h"), *src.rglob("*.cc")]):
    module = path.relative_to(src).parts[0]
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'#include "(\w+)/', line)
        if match and match[1] not in allowed[module] and match[1] != "tests":
            bad.append(f"src/{path.relative_to(src)}:{number}: {module} may not include {match[1]}")
print("\n".join(bad))
sys.exit(bool(bad))

#!/usr/bin/env bash
# Fails when an object built with ISA flags defines a weak function: the linker may keep that copy
# of a template for everybody, and older CPUs would die of it.
# usage: check_isa_objects.sh BUILD_DIR
set -eu
bad=0
while IFS= read -r object; do
  weak=$(nm --defined-only -C "$object" | grep -E ' [WV] ' | grep -vE ' (DW|typeinfo)' || true)
  if [ -n "$weak" ]; then
    echo "$object defines weak symbols:"
    echo "$weak"
    bad=1
  fi
done < <(find "$1/CMakeFiles" -regextype posix-extended -regex '.*_(avx2|avxvnni|avx512|vnni|vbmi|bf16|amx)\.cc\.o')
exit $bad

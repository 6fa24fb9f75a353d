#!/usr/bin/env python3
"""What Tender with the numerics of the released code (tender --numerics compat) must give on small sites.

Writes src/quant/methods/tender/golden/compat.json. Needs the standard library alone: float16 and float32 are
rounded by `struct`, sums are exact or in float64. Written from the specification (tender.md 2.3 to 2.6, 2.11,
3.2, 3.3), apart from the C++ code. Everything follows from the seeds, so a second run writes the same bytes.
"""

import json
import pathlib
import random
import struct

UNSIGNED, SIGNED = True, False


def f16(value):
    return struct.unpack("<e", struct.pack("<e", value))[0]


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def draw_rows(rng, rows, width, reach, unsigned):
    """Multiples of 2^-8, some channels louder and off centre: all of them float16 numbers."""
    out = []
    for _ in range(rows):
        row = []
        for k in range(width):
            loud = 16 if k % 5 == 1 else 1 + k % 3
            value = round(rng.uniform(-1, 1) * reach * loud * 16 + (k % 4) * reach * 8) / 256
            row.append(f16(max(value, 0.0) if unsigned else value))
        out.append(row)
    return out


def chunks_of(rows, height):
    return [rows[at : at + height] for at in range(0, len(rows), height)]


def statistics(chunk, height, unsigned, centred):
    """Mid-range, CMax and TMax of one chunk by itself; zero rows fill it up (2.3)."""
    width = len(chunk[0])
    filled = chunk + [[0.0] * width] * (height - len(chunk))
    bias, cmax = [], []
    for k in range(width):
        column = [row[k] for row in filled]
        middle = (max(column) + min(column)) / 2 if centred else 0.0
        bias.append(middle)
        cmax.append(max(column) if unsigned else max(abs(x - middle) for x in column))
    return bias, cmax, max(cmax)


def thresholds(tmax, groups):
    return [f16(f16(tmax) / 2 ** (groups - 1 - i)) for i in range(groups)]


def group_of(cmax, limits):
    index = 0
    for i in range(1, len(limits)):
        if f16(cmax) > limits[i - 1]:
            index = i
    return index


def steps_of(limits, high):
    return [f32(max(f16(limit / high), f32(1e-9))) for limit in limits]


def rounded(x, bias, step, high, unsigned):
    if unsigned:
        return min(max(round(f16(f16(x) / step)), 0), high)
    return round(min(max(f32(f32(x - bias) / step), -high - 1), high))


def case(name, seed, bits, groups, height, mode, unsigned, reach, centred):
    rng = random.Random(seed)
    width, outs = 7, 3
    high = 2**bits - 1 if unsigned else 2 ** (bits - 1) - 1
    top = 2 ** (bits - 1) - 1
    weights = [[rng.randint(-top, top) for _ in range(width)] for _ in range(outs)]
    for n in range(outs):
        weights[n][n] = top if n % 2 == 0 else -top  # the largest: scales are 1
    samples = [draw_rows(rng, length, width, reach, unsigned) for length in (7, 8, 5)]
    # Rows that calibration has not seen, a little louder: some of them are clipped.
    rows = draw_rows(rng, 10, width, reach * 1.125, unsigned)
    made = {"bias": [], "tmax": [], "group": []}
    if mode == "static":
        count = max(len(chunks_of(sample, height)) for sample in samples)
        for c in range(count):
            seen = [
                statistics(chunks_of(sample, height)[c], height, unsigned, centred)
                for sample in samples
                if len(chunks_of(sample, height)) > c
            ]
            tmax = max(one[2] for one in seen)
            limits = thresholds(tmax, groups)
            made["tmax"].append(tmax)
            made["bias"] += [f32(sum(one[0][k] for one in seen) / len(seen)) for k in range(width)] if centred else []
            made["group"] += [group_of(max(one[1][k] for one in seen), limits) for k in range(width)]
    values, results = [], []
    for m, row in enumerate(rows):
        c = m // height
        if mode == "static":
            c = min(c, len(made["tmax"]) - 1)
            tmax, bias = made["tmax"][c], made["bias"][c * width : (c + 1) * width]
            group = made["group"][c * width : (c + 1) * width]
        else:
            bias, cmax, tmax = statistics(chunks_of(rows, height)[c], height, unsigned, centred)
            group = [group_of(value, thresholds(tmax, groups)) for value in cmax]
        bias = bias if centred else [0.0] * width
        steps = steps_of(thresholds(tmax, groups), high)
        codes = [rounded(row[k], bias[k], steps[group[k]], high, unsigned) for k in range(width)]
        values.append([codes[k] * steps[group[k]] for k in range(width)])
        results.append(
            [sum(values[-1][k] * w[k] for k in range(width)) + sum(bias[k] * w[k] for k in range(width)) for w in weights]
        )
    return {
        "name": name, "bits": bits, "groups": groups, "chunk_rows": height, "mode": mode,
        "unsigned": unsigned, "centred": centred, "samples": samples, "weights": weights, "rows": rows,
        **made, "values": values, "results": results,
    }  # fmt: skip


def main():
    cases = [
        case("static, 4 bits", 1, 4, 5, 4, "static", SIGNED, 8.0, True),
        case("static, 8 bits", 2, 8, 8, 4, "static", SIGNED, 8.0, True),
        case("static, not centred", 3, 4, 14, 4, "static", SIGNED, 4.0, False),
        case("scales below the normal numbers of float16", 4, 4, 20, 4, "static", SIGNED, 0.25, True),
        case("unsigned codes", 5, 4, 8, 4, "static", UNSIGNED, 2.0, False),
        case("unsigned codes of 8 bits", 6, 8, 4, 4, "static", UNSIGNED, 8.0, False),
        case("dynamic, 4 bits", 7, 4, 8, 4, "dynamic", SIGNED, 8.0, True),
        case("dynamic, 8 bits, not centred", 8, 8, 8, 4, "dynamic", SIGNED, 8.0, False),
    ]
    out = pathlib.Path(__file__).parents[1] / "src/quant/methods/tender/golden/compat.json"
    out.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(each) for each in cases)
    out.write_text("[\n" + lines + "\n]\n")


if __name__ == "__main__":
    main()

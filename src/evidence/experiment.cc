#include "evidence/experiment.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"

namespace tender::evidence {
namespace {

std::string bits(int weights, int activations) {
  return fmt::format(R"("weight_bits": {}, "activation_bits": {})", weights, activations);
}

Variant rtn(int b, const char* name, const char* granularity, const char* remark = "") {
  return {fmt::format("INT{}", b), name, "rtn",
          fmt::format(R"({{{}, "activation_granularity": "{}"}})", bits(b, b), granularity),
          remark};
}

/// Tender with nothing beyond the paper but what is named.
/// @param more  members of a JSON object
Variant tender_at(int weights, int activations, std::string group, std::string name,
                  const std::string& more, double x = 0) {
  Json options = Json::parse(fmt::format("{{{}}}", bits(weights, activations)));
  options.update({{"mode", "static"},
                  {"multiplier_group", 0},
                  {"rotation", "none"},
                  {"weight_search", "rtn"},
                  {"weight_scale", "max"},
                  {"first_row_share", 0}});
  options.update(Json::parse("{" + more + "}"));
  return {std::move(group), std::move(name), "tender", options.dump(), "", x};
}

/// Tender as this build recommends it.
Variant recommended(int weights, int activations, std::string group, std::string name) {
  return {std::move(group), std::move(name), "tender",
          fmt::format("{{{}}}", bits(weights, activations)), ""};
}

/// Tender as the paper runs it.
Variant paper_tender(int b) {
  Variant row = tender_at(b, b, fmt::format("INT{}", b), "Tender", R"("mode": "static")");
  row.paper_bits = b;
  return row;
}

/// The same row with attention in integers of the same bits, too.
Variant with_attention(Variant row, int b, const std::string& name) {
  row.name = name;
  row.attention = model::AttentionBits{b, b};
  return row;
}

/// Table 1: which values of the activations share a scale.
Experiment table1() {
  Experiment table{"tender-table1",
                   "per-tensor, per-row and per-column activations at 8 and 4 bits (Table 1)",
                   {2048},
                   {},
                   {}};
  for (const int b : {8, 4}) {
    table.variants.push_back(rtn(b, "per tensor", "tensor"));
    table.variants.push_back(rtn(b, "per row", "token"));
    table.variants.push_back(
        rtn(b, "per column", "channel", "evaluated in float: no integer product can have it"));
    table.variants.push_back(paper_tender(b));
  }
  return table;
}

/// Rows of Tables 2 and 3, which differ in their lengths.
std::vector<Variant> against_others() {
  std::vector<Variant> rows;
  for (const int b : {8, 4}) {
    const std::string group = fmt::format("INT{}", b);
    const std::string same = fmt::format("{{{}}}", bits(b, b));
    rows.push_back({group, "SmoothQuant", "smoothquant", same, ""});
    rows.push_back({group, "SmoothQuant, powers of two", "smoothquant",
                    fmt::format(R"({{{}, "factors": "powers-of-two"}})", bits(b, b)), ""});
    rows.push_back({group, "ANT", "ant", same, ""});
    rows.push_back({group, "OliVe", "olive", same, ""});
    rows.push_back(paper_tender(b));
    rows.push_back(recommended(b, b, group, "Tender, recommended here"));
  }
  return rows;
}

/// The rows of Table 2 with attention in integers as well ("all").
std::vector<Variant> against_others_and_all() {
  std::vector<Variant> rows;
  for (Variant& row : against_others()) {
    const int b = row.group == "INT8" ? 8 : 4;
    const bool paper = row.name == "Tender";
    const bool last = row.name == "Tender, recommended here";
    const Variant copy = row;
    rows.push_back(std::move(row));
    if (!paper && !last) continue;
    rows.push_back(with_attention(copy, b, paper ? "Tender (all)" : "Tender (all), recommended"));
    rows.back().remark = "attention rounds rows and blocks by themselves (adr/0005)";
  }
  return rows;
}

Experiment groups() {
  Experiment sweep{"tender-groups",
                   "perplexity against the number of groups and the rows of a chunk (plot)",
                   {2048},
                   {},
                   {}};
  for (const int b : {8, 4}) {
    const std::string by_groups = fmt::format("INT{}, groups", b);
    for (const int g : {1, 2, 3, 4, 6, 8, 10, 12, 14, 16})
      sweep.variants.push_back(tender_at(b, b, by_groups, fmt::format("G {}", g),
                                         fmt::format(R"("mode": "static", "groups": {})", g), g));
    sweep.plot.push_back({by_groups, "groups"});
    const std::string by_rows = fmt::format("INT{}, rows of a chunk", b);
    for (const int r : {32, 64, 128, 256, 512, 1024, 2048})
      sweep.variants.push_back(tender_at(b, b, by_rows, fmt::format("R {}", r),
                                         fmt::format(R"("mode": "static", "chunk_rows": {})", r),
                                         r));
    sweep.plot.push_back({by_rows, "rows of a chunk"});
  }
  return sweep;
}

/// The block types that everybody has at hand (GGUF), rows in blocks of 32 as well.
/// @param more  members of a JSON object
Variant blocks(std::string group, std::string name, const char* type, const std::string& more,
               std::string remark = "") {
  return {std::move(group), std::move(name), "gguf",
          fmt::format(R"({{"weight_type": "{}", {}}})", type, more), std::move(remark)};
}

/// Weights and activations at 4 bits: the paper's format calibrated, rounded the other way, and
/// with the chunk's own scales, beside what this build recommends.
void add_w4a4(std::vector<Variant>& rows) {
  const std::string w4a4 = "W4A4";
  const auto paper = [&](const char* name, const char* more) {
    rows.push_back(tender_at(4, 4, w4a4, name, more));
  };
  rows.push_back({w4a4, "RTN, per token", "rtn", fmt::format("{{{}}}", bits(4, 4)), ""});
  const std::string both = R"("activation_bits": 4)";
  rows.push_back(blocks(w4a4, "Q4_0's grid, blocks of 32 on both sides", "q4_0", both));
  rows.push_back(blocks(w4a4, "Q4_0's grid, GPTQ, blocks of 32 on both sides", "q4_0",
                        both + R"(, "weight_search": "gptq")"));
  rows.push_back(blocks(w4a4, "Q4_0's grid, GPTQ, first row 0.05, blocks of 32 on both sides",
                        "q4_0", both + R"(, "weight_search": "gptq", "first_row_share": 0.05)"));
  paper("static (the paper)", R"("mode": "static")");
  paper("static, rounded down", R"("mode": "static", "rounding": "down")");
  paper("static, rounding by site", R"("mode": "static", "rounding": "choose")");
  paper("static, released code's numerics", R"("mode": "static", "numerics": "compat")");
  paper("dynamic, chunks of 256", R"("mode": "dynamic")");
  paper("dynamic, with its bias", R"("mode": "dynamic", "bias": "dynamic")");
  rows.back().remark = "evaluation only: the unquantized weights are stored for the bias";
  const auto recommended_in = [&](const char* mode) {
    return Variant{w4a4, fmt::format("recommended, {}", mode), "tender",
                   fmt::format(R"({{{}, "mode": "{}"}})", bits(4, 4), mode), ""};
  };
  rows.push_back(recommended(4, 4, w4a4, "recommended"));
  for (const char* mode : {"static", "dynamic", "one-row"}) rows.push_back(recommended_in(mode));
  rows.back().remark = "no activations of 4 bits: every element has an exponent";
  rows.push_back({w4a4, "recommended, static, rounded down", "tender",
                  fmt::format(R"({{{}, "mode": "static", "rounding": "down"}})", bits(4, 4)), ""});
  for (const auto& [name, rotation] : {std::pair("recommended, not rotated", "none"),
                                       std::pair("recommended, all rotated", "hadamard")})
    rows.push_back({w4a4, name, "tender",
                    fmt::format(R"({{{}, "rotation": "{}"}})", bits(4, 4), rotation), ""});
  rows.push_back(recommended(4, 5, "W4A5", "recommended"));
  rows.back().remark = "at the bits that blocks of 32 on both sides take";
}

/// Each idea alone and all together.
Experiment ablation() {
  Experiment table{"ablation",
                   "what goes beyond the paper: each switch alone, and all together",
                   {2048},
                   {},
                   {}};
  auto& rows = table.variants;
  const std::string w8 = "W8A8";
  rows.push_back({w8, "RTN, per token", "rtn", fmt::format("{{{}}}", bits(8, 8)), ""});
  rows.push_back({w8, "LLM.int8()", "llm_int8", fmt::format("{{{}}}", bits(8, 8)),
                  "outlier channels by calibration, in float16"});
  rows.push_back(tender_at(8, 8, w8, "static (the paper)", R"("mode": "static")"));
  rows.push_back(tender_at(8, 8, w8, "row-scaled", R"("mode": "row-scaled")"));
  rows.push_back(tender_at(8, 8, w8, "one-row", R"("mode": "one-row")"));
  for (const int chunk : {16, 64})
    rows.push_back(tender_at(8, 8, w8, fmt::format("dynamic, chunks of {}", chunk),
                             fmt::format(R"("mode": "dynamic", "chunk_rows": {})", chunk)));
  rows.push_back(tender_at(8, 8, w8, "auto", R"("mode": "auto")"));
  rows.push_back(tender_at(8, 8, w8, "auto, GPTQ", R"("mode": "auto", "weight_search": "gptq")"));
  rows.push_back(recommended(8, 8, w8, "auto, rotation (recommended)"));
  rows.push_back(
      with_attention(recommended(8, 8, w8, ""), 8, "recommended, attention and KV cache 8 bits"));
  const std::string w4 = "W4A8";
  const std::string mode = R"("mode": "auto")";
  const std::string multipliers = R"("multiplier_group": 64)";
  const std::string gptq = R"("weight_search": "gptq")";
  const std::string rotation = R"("rotation": "hadamard")";
  rows.push_back(
      {w4, "RTN groups of 32, per token", "rtn",
       fmt::format(R"({{{}, "weight_granularity": "group", "group_size": 32}})", bits(4, 8)), ""});
  const std::string eight = R"("activation_bits": 8)";
  rows.push_back(blocks(w4, "Q4_0's grid, rows in blocks of 32", "q4_0", eight));
  rows.push_back(blocks(w4, "Q4_0's grid, GPTQ, rows in blocks of 32", "q4_0",
                        eight + R"(, "weight_search": "gptq")"));
  rows.push_back(blocks(w4, "Q4_0's grid, GPTQ, first row 0.05, rows in blocks of 32", "q4_0",
                        eight + R"(, "weight_search": "gptq", "first_row_share": 0.05)"));
  rows.push_back(tender_at(4, 8, w4, "static (the paper)", R"("mode": "static")"));
  rows.push_back(tender_at(4, 8, w4, "auto", mode));
  rows.push_back(tender_at(4, 8, w4, "multipliers", fmt::format("{}, {}", mode, multipliers)));
  rows.push_back(tender_at(4, 8, w4, "GPTQ", fmt::format("{}, {}", mode, gptq)));
  rows.push_back(tender_at(4, 8, w4, "GPTQ, first row 0.05",
                           fmt::format("{}, {}, {}", mode, gptq, R"("first_row_share": 0.05)")));
  rows.push_back(tender_at(4, 8, w4, "rotation", fmt::format("{}, {}", mode, rotation)));
  rows.push_back(
      tender_at(4, 8, w4, "multipliers, GPTQ", fmt::format("{}, {}, {}", mode, multipliers, gptq)));
  rows.push_back(tender_at(4, 8, w4, "multipliers, rotation",
                           fmt::format("{}, {}, {}", mode, multipliers, rotation)));
  rows.push_back(tender_at(4, 8, w4, "multipliers, GPTQ, rotation",
                           fmt::format("{}, {}, {}, {}", mode, multipliers, gptq, rotation)));
  rows.push_back({w4, "all, first row as any other: with MSE scales as the sweep goes", "tender",
                  fmt::format(R"({{{}, "first_row_share": 0}})", bits(4, 8)), ""});
  rows.push_back(recommended(4, 8, w4, "all (recommended), first row 0.05"));
  const std::string w4a16 = "W4, activations not rounded";
  for (const char* method : {"rtn", "gptq"})
    rows.push_back({w4a16, fmt::format("{}, groups of 32", method), method,
                    R"({"weight_bits": 4, "weight_granularity": "group", "group_size": 32, )"
                    R"("activation_granularity": "none"})",
                    "symmetric, float32 scales"});
  rows.push_back(blocks(w4a16, "Q4_0's grid", "q4_0", R"("activation_granularity": "none")"));
  add_w4a4(rows);
  return table;
}

/// Where the loss sits: each kind of site quantized alone, the others in float.
Experiment sites() {
  Experiment table{"tender-sites",
                   "the share of each kind of site in the loss at 8 bits: all, and each alone",
                   {2048},
                   {},
                   {}};
  const std::pair<const char*, std::vector<std::string>> kinds[] = {
      {"all", {}},
      {"q, k, v", {"qkv"}},
      {"output of attention", {"o_proj", "out_proj"}},
      {"first of the MLP", {"gate_up", "fc1"}},
      {"second of the MLP", {"down_proj", "fc2"}}};
  for (const auto& [name, only] : kinds) {
    for (Variant row : {Variant{"RTN, per token", "", "rtn", fmt::format("{{{}}}", bits(8, 8)), ""},
                        tender_at(8, 8, "Tender, static (the paper)", "", R"("mode": "static")"),
                        recommended(8, 8, "Tender, recommended here", "")}) {
      row.name = name;
      row.only = only;
      table.variants.push_back(std::move(row));
    }
  }
  std::ranges::stable_sort(table.variants, std::less<>(), &Variant::group);
  return table;
}

std::vector<Experiment> make_all() {
  std::vector<Experiment> all;
  all.push_back(table1());
  all.push_back({"tender-table2",
                 "against SmoothQuant, ANT and OliVe, linear layers (Table 2)",
                 {2048},
                 against_others(),
                 {}});
  all.push_back({"tender-table3",
                 "the same at lengths 2048, 256 and 32 (Table 3)",
                 {2048, 256, 32},
                 against_others_and_all(),
                 {}});
  all.push_back(groups());
  all.push_back(ablation());
  all.push_back(sites());
  return all;
}

}  // namespace

std::span<const Experiment> all_experiments() {
  static const std::vector<Experiment> all = make_all();
  return all;
}

const Experiment& experiment(std::string_view name) {
  std::string names;
  for (const Experiment& each : all_experiments()) {
    if (each.name == name) return each;
    names += (names.empty() ? "" : ", ") + std::string(each.name);
  }
  fail(ErrorKind::invalid_argument,
       {.code = "EXPERIMENT_UNKNOWN",
        .item = "experiment",
        .found = std::string(name),
        .expected = names,
        .hint = "choose one of the experiments of this build"},
       "no experiment {}; this build has: {}", quote(name), names);
}

}  // namespace tender::evidence

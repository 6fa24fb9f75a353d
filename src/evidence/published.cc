// Tables 1 to 3 of the paper as printed (tender.md 6.2 to 6.4).

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/json.h"
#include "evidence/experiment.h"
#include "quant/registry.h"

namespace tender::evidence {
namespace {

/// A model of the paper by what its configuration says.
struct PaperModel {
  std::string_view name;
  std::string_view model_type;
  std::size_t layers;
  std::size_t width;
  std::size_t context;
  int groups4;  ///< channel groups at 4 bits
  int groups8;
};

constexpr std::array kModels = {
    PaperModel{"OPT-6.7B", "opt", 32, 4096, 2048, 8, 4},
    PaperModel{"OPT-13B", "opt", 40, 5120, 2048, 8, 4},
    PaperModel{"OPT-66B", "opt", 64, 9216, 2048, 10, 8},
    PaperModel{"Llama-2-7B", "llama", 32, 4096, 4096, 14, 8},
    PaperModel{"Llama-2-13B", "llama", 40, 5120, 4096, 16, 14},
    PaperModel{"Llama-2-70B", "llama", 80, 8192, 4096, 20, 16},
    PaperModel{"LLaMA-7B", "llama", 32, 4096, 2048, 14, 14},
    PaperModel{"LLaMA-13B", "llama", 40, 5120, 2048, 14, 14},
};

/// A cell of a table: perplexity on WikiText-2 and on PTB, 0 where the paper has none.
struct Cell {
  double wiki;
  double ptb = 0;
};

/// A row of a table over its columns.
template <std::size_t kColumns>
struct Row {
  std::string_view name;
  std::array<Cell, kColumns> cells;
};

constexpr std::array<std::string_view, 4> kTable1Columns = {"OPT-6.7B", "OPT-13B", "Llama-2-7B",
                                                            "Llama-2-13B"};
constexpr std::array kTable1 = {
    Row<4>{"float", {{{10.86}, {10.13}, {5.47}, {4.88}}}},
    Row<4>{"INT8 per tensor", {{{26.73}, {4e3}, {8.54}, {51.45}}}},
    Row<4>{"INT8 per row", {{{20.02}, {3e3}, {5.58}, {4.94}}}},
    Row<4>{"INT8 per column", {{{10.87}, {10.13}, {5.48}, {4.89}}}},
    Row<4>{"INT4 per tensor", {{{1e6}, {9e8}, {4e4}, {2e4}}}},
    Row<4>{"INT4 per row", {{{1e6}, {1e9}, {1e3}, {5e3}}}},
    Row<4>{"INT4 per column", {{{19.38}, {14.60}, {7.73}, {6.47}}}},
};

constexpr std::array<std::string_view, 8> kTable2Columns = {
    "OPT-6.7B",    "OPT-13B",     "OPT-66B",  "Llama-2-7B",
    "Llama-2-13B", "Llama-2-70B", "LLaMA-7B", "LLaMA-13B"};
constexpr std::array kTable2 = {
    Row<8>{"float",
           {{{10.86, 13.09},
             {10.13, 12.34},
             {9.34, 11.36},
             {5.47, 20.83},
             {4.88, 28.93},
             {3.32, 14.44},
             {5.68, 8.80},
             {5.09, 8.07}}}},
    Row<8>{"INT8 SmoothQuant",
           {{{10.93, 13.21},
             {10.40, 12.53},
             {9.87, 11.71},
             {48.54, 1e4},
             {447.52, 491.51},
             {17.30, 46.96},
             {27.85, 54.98},
             {16.02, 32.84}}}},
    Row<8>{"INT8 ANT",
           {{{19.72, 27.96},
             {4e3, 3e3},
             {3e3, 3e3},
             {8.79, 4e4},
             {20.52, 152.01},
             {7.28, 36.18},
             {8.52, 13.41},
             {7.49, 10.85}}}},
    Row<8>{"INT8 OliVe",
           {{{10.93, 13.23},
             {10.28, 12.41},
             {9.43, 11.41},
             {8.16, 30.12},
             {30.50, 26.16},
             {50.94, 245.09},
             {53.34, 113.48},
             {7.62, 10.76}}}},
    Row<8>{"INT8 Tender",
           {{{10.93, 13.14},
             {10.17, 12.39},
             {9.43, 11.40},
             {5.77, 18.95},
             {5.09, 21.13},
             {3.48, 14.23},
             {5.87, 9.05},
             {5.28, 8.27}}}},
    Row<8>{"INT4 SmoothQuant",
           {{{5e4, 2e4},
             {9e3, 1e4},
             {6e4, 3e4},
             {3e5, 3e5},
             {4e4, 4e4},
             {7e4, 5e4},
             {3e5, 2e5},
             {2e5, 2e5}}}},
    Row<8>{"INT4 ANT",
           {{{9e3, 6e3},
             {4e4, 3e4},
             {1e4, 7e3},
             {189.72, 2e4},
             {165.19, 1e3},
             {24.96, 155.92},
             {80.13, 109.21},
             {96.71, 247.65}}}},
    Row<8>{"INT4 OliVe",
           {{{50.83, 43.96},
             {35.76, 75.37},
             {6e3, 4e3},
             {44.24, 860.93},
             {1e3, 97.93},
             {99.91, 216.53},
             {195.15, 359.43},
             {94.32, 181.69}}}},
    Row<8>{"INT4 Tender",
           {{{13.56, 16.28},
             {16.43, 19.92},
             {12.38, 14.01},
             {36.47, 114.44},
             {55.08, 208.76},
             {13.43, 50.66},
             {23.85, 38.09},
             {13.68, 28.24}}}},
};

/// Table 3, of OPT-6.7B alone: a column for each length of the windows.
constexpr std::string_view kTable3Model = "OPT-6.7B";
constexpr std::array<std::size_t, 3> kTable3Columns = {2048, 256, 32};
constexpr std::array kTable3 = {
    Row<3>{"float", {{{10.86, 13.09}, {19.18, 22.00}, {78.97, 103.42}}}},
    Row<3>{"INT8 SmoothQuant", {{{10.93, 13.21}, {19.17, 22.14}, {79.32, 102.68}}}},
    Row<3>{"INT8 ANT", {{{19.72, 27.96}, {48.43, 57.97}, {396.01, 364.00}}}},
    Row<3>{"INT8 OliVe", {{{10.93, 13.23}, {19.24, 22.29}, {79.69, 104.42}}}},
    Row<3>{"INT8 Tender", {{{10.93, 13.14}, {19.28, 22.06}, {78.81, 102.84}}}},
    Row<3>{"INT8 Tender (all)", {{{10.98, 13.19}, {19.31, 22.08}, {78.93, 102.99}}}},
    Row<3>{"INT4 SmoothQuant", {{{5e4, 2e4}, {5e4, 2e4}, {4e4, 2e4}}}},
    Row<3>{"INT4 ANT", {{{9e3, 6e3}, {8e3, 6e3}, {6e3, 3e3}}}},
    Row<3>{"INT4 OliVe", {{{50.83, 43.96}, {88.05, 113.53}, {441.03, 371.73}}}},
    Row<3>{"INT4 Tender", {{{13.56, 16.28}, {23.16, 26.12}, {91.27, 111.90}}}},
    Row<3>{"INT4 Tender (all)", {{{17.15, 23.25}, {27.57, 30.58}, {96.34, 118.85}}}},
};

/// Windows of Tables 1 and 2.
constexpr std::size_t kSeqlen = 2048;

/// null where the table has no such row or column
template <std::size_t kRows, std::size_t kColumns, class Column>
const Cell* cell(const std::array<Row<kColumns>, kRows>& table,
                 const std::array<Column, kColumns>& columns, std::string_view row,
                 const Column& column) {
  const auto at = std::ranges::find(table, row, &Row<kColumns>::name);
  const auto c = std::ranges::find(columns, column);
  if (at == table.end() || c == columns.end()) return nullptr;
  return &at->cells[static_cast<std::size_t>(c - columns.begin())];
}

const PaperModel* find(const model::ModelInfo& model) {
  for (const PaperModel& known : kModels)
    if (known.model_type == model.model_type && known.layers == model.layers &&
        known.width == model.width && known.context == model.context)
      return &known;
  return nullptr;
}

}  // namespace

std::optional<int> published_groups(const model::ModelInfo& model, int bits) {
  const PaperModel* known = find(model);
  if (known == nullptr) return std::nullopt;
  return bits == 4 ? known->groups4 : known->groups8;
}

std::optional<PublishedOptions> published_options(const model::ModelInfo& model,
                                                  std::string_view method, const Json& options) {
  const PaperModel* known = find(model);
  if (known == nullptr || method != "tender") return std::nullopt;
  const Json all = quant::method(method).resolve(options);
  const std::string mode = all.at("mode").get<std::string>();
  if (options.contains("groups") || (mode != "static" && mode != "dynamic")) return std::nullopt;
  const int bits = all.at("activation_bits").get<int>();
  if (bits != 4 && bits != 8) return std::nullopt;
  const int groups = *published_groups(model, bits);
  PublishedOptions with{options, fmt::format("{} channel groups, as the paper has them for {} at "
                                             "{} bits",
                                             groups, known->name, bits)};
  with.options["groups"] = groups;
  return with;
}

std::optional<double> published(std::string_view experiment, const model::ModelInfo& model,
                                std::size_t seqlen, std::string_view text, const std::string& row) {
  const PaperModel* known = find(model);
  if (known == nullptr) return std::nullopt;
  const Cell* found = nullptr;
  if (seqlen == kSeqlen && experiment == "tender-table1")
    found = cell(kTable1, kTable1Columns, row, known->name);
  if (seqlen == kSeqlen && experiment == "tender-table2")
    found = cell(kTable2, kTable2Columns, row, known->name);
  if (known->name == kTable3Model && experiment == "tender-table3")
    found = cell(kTable3, kTable3Columns, row, seqlen);
  if (found == nullptr) return std::nullopt;
  const double value = text == "wiki" ? found->wiki : text == "ptb" ? found->ptb : 0;
  return value == 0 ? std::nullopt : std::optional(value);
}

}  // namespace tender::evidence

#include "evidence/presentation.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace tender::evidence {
namespace {

std::string number(double value) {
  return value >= 1e4 ? fmt::format("{:.2e}", value) : fmt::format("{:.4g}", value);
}

std::string with_error(const OrderedJson& estimate) {
  const OrderedJson& error = estimate.at("error");
  return number(estimate.at("value").get<double>()) +
         (error.is_null() ? std::string() : " ± " + number(error.get<double>()));
}

/// A cell's perplexity, excess, divergence and published value; empty where there is none.
struct Cell {
  std::string perplexity, excess, divergence, published;
};

Cell cell_of(const OrderedJson& cell) {
  if (cell.contains("failed")) return {cell.at("failed").get<std::string>(), "", "", ""};
  Cell result{number(cell.at("perplexity").at("value").get<double>()), "", "", ""};
  if (cell.contains("excess_percent")) {
    result.excess = with_error(cell.at("excess_percent"));
    result.divergence = fmt::format("{:.4f}", cell.at("kl_divergence").at("value").get<double>());
  }
  if (cell.contains("published")) result.published = number(cell.at("published").get<double>());
  return result;
}

/// What the calibrated ranges of a row met on each text; empty where they held all of it.
std::string counts_text(const OrderedJson& row) {
  std::string text;
  for (const auto& cell : row.at("texts").items()) {
    if (!cell.value().contains("counts")) continue;
    double rows = 0, values = 0, clipped = 0, beyond = 0;
    for (const OrderedJson& kind : cell.value().at("counts")) {
      rows += kind.at("rows").get<double>();
      values += kind.at("values").get<double>();
      clipped += kind.at("clipped").get<double>();
      beyond += kind.at("beyond").get<double>();
    }
    const auto add = [&](double share, const char* what) {
      if (share > 0)
        text += fmt::format("{}{}: {:.3g} % {}", text.empty() ? "" : "; ", cell.key(), 100 * share,
                            what);
    };
    add(clipped / values, "of values clipped");
    add(beyond / rows, "of rows past the calibrated positions");
  }
  return text;
}

/// Name, bits and cells of the base, then of every row.
struct Line {
  std::string group, name, weight_bits, activation_bits;
  std::vector<Cell> cells;
  std::string remark;
};

std::vector<Line> lines_of(const OrderedJson& table) {
  Line base{"", "float", "", "", {}, ""};
  for (const auto& text : table.at("base").items()) base.cells.push_back(cell_of(text.value()));
  std::vector<Line> lines = {base};
  for (const OrderedJson& row : table.at("rows")) {
    const auto bits = [&](const char* key) {
      return row.contains(key) ? fmt::format("{:.3f}", row.at(key).get<double>()) : std::string();
    };
    Line line{row.at("group").get<std::string>(),
              row.at("name").get<std::string>(),
              bits("bits_per_weight"),
              bits("bits_per_activation"),
              {},
              row.at("remark").get<std::string>()};
    for (const auto& text : table.at("base").items())
      line.cells.push_back(cell_of(row.at("texts").at(text.key())));
    if (const std::string counts = counts_text(row); !counts.empty())
      line.remark += (line.remark.empty() ? "" : "; ") + counts;
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string title_of(const OrderedJson& table, const OrderedJson& document) {
  return fmt::format("{}, windows of {} tokens, protocol {}", table.at("model").get<std::string>(),
                     table.at("seqlen").dump(), document.at("protocol").get<std::string>());
}

std::string missing_text(const OrderedJson& document) {
  if (document.at("missing").empty()) return "";
  return fmt::format("left out, not in this build: {}\n", document.at("missing").dump());
}

/// As the cell of a Markdown table.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

/// Whether the paper prints a value for any cell.
bool has_published(const std::vector<Line>& lines) {
  for (const Line& line : lines)
    for (const Cell& cell : line.cells)
      if (!cell.published.empty()) return true;
  return false;
}

}  // namespace

std::string tables_text(const OrderedJson& document) {
  std::string out;
  for (const OrderedJson& table : document.at("tables")) {
    const std::vector<Line> lines = lines_of(table);
    const bool paper = has_published(lines);
    out += title_of(table, document) + "\n";
    out += fmt::format("{:<22}{:<44}{:>8}{:>8}", "", "", "W bits", "A bits");
    for (const auto& text : table.at("base").items()) {
      out += fmt::format("{:>12}{:>20}{:>10}", text.key(), "excess %", "KL");
      if (paper) out += fmt::format("{:>10}", "paper");
    }
    out += "\n";
    for (const Line& line : lines) {
      out += fmt::format("{:<22}{:<44}{:>8}{:>8}", line.group, line.name, line.weight_bits,
                         line.activation_bits);
      for (const Cell& cell : line.cells) {
        out += fmt::format("{:>12}{:>20}{:>10}", cell.perplexity, cell.excess, cell.divergence);
        if (paper) out += fmt::format("{:>10}", cell.published);
      }
      out += (line.remark.empty() ? "" : "  " + line.remark) + "\n";
    }
    out += "\n";
  }
  return out + missing_text(document);
}

std::string tables_markdown(const OrderedJson& document) {
  std::string out;
  for (const OrderedJson& table : document.at("tables")) {
    const std::vector<Line> lines = lines_of(table);
    const bool paper = has_published(lines);
    out += title_of(table, document) + "\n\n";
    std::string head = "| | | bits per weight | per activation |", rule = "|---|---|---|---|";
    for (const auto& text : table.at("base").items()) {
      head += fmt::format(" {} | excess, % | KL, nats |", escaped(text.key()));
      rule += "---|---|---|";
      if (paper) head += " paper |", rule += "---|";
    }
    out += head + " |\n" + rule + "---|\n";
    for (const Line& line : lines) {
      out += fmt::format("| {} | {} | {} | {} |", escaped(line.group), escaped(line.name),
                         line.weight_bits, line.activation_bits);
      for (const Cell& cell : line.cells) {
        out += fmt::format(" {} | {} | {} |", cell.perplexity, cell.excess, cell.divergence);
        if (paper) out += fmt::format(" {} |", cell.published);
      }
      out += fmt::format(" {} |\n", escaped(line.remark));
    }
    out += "\n";
  }
  return out + missing_text(document);
}

std::vector<Panel> panels_of(const Experiment& experiment, const OrderedJson& document) {
  std::vector<Panel> panels;
  for (const OrderedJson& table : document.at("tables"))
    for (const auto& base : table.at("base").items()) {
      std::map<std::string, Panel> by_label;
      for (const Axis& axis : experiment.plot) {
        Curve curve{axis.group.substr(0, axis.group.find(',')), {}};
        for (const OrderedJson& row : table.at("rows"))
          if (row.at("group") == axis.group && !row.at("texts").at(base.key()).contains("failed"))
            curve.points.push_back(
                {row.at("x").get<double>(),
                 row.at("texts").at(base.key()).at("perplexity").at("value").get<double>()});
        Panel& panel = by_label[axis.label];
        panel.title = fmt::format("{}, {}, {} tokens", table.at("model").get<std::string>(),
                                  base.key(), table.at("seqlen").dump());
        panel.x_label = axis.label;
        panel.y_label = "perplexity";
        panel.log_x = axis.label == "rows of a chunk";
        if (base.value().contains("perplexity"))
          panel.base = base.value().at("perplexity").at("value").get<double>();
        panel.curves.push_back(std::move(curve));
      }
      for (auto& [label, panel] : by_label) panels.push_back(std::move(panel));
    }
  return panels;
}

}  // namespace tender::evidence

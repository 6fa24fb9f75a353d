#include "evidence/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace tender::evidence {
namespace {

constexpr double kWidth = 460, kHeight = 340;                       // of a panel
constexpr double kLeft = 70, kRight = 16, kTop = 56, kBottom = 52;  // its margins
constexpr std::array<const char*, 4> kColours = {"#1f5fa8", "#c4501b", "#2f7d4f", "#7a4a9e"};
constexpr std::array<const char*, 4> kDashes = {"", "7 3", "2 3", "9 3 2 3"};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text)
    out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}

std::string label(double x, double y, const std::string& text, const char* anchor,
                  const std::string& more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
                     anchor, more, escaped(text));
}

std::string line(double x1, double y1, double x2, double y2, const std::string& style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1,
                     x2, y2, style);
}

/// 1, 2 and 5 times powers of ten within [low, high]; only powers where they are many.
std::vector<double> decimal_ticks(double low, double high) {
  std::vector<double> ticks;
  const bool many = high / low > 200;
  for (double power = std::pow(10, std::floor(std::log10(low))); power <= high; power *= 10)
    for (const double factor : {1.0, 2.0, 5.0})
      if (const double tick = factor * power;
          tick >= low && tick <= high && (!many || factor == 1.0))
        ticks.push_back(tick);
  return ticks;
}

/// From values to places within a panel.
class Frame {
 public:
  Frame(const Panel& panel, double left) : panel_(panel), left_(left) {
    for (const Curve& curve : panel.curves)
      for (const Point& point : curve.points) take(point.x, point.y);
    if (panel.base > 0) take(low_x_, panel.base);
    const double room = std::pow(high_y_ / low_y_, 0.06);
    low_y_ /= std::max(room, 1.01);
    high_y_ *= std::max(room, 1.01);
    if (low_x_ == high_x_) high_x_ = low_x_ + 1;
  }
  double x(double value) const {
    const double share = panel_.log_x ? std::log2(value / low_x_) / std::log2(high_x_ / low_x_)
                                      : (value - low_x_) / (high_x_ - low_x_);
    return left_ + kLeft + (kWidth - kLeft - kRight) * (0.03 + 0.94 * share);
  }
  double y(double value) const {
    const double share = std::log(value / low_y_) / std::log(high_y_ / low_y_);
    return kHeight - kBottom - (kHeight - kTop - kBottom) * share;
  }
  double low_y() const { return low_y_; }
  double high_y() const { return high_y_; }

 private:
  void take(double x, double y) {
    if (empty_) low_x_ = high_x_ = x, low_y_ = high_y_ = y;
    empty_ = false;
    low_x_ = std::min(low_x_, x);
    high_x_ = std::max(high_x_, x);
    low_y_ = std::min(low_y_, y);
    high_y_ = std::max(high_y_, y);
  }
  const Panel& panel_;
  double left_;
  bool empty_ = true;
  double low_x_ = 0, high_x_ = 1, low_y_ = 1, high_y_ = 10;
};

std::string curve_text(const Frame& frame, const Curve& curve, std::size_t index, double left) {
  const char* colour = kColours[index % kColours.size()];
  std::string path, marks;
  for (const Point& point : curve.points) {
    const double x = frame.x(point.x), y = frame.y(point.y);
    path += fmt::format("{}{:.1f},{:.1f}", path.empty() ? "" : " ", x, y);
    marks +=
        index % 2 == 0
            ? fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\"", x, y)
            : fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"6\" height=\"6\"", x - 3, y - 3);
    marks += fmt::format(" fill=\"{}\"><title>{:g}: {:.4g}</title></{}>\n", colour, point.x,
                         point.y, index % 2 == 0 ? "circle" : "rect");
  }
  const double legend_y = kTop + 14 + 16 * static_cast<double>(index);
  const double legend_x = left + kWidth - kRight - 120;
  const std::string style = fmt::format("stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{}\"",
                                        colour, kDashes[index % kDashes.size()]);
  return fmt::format("<polyline points=\"{}\" fill=\"none\" {}/>\n", path, style) + marks +
         line(legend_x, legend_y - 4, legend_x + 26, legend_y - 4, style) +
         label(legend_x + 32, legend_y, curve.label, "start");
}

std::string panel_text(const Panel& panel, double left) {
  const Frame frame(panel, left);
  const std::string grid = "stroke=\"#dddddd\"";
  const double inner_left = left + kLeft, inner_right = left + kWidth - kRight;
  std::string out;
  for (const double tick : decimal_ticks(frame.low_y(), frame.high_y())) {
    out += line(inner_left, frame.y(tick), inner_right, frame.y(tick), grid);
    out += label(inner_left - 6, frame.y(tick) + 4, fmt::format("{:g}", tick), "end");
  }
  std::vector<double> xs;
  for (const Curve& curve : panel.curves)
    for (const Point& point : curve.points) xs.push_back(point.x);
  std::ranges::sort(xs);
  xs.erase(std::unique(xs.begin(), xs.end()), xs.end());
  for (const double x : xs) {
    out += line(frame.x(x), kHeight - kBottom, frame.x(x), kHeight - kBottom + 4,
                "stroke=\"#333333\"");
    out += label(frame.x(x), kHeight - kBottom + 18, fmt::format("{:g}", x), "middle");
  }
  out += line(inner_left, kHeight - kBottom, inner_right, kHeight - kBottom, "stroke=\"#333333\"");
  out += line(inner_left, kTop, inner_left, kHeight - kBottom, "stroke=\"#333333\"");
  if (panel.base > 0)
    out += line(inner_left, frame.y(panel.base), inner_right, frame.y(panel.base),
                "stroke=\"#555555\" stroke-dasharray=\"4 4\"") +
           label(inner_right - 4, frame.y(panel.base) + 14, fmt::format("float {:.4g}", panel.base),
                 "end");
  for (std::size_t i = 0; i < panel.curves.size(); ++i)
    out += curve_text(frame, panel.curves[i], i, left);
  out += label(left + kLeft, kTop - 10, panel.title, "start", " font-weight=\"bold\"");
  out += label((inner_left + inner_right) / 2, kHeight - 12, panel.x_label, "middle");
  const double middle = (kTop + kHeight - kBottom) / 2;
  out += label(left + 16, middle, panel.y_label, "middle",
               fmt::format(" transform=\"rotate(-90 {:.1f} {:.1f})\"", left + 16, middle));
  return out;
}

}  // namespace

std::string svg(const std::string& title, const std::vector<Panel>& panels) {
  const double width = kWidth * static_cast<double>(std::max<std::size_t>(panels.size(), 1));
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "width=\"{0:.0f}\" height=\"{1:.0f}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<title>{2}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      width, kHeight, escaped(title));
  out += label(width / 2, 20, title, "middle", " font-size=\"14\"");
  for (std::size_t i = 0; i < panels.size(); ++i)
    if (!panels[i].curves.empty()) out += panel_text(panels[i], kWidth * static_cast<double>(i));
  return out + "</svg>\n";
}

}  // namespace tender::evidence

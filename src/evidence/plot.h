#pragma once

#include <string>
#include <vector>

namespace tender::evidence {

struct Point {
  double x;
  double y;
};
struct Curve {
  std::string label;
  std::vector<Point> points;
};

/// One pair of axes with its curves.
struct Panel {
  std::string title;
  std::string x_label;
  std::string y_label;
  bool log_x = false;  ///< base 2
  std::vector<Curve> curves;
  double base = 0;  ///< a dashed line, such as the float model's value; 0 for none
};

/// Panels side by side as a stand-alone SVG; y is logarithmic, since perplexities span decades.
/// Curves differ in mark and dash as well as in colour.
std::string svg(const std::string& title, const std::vector<Panel>& panels);

}  // namespace tender::evidence

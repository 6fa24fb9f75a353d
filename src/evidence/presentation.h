#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "evidence/experiment.h"
#include "evidence/plot.h"

namespace tender::evidence {

/// What reproduce() returns, as tables for a terminal.
std::string tables_text(const OrderedJson& document);
/// The same as Markdown: a table for each model and length.
std::string tables_markdown(const OrderedJson& document);
/// Its plot: a panel for each text and kind of axis. Empty where the experiment has none.
std::vector<Panel> panels_of(const Experiment& experiment, const OrderedJson& document);

}  // namespace tender::evidence

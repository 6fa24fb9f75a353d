#include "eval/model_facts.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/cpu.h"
#include "base/mapped_file.h"

namespace tender::eval {
namespace {

/// What follows the layer's number in a site's name.
std::string kind_of(std::string_view name) {
  std::size_t begin = 0;
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t dot = std::min(name.find('.', at), name.size());
    const std::string_view part = name.substr(at, dot - at);
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (!part.empty() && std::ranges::all_of(part, is_digit))
      begin = std::min(dot + 1, name.size());
    at = dot + 1;
  }
  return std::string(name.substr(begin));
}

void append_once(std::string& list, std::string_view item, std::string_view separator) {
  if (list.find(item) != std::string::npos) return;
  if (!list.empty()) list += separator;
  list += item;
}

}  // namespace

std::string method_of(const model::Model& model) {
  std::string methods;
  for (std::size_t s = 0; s < model.sites().size(); ++s)
    append_once(methods, model.site(s).method(), ", ");
  return methods;
}

OrderedJson kernels_of(const model::Model& model) {
  OrderedJson kernels = OrderedJson::object();
  for (std::size_t s = 0; s < model.sites().size(); ++s) {
    const std::string kind = kind_of(model.sites()[s].name);
    std::string names = kernels.value(kind, std::string());
    append_once(names, model.site(s).kernel(), "; ");
    kernels[kind] = names;
  }
  return kernels;
}

void add_facts(const model::Model& model, const std::string& name, const ThreadPool& pool,
               OrderedJson& json) {
  json["model"] = {{"name", name},
                   {"architecture", model.info().architecture},
                   {"parameters", model.info().parameters},
                   {"resident_bytes", model.resident_bytes()}};
  json["method"] = method_of(model);
  json["kernels"] = kernels_of(model);
  json["threads"] = pool.threads();
  json["cpu"] = cpu_name();
  json["isa"] = to_string(host_isa());
  json["peak_rss_bytes"] = peak_resident_bytes();
}

}  // namespace tender::eval

#include "model/quantization_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "quant/registry.h"

namespace tender::model {
namespace {

constexpr const char* kFile = "config.json";
constexpr int kFormatVersion = 1;

[[noreturn]] void refuse(const std::string& item, const std::string& found,
                         const std::string& expected) {
  fail(ErrorKind::corrupt_file,
       {.code = "QC_KEY",
        .file = kFile,
        .item = "quantization_config." + item,
        .found = found,
        .expected = expected,
        .hint = "the checkpoint is damaged or was edited; quantize again"},
       "quantization_config.{} is {}: expected {}", item, found, expected);
}

std::string shown(const Json& value) { return quote(to_text(value), 60); }

/// Other programs share names with us ("gptq"), but not the version of our format.
void check_version(const Json& quantization, const std::string& method) {
  const auto version = quantization.find("format_version");
  if (version == quantization.end())
    fail(ErrorKind::unsupported,
         {.code = "QC_METHOD",
          .file = kFile,
          .item = "quantization_config",
          .found = quote(method) + " without format_version",
          .expected = "a directory that tender quantized",
          .hint = "quantize the original checkpoint with tender"},
         "quantized with {} by another program: it has no format_version as tender writes it",
         quote(method));
  if (*version == kFormatVersion) return;
  const std::string found = shown(*version);
  fail(ErrorKind::unsupported,
       {.code = "CK_VERSION",
        .file = kFile,
        .item = "quantization_config.format_version",
        .found = found,
        .expected = std::to_string(kFormatVersion),
        .hint = "a newer version of tender wrote it: use that, or quantize the original again"},
       "format_version is {}: this build reads version {}", found, kFormatVersion);
}

std::string method_name(const Json& holder, const char* key) {
  const auto name = holder.find(key);
  const std::string found = name == holder.end() ? ""
                            : name->is_string()  ? name->get<std::string>()
                                                 : shown(*name);
  quant::method_of_checkpoint(found, kFile);  // names those that exist
  return found;
}

/// Options that the method does not know say that the file is not what it seems.
void check_options(const std::string& method, const Json& options, const std::string& item) try {
  if (!options.is_object()) refuse(item, shown(options), "an object");
  quant::method_of_checkpoint(method, kFile).resolve(options);
} catch (const Error& error) {
  if (error.kind() != ErrorKind::invalid_argument) throw;
  refuse(item, shown(options), fmt::format("options of {} ({})", method, error.sentence()));
}

SiteMethod read_override(const std::string& name, Json entry) {
  if (!entry.is_object()) refuse("layers." + name, shown(entry), "an object");
  const std::string method = method_name(entry, "method");
  entry.erase("method");
  check_options(method, entry, "layers." + name);
  return {method, entry.dump()};
}

SiteMethod read_usual(const Json& quantization) {
  const std::string method = method_name(quantization, "quant_method");
  check_version(quantization, method);
  const Json options = quantization.value("options", Json::object());
  check_options(method, options, "options");
  return {method, options.dump()};
}

std::map<std::string, SiteMethod> read_overrides(const Json& quantization) {
  std::map<std::string, SiteMethod> overrides;
  const auto layers = quantization.find("layers");
  if (layers == quantization.end()) return overrides;
  if (!layers->is_object()) refuse("layers", shown(*layers), "an object");
  for (const auto& entry : layers->items())
    overrides.emplace(entry.key(), read_override(entry.key(), entry.value()));
  return overrides;
}

std::set<std::string> read_ignored(const Json& quantization) {
  std::set<std::string> ignored;
  const auto ignore = quantization.find("ignore");
  if (ignore == quantization.end()) return ignored;
  if (!ignore->is_array()) refuse("ignore", shown(*ignore), "a list of names");
  for (const Json& name : *ignore) {
    if (!name.is_string()) refuse("ignore", shown(name), "a list of names");
    ignored.insert(name.get<std::string>());
  }
  return ignored;
}

/// Whether a list of names holds this site: by its own name, or by those of all its layers.
template <class Names>
bool holds(const Names& names, const SiteSpec& site) {
  if (names.contains(site.name)) return true;
  const auto named =
      std::ranges::count_if(site.linears, [&](const std::string& l) { return names.contains(l); });
  if (named != 0 && static_cast<std::size_t>(named) != site.linears.size())
    refuse("layers and ignore", "only a part of " + site.name,
           "all layers of a site, which share their input");
  return named != 0;
}

void check_names(const std::set<std::string>& names, const ModelSpec& spec, const char* item) {
  std::set<std::string> known = {spec.head.name};
  for (const SiteSpec& site : spec.sites) {
    known.insert(site.name);
    known.insert(site.linears.begin(), site.linears.end());
  }
  for (const std::string& name : names)
    if (!known.contains(name)) refuse(item, quote(name), "names of the model's linear layers");
}

/// The override of a site that holds() found in the list, by its own name or alike by all its
/// layers.
const SiteMethod& override_of(const SiteSpec& site,
                              const std::map<std::string, SiteMethod>& overrides) {
  if (const auto own = overrides.find(site.name); own != overrides.end()) return own->second;
  const SiteMethod& first = overrides.at(site.linears.front());
  for (const std::string& linear : site.linears)
    if (overrides.at(linear) != first)
      refuse("layers." + linear, "other than " + site.linears.front(),
             "one method for all layers of a site");
  return first;
}

int read_bits(const Json& attention, const std::string& key) {
  const auto found = attention.find(key);
  if (found == attention.end()) refuse("attention." + key, "missing", "8 or 4");
  if (*found != 8 && *found != 4) refuse("attention." + key, shown(*found), "8 or 4");
  return found->get<int>();
}

}  // namespace

std::optional<kernels::AttentionBits> read_attention_config(const Json& config) {
  const auto entry = config.find("quantization_config");
  if (entry == config.end() || !entry->is_object()) return std::nullopt;
  const auto attention = entry->find("attention");
  if (attention == entry->end()) return std::nullopt;
  if (!attention->is_object()) refuse("attention", shown(*attention), "an object");
  for (const auto& item : attention->items())
    if (item.key() != "bits" && item.key() != "kv_bits")
      refuse("attention." + item.key(), shown(item.value()), "bits and kv_bits alone");
  return kernels::AttentionBits{read_bits(*attention, "bits"), read_bits(*attention, "kv_bits")};
}

std::optional<kernels::AttentionBits> stored_attention_bits(const io::Checkpoint& checkpoint) {
  return checkpoint.config() == nullptr ? std::nullopt
                                        : read_attention_config(*checkpoint.config());
}

std::map<std::string, SiteMethod> read_quantization_config(const Json& config,
                                                           const ModelSpec& spec) {
  const auto entry = config.find("quantization_config");
  if (entry == config.end() || entry->is_null()) return {};
  if (!entry->is_object()) refuse("", shown(*entry), "an object");
  const SiteMethod usual = read_usual(*entry);
  const std::map<std::string, SiteMethod> overrides = read_overrides(*entry);
  const std::set<std::string> ignored = read_ignored(*entry);
  std::set<std::string> named;
  for (const auto& [name, method] : overrides) named.insert(name);
  check_names(named, spec, "layers");
  check_names(ignored, spec, "ignore");

  std::map<std::string, SiteMethod> sites;
  for (const SiteSpec& site : spec.sites) {
    if (holds(ignored, site)) continue;
    sites.emplace(site.name, holds(overrides, site) ? override_of(site, overrides) : usual);
  }
  // The head is quantized where it is named, not because the layers are.
  if (holds(overrides, spec.head) && !holds(ignored, spec.head))
    sites.emplace(spec.head.name, override_of(spec.head, overrides));
  return sites;
}

}  // namespace tender::model

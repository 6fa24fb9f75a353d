#include "base/json.h"

#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"

namespace tender {
namespace {

/// First pass over the text: finds the first duplicate key, excess depth or syntax error.
/// nlohmann's own DOM parser keeps the last of two duplicate keys without a word.
class Checker : public nlohmann::json_sax<Json> {
 public:
  explicit Checker(JsonProblem& problem) : problem_(problem) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }

  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return enter();
  }
  bool end_object() override {
    keys_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override { return enter(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    problem_ = {JsonProblem::Kind::duplicate_key, 0, depth_, name, "duplicate key " + quote(name)};
    return false;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    if (problem_.kind == JsonProblem::Kind::none) {
      std::string text = error.what();
      const std::size_t cut = text.find("syntax error");
      problem_ = {JsonProblem::Kind::syntax, position == 0 ? 0 : position - 1, depth_, "",
                  cut == std::string::npos ? text : text.substr(cut)};
    }
    return false;
  }

 private:
  bool enter() {
    if (++depth_ <= kMaxJsonDepth) return true;
    problem_ = {JsonProblem::Kind::depth, 0, depth_, "",
                fmt::format("nesting deeper than {}", kMaxJsonDepth)};
    return false;
  }

  JsonProblem& problem_;
  std::size_t depth_ = 0;
  std::vector<std::unordered_set<std::string>> keys_;
};

}  // namespace

Json parse_json(std::string_view text, JsonProblem& problem) {
  problem = {};
  if (text.starts_with("\xef\xbb\xbf")) {
    problem = {JsonProblem::Kind::byte_order_mark, 0, 0, "", "begins with a byte order mark"};
    return {};
  }
  if (const auto bad = first_invalid_utf8(text)) {
    problem = {JsonProblem::Kind::utf8, *bad, 0, "", "is not UTF-8"};
    return {};
  }
  Checker checker(problem);
  if (!Json::sax_parse(text, &checker)) return {};
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    problem = {JsonProblem::Kind::syntax, 0, 0, "", error.what()};
    return {};
  }
}

Json parse_json(std::string_view text, const std::string& file, const std::string& code) {
  JsonProblem problem;
  Json value = parse_json(text, problem);
  if (problem.kind == JsonProblem::Kind::none) return value;
  const bool deep = problem.kind == JsonProblem::Kind::depth;
  fail(ErrorKind::corrupt_file,
       {.code = deep ? "JSON_DEPTH" : code,
        .file = file,
        .offset = problem.offset,
        .item = problem.key,
        .found = problem.description,
        .expected = "strict JSON",
        .hint = "the file is damaged, or was edited by hand; get it again"},
       "{}", problem.description);
}

std::string to_text(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}
std::string to_text(const OrderedJson& value, int indent) {
  return value.dump(indent, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace tender

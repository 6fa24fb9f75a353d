#include "base/json.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"

namespace tender {
namespace {

/// Builds the value, up to the first duplicate key, excess depth or syntax error.
/// nlohmann's own DOM parser keeps the last of two duplicate keys without a word.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  Builder(Json& root, JsonProblem& problem) : root_(root), problem_(problem) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // JSON text has none

  bool start_object(std::size_t) override { return enter(Json::value_t::object); }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override { return enter(Json::value_t::array); }
  bool end_array() override { return leave(); }
  bool key(string_t& name) override {
    auto& members = open_.back()->get_ref<Json::object_t&>();
    const std::size_t before = members.size();
    // Tried at the end first: files that a program wrote often have their keys in order.
    member_ = &members.try_emplace(members.end(), name)->second;
    if (members.size() != before) return true;
    problem_ = {JsonProblem::Kind::duplicate_key, 0, open_.size(), name,
                "duplicate key " + quote(name)};
    return false;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    std::string text = error.what();
    const std::size_t cut = text.find("syntax error");
    problem_ = {JsonProblem::Kind::syntax, position == 0 ? 0 : position - 1, open_.size(), "",
                cut == std::string::npos ? text : text.substr(cut)};
    return false;
  }

 private:
  template <class T>
  bool put(T&& value) {
    place(std::forward<T>(value));
    return true;
  }

  /// Puts a value where it belongs. It stays there: its container only grows once it is closed.
  template <class T>
  Json& place(T&& value) {
    if (open_.empty()) return root_ = std::forward<T>(value);
    if (open_.back()->is_array())
      return open_.back()->get_ref<Json::array_t&>().emplace_back(std::forward<T>(value));
    return *member_ = std::forward<T>(value);
  }

  bool enter(Json::value_t kind) {
    if (open_.size() == kMaxJsonDepth) {
      problem_ = {JsonProblem::Kind::depth, 0, open_.size() + 1, "",
                  fmt::format("nesting deeper than {}", kMaxJsonDepth)};
      return false;
    }
    open_.push_back(&place(kind));
    return true;
  }
  bool leave() {
    open_.pop_back();
    return true;
  }

  Json& root_;
  JsonProblem& problem_;
  std::vector<Json*> open_;  // containers around the next value, outermost first
  Json* member_ = nullptr;   // place of the last key's value
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
  Json value;
  Builder builder(value, problem);
  if (!Json::sax_parse(text, &builder)) return {};
  return value;
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

#include "text/decoder.h"

#include <optional>

#include "text/byte_level.h"

namespace tender::text {
namespace {

class ByteLevel final : public DecodeStep {
  void apply(std::string& text, bool) const override {
    if (auto bytes = from_stand_ins(text)) text = *std::move(bytes);
  }
  bool is_byte_level() const override { return true; }
};

class ByteFallback final : public DecodeStep {
  void apply(std::string& text, bool) const override {
    if (const auto byte = byte_token_value(text)) text.assign(1, static_cast<char>(*byte));
  }
};

class Replace final : public DecodeStep {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::string& text, bool) const override {
    RegexScratch scratch;
    std::string out;
    std::size_t done = 0;
    for (std::size_t from = 0; from <= text.size();) {
      const auto match = pattern_.find(text, from, scratch);
      if (!match) break;
      out.append(text, done, match->begin - done).append(content_);
      done = match->end;
      from = after(text, *match);
    }
    text = out.append(text, done);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

/// Takes up to `start` times `content` from the front and up to `stop` times from the end.
class Strip final : public DecodeStep {
 public:
  Strip(std::string content, std::int64_t start, std::int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void apply(std::string& text, bool) const override {
    std::string_view rest = text;
    for (std::int64_t i = 0; i < start_ && rest.starts_with(content_); ++i)
      rest.remove_prefix(content_.size());
    for (std::int64_t i = 0; i < stop_ && rest.ends_with(content_); ++i)
      rest.remove_suffix(content_.size());
    text = std::string(rest);
  }
  bool is_strip() const override { return true; }

 private:
  std::string content_;
  std::int64_t start_;
  std::int64_t stop_;
};

class Metaspace final : public DecodeStep {
 public:
  Metaspace(std::string mark, bool prefixed) : mark_(std::move(mark)), prefixed_(prefixed) {}
  void apply(std::string& text, bool first) const override {
    const std::string_view space = first && prefixed_ ? "" : " ";
    std::string out;
    std::size_t done = 0;
    for (std::size_t at = text.find(mark_); at != std::string::npos; at = text.find(mark_, done)) {
      out.append(text, done, at - done).append(space);
      done = at + mark_.size();
    }
    text = out.append(text, done);
  }

 private:
  std::string mark_;
  bool prefixed_;
};

std::unique_ptr<DecodeStep> make_metaspace(const JsonFields& fields) {
  const std::string mark = fields.find_string("replacement").value_or("\xe2\x96\x81");
  if (mark.empty()) fields.refuse("replacement", "one character");
  const std::string otherwise = fields.boolean("add_prefix_space", true) ? "always" : "never";
  return std::make_unique<Metaspace>(
      mark, fields.find_string("prepend_scheme").value_or(otherwise) != "never");
}

std::unique_ptr<DecodeStep> make_strip(const JsonFields& fields) {
  const std::string content = fields.string("content");
  if (content.empty()) fields.refuse("content", "one character");
  return std::make_unique<Strip>(content, fields.find_integer("start").value_or(0),
                                 fields.find_integer("stop").value_or(0));
}

}  // namespace

Decoder::Decoder() : joint_(" ") {}

Decoder::Decoder(const JsonFields& fields) { add(fields); }

void Decoder::add(const JsonFields& fields) {
  const std::string type = fields.type();
  if (type == "Sequence") {
    for (const Json& step : fields.array("decoders")) add({step, fields.file(), fields.where()});
    return;
  }
  if (type == "Fuse") {
    joined_ = true;
    return;
  }
  auto& steps = joined_ ? whole_ : each_;
  if (type == "ByteLevel") {
    steps.push_back(std::make_unique<ByteLevel>());
    joined_ = true;
  } else if (type == "ByteFallback") {
    steps.push_back(std::make_unique<ByteFallback>());
  } else if (type == "Replace") {
    steps.push_back(std::make_unique<Replace>(pattern_field(fields), fields.string("content")));
  } else if (type == "Strip") {
    steps.push_back(make_strip(fields));
  } else if (type == "Metaspace") {
    steps.push_back(make_metaspace(fields));
  } else {
    fields.unknown_component(type);
  }
}

std::string Decoder::token(std::string_view text, bool first, bool added) const {
  std::string out(text);
  for (const auto& step : each_)
    if (!(added && step->is_byte_level())) step->apply(out, first);
  return out;
}

std::string Decoder::piece(std::string_view text, bool added) const {
  std::string out = token(text, false, added);
  for (const auto& step : whole_)
    if (!step->is_strip()) step->apply(out, false);
  return out;
}

void Decoder::finish(std::string& text) const {
  for (const auto& step : whole_) step->apply(text, true);
}

}  // namespace tender::text

#include "text/normalizers.h"

#include <algorithm>
#include <vector>

#include "text/unicode.h"

namespace tender::text {
namespace {

/// Steps of a hostile file could each multiply the text; no real one makes it much longer.
void check_growth(std::size_t before, std::size_t now) {
  constexpr std::size_t kMostTimes = 64;
  constexpr std::size_t kAlways = std::size_t{64} << 10U;
  if (now <= kMostTimes * before + kAlways) return;
  fail(ErrorKind::invalid_input,
       {.code = "TK_GROWTH",
        .item = "normalizer",
        .found = fmt::format("{} bytes", now),
        .expected = fmt::format("at most {} times {} bytes", kMostTimes, before),
        .hint = "the tokenizer's normalizer is not fit for this text"},
       "the normalizer makes {} bytes of {}", now, before);
}

class Sequence final : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  void apply(std::string& text, Place place, RegexScratch& scratch) const override {
    const std::size_t before = text.size();
    for (const auto& step : steps_) {
      step->apply(text, place, scratch);
      check_growth(before, text.size());
    }
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

class Form final : public Normalizer {
 public:
  explicit Form(NormalForm form) : form_(form) {}
  void apply(std::string& text, Place, RegexScratch&) const override {
    // ASCII is in every normal form; most text is nothing else.
    const auto plain = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
    if (!std::all_of(text.begin(), text.end(), plain)) text = normal_form(text, form_);
  }

 private:
  NormalForm form_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(std::string& text, Place place, RegexScratch&) const override {
    if (!text.empty() && place != Place::continued) text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::string& text, Place, RegexScratch& scratch) const override {
    std::string out;
    std::size_t done = 0;
    for (std::size_t from = 0; from <= text.size();) {
      const auto match = pattern_.find(text, from, scratch);
      if (!match) break;
      out.append(text, done, match->begin - done).append(content_);
      check_growth(text.size(), out.size());
      done = match->end;
      from = after(text, *match);
    }
    if (done == 0 && out.empty()) return;
    text = out.append(text, done);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Lowercase final : public Normalizer {
  void apply(std::string& text, Place, RegexScratch&) const override { text = lower_case(text); }
};

class StripAccents final : public Normalizer {
  void apply(std::string& text, Place, RegexScratch&) const override { text = without_marks(text); }
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(std::string& text, Place, RegexScratch&) const override {
    if (right_) text.resize(text.size() - trailing_space(text));
    if (left_) text.erase(0, leading_space(text));
  }

 private:
  bool left_;
  bool right_;
};

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const JsonFields& fields) {
  const std::string type = fields.type();
  if (type == "NFC") return std::make_unique<Form>(NormalForm::nfc);
  if (type == "NFD") return std::make_unique<Form>(NormalForm::nfd);
  if (type == "NFKC") return std::make_unique<Form>(NormalForm::nfkc);
  if (type == "NFKD") return std::make_unique<Form>(NormalForm::nfkd);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "Prepend") return std::make_unique<Prepend>(fields.string("prepend"));
  if (type == "Strip")
    return std::make_unique<Strip>(fields.boolean("strip_left", true),
                                   fields.boolean("strip_right", true));
  if (type == "Replace")
    return std::make_unique<Replace>(pattern_field(fields), fields.string("content"));
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Normalizer>> steps;
    for (const Json& step : fields.array("normalizers"))
      steps.push_back(make_normalizer({step, fields.file(), fields.where()}));
    return std::make_unique<Sequence>(std::move(steps));
  }
  fields.unknown_component(type);
}

}  // namespace tender::text

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "text/chat_template.h"

/// Any bytes as a template over a fixed conversation: an Error or a text, in bounded time and
/// memory.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto messages = tender::OrderedJson::parse(R"([
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " H\u00e9llo\n", "parts": [1, 2.5, null, true, {"a": "b"}]},
    {"role": "assistant", "content": "x"}])");
  tender::text::RenderOptions options{.bos_token = "<s>", .eos_token = "</s>"};
  options.now = std::tm{};
  try {
    const tender::text::ChatTemplate compiled({reinterpret_cast<const char*>(data), size});
    compiled.render(messages, options);
  } catch (const tender::Error&) {
  }
  return 0;
}

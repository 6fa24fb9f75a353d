#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/hf_tokenizer_json.h"

// Bytes → tokenizer.json → the ids of a fixed text and back. Only Error may come out.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tender;
  constexpr std::string_view kText =
      "Hello, we'Ve  seen\r\n 12345 caf\xc3\xa9 e\xcc\x81 \xf0\x9f\x98\x80 \xff <s> \xe2\x96\x81x  "
      " \n\n y</s>";
  try {
    const text::Pipeline tokenizer(
        text::read_tokenizer_json({reinterpret_cast<const char*>(data), size}, "tokenizer.json"));
    const auto ids = tokenizer.encode(kText, {});
    static_cast<void>(tokenizer.encode(kText, {.add_special = false, .parse_special = false}));
    static_cast<void>(tokenizer.decode(ids, false));
    for (const text::TokenId id : ids) static_cast<void>(tokenizer.piece(id, true));
  } catch (const Error&) {
  }
  return 0;
}

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/sentencepiece_file.h"

// Bytes → tokenizer.model → the ids of a fixed text and back. Only Error may come out.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tender;
  constexpr std::string_view kText = "the cat \xff sat  on <s> caf\xc3\xa9 \xf0\x9f\x98\x80\n";
  try {
    const text::Pipeline tokenizer(text::read_sentencepiece_file(
        {reinterpret_cast<const char*>(data), size}, "tokenizer.model"));
    static_cast<void>(tokenizer.decode(tokenizer.encode(kText, {}), true));
  } catch (const Error&) {
  }
  return 0;
}

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/mapped_file.h"
#include "io/checkpoint.h"
#include "text/tokenizer.h"

// Run from the root of the sources: reads $TENDER_DATA or ../shared/data, and models/smollm2-135m.

namespace tender::text {
namespace {

namespace fs = std::filesystem;

fs::path data() {
  const char* given = std::getenv("TENDER_DATA");
  return given != nullptr ? fs::path(given) : fs::path("../shared/data");
}

fs::path smollm2() {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("models/smollm2-135m", ignored))
    if (entry.path().extension() == ".gguf") return entry.path();
  return "models/smollm2-135m";
}

/// Bytes of text turned into ids per second, on one core.
void encode(benchmark::State& state, const fs::path& model, const fs::path& file) {
  try {
    const auto tokenizer = open_tokenizer(*io::open_checkpoint(model, io::Need::tokenizer));
    const std::string text = read_file(file);
    std::size_t ids = 0;
    for (auto _ : state) benchmark::DoNotOptimize(ids = tokenizer->encode(text).size());
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
    state.counters["ids"] = static_cast<double>(ids);
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

/// From the file to a tokenizer that is ready.
void open(benchmark::State& state, const fs::path& model) {
  try {
    for (auto _ : state)
      benchmark::DoNotOptimize(open_tokenizer(*io::open_checkpoint(model, io::Need::tokenizer)));
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

const bool registered = [] {
  const struct {
    const char* name;
    fs::path path;
  } models[] = {{"smollm2", smollm2()},
                {"gpt2", data() / "tokenizers/gpt2"},
                {"llama2", data() / "tokenizers/llama2"}};
  const struct {
    const char* name;
    fs::path path;
  } texts[] = {{"english", data() / "wikitext2/wiki.test.raw"},
               {"code", data() / "calib_exllamav2/code.utf8"},
               {"languages", data() / "calib_exllamav2/multilingual.utf8"}};
  for (const auto& model : models) {
    for (const auto& text : texts)
      benchmark::RegisterBenchmark((std::string("encode/") + model.name + "/" + text.name).c_str(),
                                   encode, model.path, text.path)
          ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark((std::string("open/") + model.name).c_str(), open, model.path)
        ->Unit(benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
}  // namespace tender::text

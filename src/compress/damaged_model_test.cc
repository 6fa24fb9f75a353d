// Check 24 of tender.md section 9: whatever became of the files of a model, it is refused or runs.
// Fuzzers and sanitizers (.ci/run) look further.

#include "base/rng.h"
#include "compress/quantize_test_support.h"
#include "model/model.h"

namespace tender::compress {
namespace {

class DamagedModelTest : public QuantizeTest {
 protected:
  /// Loads the model and runs a few tokens through it. @return whether it did not refuse
  bool runs(const fs::path& path) {
    ThreadPool pool(1);
    Progress silent;
    try {
      const auto loaded = model::load_model(*io::open_checkpoint(path), host_isa(), pool, silent);
      const std::vector<model::TokenId> ids = {3, 1, 200, 7, 1};
      const auto sequence = loaded->sequence(ids.size());
      const model::BatchItem item{sequence.get(), ids, 0};
      Matrix hidden;
      loaded->forward({&item, 1}, hidden, pool);
      Matrix logits(ids.size(), loaded->info().vocabulary);
      loaded->logits(hidden.view(), logits.view(), pool);
    } catch (const Error&) {
      return false;
    }
    return true;
  }
};

TEST_F(DamagedModelTest, TenderCheck24AFlippedBitAnywhereIsRefusedOrRuns) {
  Rng rng(24, "damage");
  for (const auto& [method, options] :
       {std::pair{"tender", R"({"mode": "static", "chunk_rows": 16})"},
        std::pair{"tender", R"({"weight_bits": 4, "multiplier_group": 32})"},
        std::pair{"gptq", "{}"}}) {
    SCOPED_TRACE(std::string(method) + " " + options);
    QuantizeRequest quantized = request("out", method, options);
    quantized.overwrite = Overwrite::replace;
    quantized.recipe.attention = model::AttentionBits{8, 4};
    run(quantized);
    ASSERT_TRUE(runs(quantized.output));
    std::size_t refused = 0, ran = 0;
    for (const char* name : {"config.json", "model.safetensors"}) {
      const std::string whole = read_text(quantized.output / name);
      std::uint64_t header = whole.size();
      if (std::string_view(name).ends_with("safetensors"))
        std::memcpy(&header, whole.data(), sizeof header);
      for (int n = 0; n < 80; ++n) {
        std::string damaged = whole;
        // every second one in the header, where one says most
        const std::size_t at = rng.below(n % 2 == 0 ? header : whole.size());
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << rng.below(8)));
        write_text(quantized.output / name, damaged);
        ++(runs(quantized.output) ? ran : refused);
      }
      for (int n = 0; n < 20; ++n) {
        write_text(quantized.output / name, whole.substr(0, rng.below(whole.size() - 1)));
        EXPECT_FALSE(runs(quantized.output)) << name << " was cut";
      }
      write_text(quantized.output / name, whole);
    }
    EXPECT_GT(refused, 0U);
    EXPECT_GT(ran, 0U);
  }
}

}  // namespace
}  // namespace tender::compress

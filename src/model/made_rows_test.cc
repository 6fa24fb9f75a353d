// Norms and activation functions that a site computes as it rounds its rows (Rows::make) give what
// they give where an observer wants to see the rows.

#include <array>

#include "base/rng.h"
#include "model/test_support.h"
#include "quant/memory_parts.h"
#include "quant/registry.h"

namespace tender::model {
namespace {

/// Shows every site's rows to the quantizer of that site.
struct Calibration : SiteObserver {
  std::vector<std::unique_ptr<quant::SiteQuantizer>> quantizers;
  void observe(std::size_t site, const Rows& rows) override { quantizers[site]->observe(rows); }
};

/// Sees nothing, but is there.
struct Idle : SiteObserver {
  std::size_t calls = 0;
  void observe(std::size_t, const Rows&) override { ++calls; }
};

std::vector<TokenId> tokens(std::size_t count, const ModelSpec& spec, const char* name) {
  Rng rng(5, name);
  std::vector<TokenId> ids(count);
  for (TokenId& id : ids) id = static_cast<TokenId>(rng.below(spec.info.vocabulary));
  return ids;
}

void put_parts(ModelFolder& folder, const std::string& owner, const quant::MemoryParts& parts) {
  for (const quant::MemoryParts::Item& item : parts.items)
    folder.tensors[owner + "." + item.name] = {
        std::string(to_string(item.type)),
        item.shape,
        {reinterpret_cast<const char*>(item.bytes.data()), item.bytes.size()}};
}

/// A golden model with all its sites quantized.
ModelFolder quantized(const std::string& golden, const std::string& method, const Json& options) {
  ModelFolder folder(golden);
  const auto checkpoint = io::open_checkpoint(golden_path(golden));
  const ModelSpec spec = read_spec(*checkpoint);
  const WeightReader weights(*checkpoint, spec);
  ThreadPool pool(1);
  Calibration calibration;
  for (const SiteSpec& site : spec.sites)
    calibration.quantizers.push_back(quant::method(method).quantizer(options, site.shape));
  const auto model = load(golden_path(golden));
  const auto ids = tokens(40, spec, "calibration");
  const auto sequence = model->sequence(ids.size());
  const BatchItem item{sequence.get(), ids, 0};
  Matrix hidden;
  model->forward({&item, 1}, hidden, pool, &calibration);

  for (std::size_t s = 0; s < spec.sites.size(); ++s) {
    const SiteSpec& site = spec.sites[s];
    std::vector<Matrix> matrices;
    std::vector<MatrixView<const float>> views;
    for (const std::string& linear : site.linears) {
      matrices.push_back(weights.matrix(linear + ".weight"));
      folder.tensors.erase(linear + ".weight");
    }
    for (const Matrix& w : matrices) views.push_back(w.view());
    quant::MemoryParts shared;
    std::vector<quant::MemoryParts> parts(site.linears.size());
    std::vector<PartSink*> sinks;
    for (quant::MemoryParts& each : parts) sinks.push_back(&each);
    calibration.quantizers[s]->quantize(views, pool)->save(shared, sinks);
    put_parts(folder, site.name, shared);
    for (std::size_t l = 0; l < parts.size(); ++l) put_parts(folder, site.linears[l], parts[l]);
  }
  folder.config["quantization_config"] = {{"quant_method", method},
                                          {"format_version", 1},
                                          {"options", options},
                                          {"ignore", Json::array({"lm_head"})}};
  return folder;
}

/// Two sequences of different lengths, then a token of each at a time: the rows of all passes.
std::vector<Matrix> passes(const Model& model, const ModelSpec& spec, std::size_t threads,
                           SiteObserver* observer) {
  constexpr std::size_t kSteps = 3;
  const auto long_text = tokens(17 + kSteps, spec, "long");
  const auto short_text = tokens(6 + kSteps, spec, "short");
  ThreadPool pool(threads);
  const auto a = model.sequence(long_text.size()), b = model.sequence(short_text.size());
  std::vector<Matrix> results;
  const auto pass = [&](std::size_t of_a, std::size_t of_b) {
    const std::array<BatchItem, 2> batch = {
        BatchItem{a.get(), std::span(long_text).subspan(a->tokens(), of_a), 0},
        BatchItem{b.get(), std::span(short_text).subspan(b->tokens(), of_b), 0}};
    Matrix hidden;
    model.forward(batch, hidden, pool, observer);
    results.push_back(std::move(hidden));
  };
  pass(17, 6);
  for (std::size_t n = 0; n < kSteps; ++n) pass(1, 1);
  return results;
}

void expect_the_same_unseen(const std::filesystem::path& path, const RunOptions& options = {}) {
  const auto checkpoint = io::open_checkpoint(path);
  const ModelSpec spec = read_spec(*checkpoint);
  ThreadPool pool(1);
  Progress silent;
  const auto model = load_model(*checkpoint, host_isa(), pool, silent, options);
  for (std::size_t s = 0; s < spec.sites.size(); ++s)
    EXPECT_TRUE(model->site(s).makes_rows()) << spec.sites[s].name;
  Idle idle;
  const std::vector<Matrix> seen = passes(*model, spec, 1, &idle);
  EXPECT_EQ(idle.calls, seen.size() * spec.sites.size() * 2) << "each sequence on its own";
  for (const std::size_t threads : {1U, 3U}) {
    const std::vector<Matrix> observed = passes(*model, spec, threads, &idle);
    const std::vector<Matrix> unseen = passes(*model, spec, threads, nullptr);
    ASSERT_EQ(unseen.size(), seen.size());
    for (std::size_t n = 0; n < seen.size(); ++n) {
      EXPECT_TRUE(same_bits(unseen[n], seen[n])) << "pass " << n << ", " << threads << " threads";
      EXPECT_TRUE(same_bits(observed[n], seen[n])) << "pass " << n << ", " << threads << " threads";
    }
  }
}

class MadeRows : public ::testing::TestWithParam<const char*> {};

TEST_P(MadeRows, OfTenderSitesAreThoseThatAnObserverSees) {
  for (const Json& options :
       {Json{{"mode", "row-scaled"}}, Json{{"mode", "static"}, {"chunk_rows", 8}},
        Json{{"mode", "one-row"}}, Json{{"mode", "row-scaled"}, {"rotation", "none"}},
        Json{{"mode", "static"}, {"chunk_rows", 8}, {"rotation", "none"}},
        Json{{"mode", "one-row"}, {"rotation", "none"}},
        Json{{"weight_bits", 4},
             {"activation_bits", 4},
             {"rotation", "hadamard"},
             {"weight_search", "rtn"}}}) {
    SCOPED_TRACE(to_text(options));
    const ModelFolder folder = quantized(GetParam(), "tender", options);
    expect_the_same_unseen(folder.write());
  }
}

TEST_P(MadeRows, OfSitesInBlocksAreThoseThatAnObserverSees) {
  for (const char* type : {"q4_0", "q8_0"}) {
    SCOPED_TRACE(type);
    const ModelFolder folder = quantized(GetParam(), "gguf", {{"weight_type", type}});
    expect_the_same_unseen(folder.write());
  }
}

TEST_P(MadeRows, WithAttentionInIntegersAreThoseThatAnObserverSees) {
  const ModelFolder folder = quantized(GetParam(), "tender", Json::object());
  for (const int kv_bits : {8, 4}) expect_the_same_unseen(folder.write(), {.kv_bits = kv_bits});
}

INSTANTIATE_TEST_SUITE_P(Golden, MadeRows,
                         ::testing::Values("llama_gqa", "llama3_tied", "qwen2", "mistral"),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace tender::model

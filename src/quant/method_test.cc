// The promises of a method (architecture 9.2), for every member of AllMethods in several settings.

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "quant/memory_parts.h"
#include "quant/methods.h"
#include "quant/options.h"
#include "quant/packed_site_of.h"
#include "quant/registry.h"
#include "quant/rotation/rotation.h"

namespace tender::quant {
namespace {

using Bytes = std::vector<std::vector<MemoryParts::Item>>;

/// Settings that a method is held to its promises in; the defaults alone for one that is not named.
std::vector<Json> settings_of(std::string_view method) {
  if (method == "rtn")
    return {Json::object(),
            {{"weight_bits", 4}, {"activation_granularity", "none"}},
            {{"weight_bits", 4}, {"weight_granularity", "group"}, {"group_size", 32}},
            {{"weight_bits", 8},
             {"weight_granularity", "group"},
             {"group_size", 9},
             {"activation_granularity", "none"}},
            {{"weight_bits", 4}, {"weight_granularity", "multiplier"}, {"group_size", 32}},
            {{"weight_bits", 4},
             {"weight_granularity", "multiplier"},
             {"group_size", 9},
             {"weight_scale", "mse"},
             {"activation_granularity", "none"}},
            {{"weight_granularity", "tensor"}, {"activation_granularity", "tensor"}},
            {{"weight_granularity", "tensor"}, {"weight_scale", "mse"}},
            {{"activation_granularity", "channel"}},
            {{"weight_bits", 4}, {"activation_bits", 4}}};
  if (method == "gptq")
    return {Json::object(),
            {{"weight_granularity", "channel"}, {"weight_scale", "mse"}},
            {{"weight_bits", 8}, {"group_size", 9}, {"sweep_order", "natural"}},
            {{"weight_granularity", "multiplier"}, {"group_size", 32}, {"weight_scale", "mse"}},
            {{"weight_granularity", "channel"}, {"activation_granularity", "none"}},
            {{"weight_granularity", "tensor"}, {"activation_granularity", "channel"}}};
  if (method == "smoothquant")
    return {Json::object(),
            {{"activation_granularity", "tensor"}},
            {{"factors", "powers-of-two"}},
            {{"factors", "powers-of-two"}, {"activation_granularity", "tensor"}},
            {{"alpha_percent", 50}},
            {{"weight_bits", 4}, {"activation_bits", 4}}};
  if (method == "ant" || method == "olive")
    return {Json::object(),
            {{"weight_bits", 8}, {"activation_bits", 8}},
            {{"activation_granularity", "none"}}};
  if (method == "llm_int8")
    return {Json::object(),
            {{"threshold", 1}},       // all channels but the least
            {{"threshold", 30}},      // the loudest
            {{"threshold", 100000}},  // none
            {{"weight_bits", 4}, {"activation_bits", 4}}};
  if (method == "tender")
    return {Json::object(),
            {{"error_share", 1}},  // static
            {{"error_share", 0}},  // one-row
            {{"error_share", 1e-3}, {"weight_bits", 4}, {"activation_bits", 4}},
            {{"mode", "row-scaled"}},
            {{"mode", "static"}, {"chunk_rows", 8}},
            {{"mode", "static"}, {"chunk_rows", 0}},
            {{"mode", "static"}, {"chunk_rows", 5}, {"groups", 20}},  // several planes of words
            {{"mode", "row-scaled"}, {"chunk_rows", 8}},
            {{"weight_bits", 4}},
            {{"weight_bits", 4}, {"activation_bits", 4}},
            {{"weight_bits", 4}, {"activation_bits", 4}, {"mode", "static"}, {"chunk_rows", 8}},
            {{"weight_bits", 4}, {"multiplier_group", 32}, {"weight_scale", "mse"}},
            {{"weight_bits", 4}, {"multiplier_group", 64}, {"weight_search", "gptq"}},
            {{"weight_search", "gptq"}, {"mode", "static"}, {"sweep_order", "natural"}},
            {{"rotation", "hadamard"}},
            {{"rotation", "hadamard"}, {"mode", "static"}, {"chunk_rows", 8}},
            {{"rotation", "hadamard"},
             {"weight_bits", 4},
             {"multiplier_group", 32},
             {"weight_search", "gptq"}},
            {{"groups", 1}},
            {{"groups", 20}},
            {{"mode", "one-row"}},
            {{"mode", "one-row"}, {"weight_bits", 4}},
            {{"mode", "one-row"}, {"weight_bits", 4}, {"activation_bits", 4}}};
  return {Json::object()};
}

constexpr std::size_t kIn = 70;  // neither quads nor vectors come out even
constexpr std::size_t kRows = 21;
constexpr std::array<std::size_t, 3> kOuts = {117, 16, 5};

/// A site with channels of very different reach and offsets, its layers and some rows.
struct Problem {
  explicit Problem(bool centre, bool nonnegative, std::uint64_t seed = 7) {
    shape.in = kIn;
    shape.outs.assign(kOuts.begin(), kOuts.end());
    shape.centre = centre;
    shape.nonnegative = nonnegative;
    Rng rng(seed, "method test");
    for (const std::size_t out : kOuts) {
      weights.emplace_back(out, kIn);
      for (float& w : weights.back().span()) w = 0.1F * rng.normal();
    }
    rows = Matrix(kRows, kIn);
    for (std::size_t m = 0; m < kRows; ++m) {
      positions.push_back(static_cast<std::int32_t>(m));
      for (std::size_t k = 0; k < kIn; ++k) {
        const float reach = k % 23 == 3 ? 60.0F : k % 7 == 1 ? 4.0F : 0.3F;
        const float value = reach * rng.normal() + (centre && k % 5 == 0 ? 3.0F * reach : 0.0F);
        rows(m, k) = nonnegative ? std::max(value, 0.0F) : value;
      }
    }
  }
  Rows all() const { return {rows.view(), positions}; }
  Rows some(std::size_t begin, std::size_t count) const {
    return {rows.view().rows_from(begin, count), std::span(positions).subspan(begin, count)};
  }
  std::vector<MatrixView<const float>> views() const {
    std::vector<MatrixView<const float>> views;
    for (const Matrix& w : weights) views.push_back(w.view());
    return views;
  }

  SiteShape shape;
  std::vector<Matrix> weights;
  Matrix rows;
  std::vector<std::int32_t> positions;
};

Isa operator&(Isa a, Isa b) {
  return static_cast<Isa>(static_cast<std::uint32_t>(a) & static_cast<std::uint32_t>(b));
}

const std::array<Isa, 4> kMasks = {Isa::scalar, Isa::avx2, Isa::avx2 | Isa::avx512,
                                   Isa::avx2 | Isa::avx512 | Isa::vnni};

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](float x, float y) {
           return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
         });
}

template <class M>
class MethodTest : public ::testing::Test {
 protected:
  /// Runs `body(entry, options, problem)` for every setting and kind of site.
  template <class Body>
  void for_each(Body&& body) {
    const MethodEntry& entry = method(M::kName);
    for (const Json& options : settings_of(M::kName))
      for (const auto& [centre, nonnegative] :
           {std::pair{true, false}, std::pair{false, false}, std::pair{false, true}}) {
        SCOPED_TRACE(to_text(options) + (centre ? " centred" : nonnegative ? " nonnegative" : ""));
        body(entry, options, Problem(centre, nonnegative));
      }
  }

  static std::unique_ptr<PackedSite> quantize(const MethodEntry& entry, const Json& options,
                                              const Problem& problem) {
    const auto quantizer = entry.quantizer(options, problem.shape);
    if (entry.traits(options).wants_inputs) quantizer->observe(problem.all());
    return finish(*quantizer, problem);
  }

  /// What follows the last observe().
  static std::unique_ptr<PackedSite> finish(SiteQuantizer& quantizer, const Problem& problem) {
    ThreadPool pool(2);
    if (quantizer.wants_moment()) {
      quantizer.settle(problem.views());
      quantizer.observe_rounded(problem.all(), host_isa(), pool);
    }
    return quantizer.quantize(problem.views(), pool);
  }

  /// Parts of the site, then of each layer.
  static std::vector<MemoryParts> parts_of(const PackedSite& site) {
    std::vector<MemoryParts> parts(1 + site.linears());
    std::vector<PartSink*> sinks;
    for (std::size_t l = 1; l < parts.size(); ++l) sinks.push_back(&parts[l]);
    site.save(parts[0], sinks);
    return parts;
  }
  static std::unique_ptr<PackedSite> load(const MethodEntry& entry,
                                          const std::vector<MemoryParts>& parts) {
    std::vector<const PartSource*> sources;
    for (std::size_t l = 1; l < parts.size(); ++l) sources.push_back(&parts[l]);
    return entry.load(parts[0], sources);
  }
  static Bytes bytes_of(const PackedSite& site) {
    Bytes bytes;
    for (const MemoryParts& parts : parts_of(site)) bytes.push_back(parts.items);
    return bytes;
  }
  static std::unique_ptr<PackedSite> prepared(const MethodEntry& entry, const Json& options,
                                              const Problem& problem, Isa isa) {
    auto site = quantize(entry, options, problem);
    site->prepare(isa & detected_isa());
    return site;
  }

  /// The results of all layers side by side, [rows, sum of outs], with a bias on the first.
  static Matrix run(const PackedSite& site, const Rows& x, ThreadPool& pool) {
    const std::vector<float> bias(site.shape(0).out, 0.25F);
    std::size_t columns = 0;
    for (std::size_t l = 0; l < site.linears(); ++l) columns += site.shape(l).out;
    Matrix y(x.values.rows(), columns);
    std::vector<SiteOutput> outputs;
    for (std::size_t l = 0, at = 0; l < site.linears(); at += site.shape(l++).out)
      outputs.push_back({y.view().cols_from(at, site.shape(l).out),
                         {l == 0 ? std::span(bias) : std::span<const float>()}});
    site.matmul(x, outputs, pool);
    return y;
  }
  static double bias_of(std::size_t linear) { return linear == 0 ? 0.25 : 0; }
};

template <class List>
struct AsTypes;
template <class... Ms>
struct AsTypes<MethodList<Ms...>> {
  using type = ::testing::Types<Ms...>;
};
struct Name {
  template <class M>
  static std::string GetName(int) {
    return std::string(M::kName);
  }
};
TYPED_TEST_SUITE(MethodTest, AsTypes<AllMethods>::type, Name);

TYPED_TEST(MethodTest, UnpackAfterPackIsTheIdentity) {
  this->for_each([](const MethodEntry&, const Json& json, const Problem& problem) {
    const TypeParam method(read_options<typename TypeParam::Options>(TypeParam::kName, json));
    auto seen = method.calibrate(problem.shape);
    seen.observe(problem.all());
    const auto input = method.input(seen, problem.views());
    ThreadPool pool(1);
    Matrix rows(kRows, kIn);
    TypeParam::rounded(input, problem.all(), rows.view());
    SecondMoment moment(kIn, host_isa());
    moment.add(rows.view(), pool);
    for (const Matrix& w : problem.weights) {
      const auto codes = method.quantize(w.view(), input, &moment, pool);
      EXPECT_EQ(TypeParam::unpack(TypeParam::pack(codes)), codes);
    }
  });
}

TYPED_TEST(MethodTest, LoadAfterSaveGivesTheSamePartsByteForByte) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto site = this->quantize(entry, options, problem);
    const auto again = this->load(entry, this->parts_of(*site));
    EXPECT_EQ(this->bytes_of(*again), this->bytes_of(*site));
    EXPECT_EQ(again->inputs(), site->inputs());
    EXPECT_LE(again->inputs(), entry.traits(options).inputs);
    EXPECT_EQ(again->method(), TypeParam::kName);
    ThreadPool pool(1);
    site->prepare(host_isa());
    again->prepare(host_isa());
    EXPECT_TRUE(same_bits(this->run(*site, problem.all(), pool).span(),
                          this->run(*again, problem.all(), pool).span()));
  });
}

TYPED_TEST(MethodTest, BytesAreThePayloadOfItsPartsBeforeAndAfterPrepare) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto site = this->quantize(entry, options, problem);
    std::size_t payload = 0;
    for (const MemoryParts& parts : this->parts_of(*site)) payload += parts.payload();
    EXPECT_EQ(site->bytes(), payload);
    site->prepare(host_isa());
    EXPECT_EQ(site->bytes(), payload);
  });
}

TYPED_TEST(MethodTest, ActivationBitsAreTheNominalOnesAndWhatGoesWithARow) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto site = this->quantize(entry, options, problem);
    const MethodTraits traits = entry.traits(options);
    const double own_step = traits.inputs == InputRounding::by_row ? 32.0 / kIn : 0;
    EXPECT_GE(site->activation_bits(), traits.activation_bits + own_step);
    EXPECT_LE(site->activation_bits(), 32);
  });
}

TYPED_TEST(MethodTest, TheSameInputsGiveTheSameBytes) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    EXPECT_EQ(this->bytes_of(*this->quantize(entry, options, problem)),
              this->bytes_of(*this->quantize(entry, options, problem)));
  });
}

TYPED_TEST(MethodTest, ReferenceAgreesWithTheDequantizedProductWithinTheRoundingOfRowsAndWeights) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const MethodTraits traits = entry.traits(options);
    const auto site = this->quantize(entry, options, problem);
    float peak = 0;
    for (const float value : problem.rows.span()) peak = std::max(peak, std::abs(value));
    // Calibrated on these rows nothing is clipped, so a value moves by half of the largest step at
    // most: (largest |x - bias|) / qmax / 2 <= 2 peak / qmax / 2. A bias stands for itself times
    // the weights as they were, in place of the dequantized ones: |bias| <= peak.
    const double step =
        traits.inputs == InputRounding::none
            ? 0
            : static_cast<double>(peak) / (std::exp2(traits.activation_bits - 1) - 1);
    for (std::size_t l = 0; l < site->linears(); ++l) {
      const Matrix& w = problem.weights[l];
      Matrix dequantized(w.rows(), w.cols());
      site->dequantize(l, dequantized.view());
      MatrixOf<double> y(kRows, w.rows());
      site->reference(problem.all(), l, y.view());
      for (std::size_t m = 0; m < kRows; ++m)
        for (std::size_t n = 0; n < w.rows(); ++n) {
          double exact = 0, bound = 0;
          for (std::size_t k = 0; k < kIn; ++k) {
            const double weight = dequantized(n, k);
            exact += static_cast<double>(problem.rows(m, k)) * weight;
            // Otherwise a value is nearer to its number than to 0, which is one, or it is given up.
            const double off =
                traits.even_steps ? step : std::abs(static_cast<double>(problem.rows(m, k)));
            bound += off * std::abs(weight);
            if (traits.inputs != InputRounding::none && problem.shape.centre)
              bound += static_cast<double>(peak) * std::abs(static_cast<double>(w(n, k)) - weight);
          }
          ASSERT_NEAR(y(m, n), exact, bound * (1 + 1e-6))
              << "layer " << l << " row " << m << " output " << n;
        }
    }
  });
}

// Rows 0 and 1 share a chunk, so that what is added back falls out of their difference.
TYPED_TEST(MethodTest, TheReferenceIsTheProductOfTheRoundedRows) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const TypeParam method(read_options<typename TypeParam::Options>(TypeParam::kName, options));
    auto seen = method.calibrate(problem.shape);
    seen.observe(problem.all());
    const auto input = method.input(seen, problem.views());
    Matrix rows(2, kIn);
    TypeParam::rounded(input, problem.some(0, 2), rows.view());
    const auto site = this->quantize(entry, options, problem);
    Matrix w(kOuts[0], kIn);
    site->dequantize(0, w.view());
    // Rotated rows meet rotated weights, which dequantize() has turned back.
    const bool rotated = entry.resolve(options).value("rotation", "none") == "hadamard";
    ThreadPool pool(1);
    if (rotated) w = Rotation(kIn).rotated_weights(w.view(), pool);
    float largest = 0;
    for (const float value : w.span()) largest = std::max(largest, std::abs(value));
    MatrixOf<double> y(2, kOuts[0]);
    site->reference(problem.some(0, 2), 0, y.view());
    for (std::size_t n = 0; n < w.rows(); ++n) {
      double expected = 0, magnitude = 0;
      for (std::size_t k = 0; k < kIn; ++k) {
        expected += (static_cast<double>(rows(0, k)) - static_cast<double>(rows(1, k))) *
                    static_cast<double>(w(n, k));
        magnitude += (std::abs(static_cast<double>(rows(0, k))) +
                      std::abs(static_cast<double>(rows(1, k)))) *
                     std::abs(static_cast<double>(rotated ? largest : w(n, k)));
      }
      magnitude += std::abs(y(0, n)) + std::abs(y(1, n));  // float32 of what is added back cancels
      // Four roundings to float32: the row's step, its value, the scale, the weight; turning a
      // weight back and forth in blocks of two takes eight more, of its neighbour too.
      ASSERT_NEAR(y(0, n) - y(1, n), expected, (rotated ? 12 : 4) * 0x1p-24 * magnitude)
          << "output " << n;
    }
  });
}

TYPED_TEST(MethodTest, MatmulAgreesWithReferenceWithinTheRoundingOfItsSums) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto site = this->quantize(entry, options, problem);
    const auto fast = this->prepared(entry, options, problem, host_isa());
    ThreadPool pool(2);
    const Matrix y = this->run(*fast, problem.all(), pool);
    float peak = 0;
    for (const float value : problem.rows.span()) peak = std::max(peak, std::abs(value));
    std::size_t at = 0;
    for (std::size_t l = 0; l < site->linears(); ++l) {
      const std::size_t out = site->shape(l).out;
      Matrix w(out, kIn);
      site->dequantize(l, w.view());
      MatrixOf<double> exact(kRows, out);
      site->reference(problem.all(), l, exact.view());
      for (std::size_t m = 0; m < kRows; ++m)
        for (std::size_t n = 0; n < out; ++n) {
          // A chain of `in` roundings at most, and six of the scales, the dequantization, what is
          // added back and the bias; rounded rows and their bias reach 2 * peak at most.
          constexpr double gamma = (kIn + 6) * 0x1p-24 / (1 - (kIn + 6) * 0x1p-24);
          double magnitude = this->bias_of(l);
          for (std::size_t k = 0; k < kIn; ++k)
            magnitude += 4.0 * static_cast<double>(peak) * std::abs(static_cast<double>(w(n, k)));
          ASSERT_NEAR(static_cast<double>(y(m, at + n)), exact(m, n) + this->bias_of(l),
                      gamma * magnitude)
              << "layer " << l << " row " << m << " output " << n;
        }
      at += out;
    }
  });
}

TYPED_TEST(MethodTest, EveryIsaAndAnyNumberOfThreadsGiveTheSameBits) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    ThreadPool one(1);
    const auto scalar = this->prepared(entry, options, problem, Isa::scalar);
    const Matrix expected = this->run(*scalar, problem.all(), one);
    for (const Isa isa : kMasks)
      for (const std::size_t threads : {1U, 2U, 3U}) {
        ThreadPool pool(threads);
        const auto site = this->prepared(entry, options, problem, isa);
        EXPECT_TRUE(same_bits(this->run(*site, problem.all(), pool).span(), expected.span()))
            << to_string(isa) << " (" << site->kernel() << ") with " << threads << " threads";
      }
  });
}

TYPED_TEST(MethodTest, ARowGivesTheSameBitsAloneAndInAnyBatch) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    if (entry.traits(options).inputs == InputRounding::by_chunk)
      GTEST_SKIP() << "by_chunk is exempt";
    ThreadPool pool(2);
    for (const Isa isa : kMasks) {
      const auto site = this->prepared(entry, options, problem, isa);
      const Matrix whole = this->run(*site, problem.all(), pool);
      for (const std::size_t count : {1U, 2U, 4U, 9U})
        for (std::size_t begin = 0; begin + count <= kRows; begin += count) {
          const Matrix part = this->run(*site, problem.some(begin, count), pool);
          const auto same = whole.view().rows_from(begin, count);
          EXPECT_TRUE(same_bits(part.span(), {same.data(), part.span().size()}))
              << to_string(isa) << ", rows " << begin << " to " << begin + count;
        }
    }
  });
}

TYPED_TEST(MethodTest, AMissingReshapedOrRetypedPartIsRefused) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto whole = this->parts_of(*this->quantize(entry, options, problem));
    for (std::size_t p = 0; p < whole.size(); ++p)
      for (std::size_t i = 0; i < whole[p].items.size(); ++i) {
        const std::string name = whole[p].items[i].name;
        const auto refused = [&](auto&& damage, const char* what) {
          auto parts = whole;
          damage(parts[p].items, i);
          try {
            this->load(entry, parts);
            FAIL() << name << ": " << what << " was accepted";
          } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::corrupt_file) << name << ": " << what;
          }
        };
        // Without its optional parts a site is a different one, and the parts of its layers tell.
        const bool optional =
            name == "rtn_tensor_scale" || name == "rtn_channel_scales" || name == "tender_bias";
        if (!optional)
          refused(
              [](auto& items, std::size_t at) {
                items.erase(items.begin() + static_cast<std::ptrdiff_t>(at));
              },
              "missing");
        refused([](auto& items, std::size_t at) { items[at].shape.push_back(1); }, "another rank");
        refused([](auto& items, std::size_t at) { items[at].shape[0] += 1; }, "another extent");
        refused(
            [](auto& items, std::size_t at) {
              items[at].type = items[at].type == DType::f16 ? DType::bf16 : DType::f16;
            },
            "another type");
      }
  });
}

TYPED_TEST(MethodTest, ScalesThatAreNotFiniteOrNotAboveZeroAreRefused) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto whole = this->parts_of(*this->quantize(entry, options, problem));
    for (const float bad : {0.0F, -1.0F, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
      auto parts = whole;
      for (auto& item : parts[1].items)
        if (item.name.ends_with("_scales")) std::memcpy(item.bytes.data(), &bad, sizeof bad);
      try {
        this->load(entry, parts);
        FAIL() << "scale " << bad << " was accepted";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), "QC_SCALE");
      }
    }
  });
}

TYPED_TEST(MethodTest, AFlippedBitOfTheMetadataIsRefusedOrChangesNumbersWithoutHarm) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto whole = this->parts_of(*this->quantize(entry, options, problem));
    ThreadPool pool(1);
    for (std::size_t i = 0; i < whole[0].items.size(); ++i)
      for (std::size_t bit = 0; bit < 8 * std::min<std::size_t>(whole[0].items[i].bytes.size(), 24);
           ++bit) {
        auto parts = whole;
        parts[0].items[i].bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        std::unique_ptr<PackedSite> site;
        try {
          site = this->load(entry, parts);
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::corrupt_file);
          continue;
        }
        site->prepare(host_isa());  // what loads also runs
        this->run(*site, problem.some(0, 1), pool);
      }
  });
}

TYPED_TEST(MethodTest, WrongShapesAreInvalidArguments) {
  this->for_each([](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto quantizer = entry.quantizer(options, problem.shape);
    quantizer->observe(problem.all());
    auto views = problem.views();
    const auto code_of = [](auto&& body) -> std::string {
      try {
        body();
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        return error.code();
      }
      return "";
    };
    ThreadPool pool(1);
    std::swap(views[0], views[1]);
    EXPECT_EQ(code_of([&] { quantizer->quantize(views, pool); }), "Q_SHAPE");
    views.pop_back();
    EXPECT_EQ(code_of([&] { quantizer->quantize(views, pool); }), "Q_SHAPE");
    SiteShape empty;
    EXPECT_EQ(code_of([&] { entry.quantizer(options, empty); }), "Q_SHAPE");
    empty.in = std::size_t{1} << 40U;
    empty.outs = {1};
    EXPECT_EQ(code_of([&] { entry.quantizer(options, empty); }), "Q_SHAPE");
  });
}

TYPED_TEST(MethodTest, WeightsThatAreNotFiniteAreRefusedWithTheirPlace) {
  this->for_each([](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto quantizer = entry.quantizer(options, problem.shape);
    quantizer->observe(problem.all());
    Problem bad(problem.shape.centre, problem.shape.nonnegative);
    bad.weights[1](2, 3) = std::numeric_limits<float>::quiet_NaN();
    ThreadPool pool(1);
    try {
      quantizer->quantize(bad.views(), pool);
      FAIL() << "a NaN was quantized";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "Q_NONFINITE");
      EXPECT_NE(error.sentence().find("[2, 3]"), std::string::npos) << error.sentence();
    }
  });
}

TYPED_TEST(MethodTest, ARowThatIsNotFiniteGivesNanInItsOwnResultAndNowhereElse) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    ThreadPool pool(2);
    for (const Isa isa : kMasks)
      for (const float bad :
           {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
            -std::numeric_limits<float>::infinity()}) {
        const auto site = this->prepared(entry, options, problem, isa);
        const Matrix expected = this->run(*site, problem.all(), pool);
        Problem spoilt(problem.shape.centre, problem.shape.nonnegative);
        spoilt.rows(4, 69) = bad;
        const Matrix y = this->run(*site, spoilt.all(), pool);
        for (std::size_t m = 0; m < kRows; ++m) {
          if (m != 4) {
            EXPECT_TRUE(same_bits(y.row(m), expected.row(m))) << to_string(isa) << " row " << m;
            continue;
          }
          for (const float value : y.row(m)) EXPECT_FALSE(std::isfinite(value)) << to_string(isa);
        }
      }
  });
}

TYPED_TEST(MethodTest, ARowOfZerosGivesFiniteResults) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    ThreadPool pool(1);
    Problem zeros(problem.shape.centre, problem.shape.nonnegative);
    for (float& value : zeros.rows.span()) value = 0;
    const auto seen_zeros = this->prepared(entry, options, zeros, host_isa());
    const auto seen_rows = this->prepared(entry, options, problem, host_isa());
    const std::array results = {this->run(*seen_zeros, zeros.all(), pool),
                                this->run(*seen_zeros, problem.all(), pool),
                                this->run(*seen_rows, zeros.all(), pool)};
    for (const Matrix& y : results)
      for (const float value : y.span()) EXPECT_TRUE(std::isfinite(value));
  });
}

TYPED_TEST(MethodTest, QuantizingDequantizedWeightsChangesNothingWhereItSaysSo) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    if (!entry.traits(options).idempotent) return;
    const auto site = this->quantize(entry, options, problem);
    Problem again(problem.shape.centre, problem.shape.nonnegative);
    for (std::size_t l = 0; l < site->linears(); ++l) site->dequantize(l, again.weights[l].view());
    EXPECT_EQ(this->bytes_of(*this->quantize(entry, options, again)), this->bytes_of(*site));
  });
}

TYPED_TEST(MethodTest, CalibrationIsWantedKeptAndIndependentOfTheOrderOfSequences) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const Problem other(problem.shape.centre, problem.shape.nonnegative, 8);
    const auto forth = entry.quantizer(options, problem.shape);
    forth->observe(problem.all());
    forth->observe(other.all());
    const auto back = entry.quantizer(options, problem.shape);
    back->observe(other.all());
    back->observe(problem.all());
    const Bytes expected = this->bytes_of(*this->finish(*forth, problem));
    EXPECT_EQ(this->bytes_of(*this->finish(*back, problem)), expected);

    MemoryParts kept("calibration");
    forth->save_calibration(kept);
    if (entry.traits(options).wants_inputs || entry.traits(options).wants_moment) {
      ThreadPool pool(1);
      try {
        entry.quantizer(options, problem.shape)->quantize(problem.views(), pool);
        FAIL() << "calibration is wanted but not asked for";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), "Q_CALIBRATION");
      }
    }
    const auto loaded = entry.quantizer(options, problem.shape);
    loaded->load_calibration(kept);
    EXPECT_EQ(this->bytes_of(*this->finish(*loaded, problem)), expected);
    for (std::size_t i = 0; i < kept.items.size(); ++i) {
      MemoryParts damaged = kept;
      damaged.items[i].shape.back() += 1;
      EXPECT_THROW(loaded->load_calibration(damaged), Error) << kept.items[i].name;
    }
  });
}

TYPED_TEST(MethodTest, OnItsCalibrationRowsItIsNoWorseThanRtnWithOneScaleForAllActivations) {
  const MethodEntry& rtn = method("rtn");
  this->for_each([&](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const Json resolved = entry.resolve(options);
    if (!entry.traits(options).wants_inputs || entry.name == "rtn" ||
        resolved.value("groups", 0) == 1)
      return;
    const auto error_of = [&](const PackedSite& site) {
      double error = 0;
      for (std::size_t l = 0; l < site.linears(); ++l) {
        MatrixOf<double> y(kRows, site.shape(l).out);
        site.reference(problem.all(), l, y.view());
        for (std::size_t m = 0; m < kRows; ++m)
          for (std::size_t n = 0; n < y.cols(); ++n) {
            double exact = 0;
            for (std::size_t k = 0; k < kIn; ++k)
              exact += static_cast<double>(problem.rows(m, k)) *
                       static_cast<double>(problem.weights[l](n, k));
            error += (y(m, n) - exact) * (y(m, n) - exact);
          }
      }
      return error;
    };
    const Json plain = {{"weight_bits", resolved["weight_bits"]},
                        {"activation_bits", resolved["activation_bits"]},
                        {"activation_granularity", "tensor"}};
    EXPECT_LE(error_of(*this->quantize(entry, options, problem)),
              error_of(*this->quantize(rtn, plain, problem)));
  });
}

}  // namespace
}  // namespace tender::quant

// Damaged parts, wrong shapes and numbers that are not finite, for every member of AllMethods.
// Numbers in the names are those of the checks of tender.md section 9.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "quant/memory_parts.h"
#include "quant/method_test_support.h"
#include "quant/options.h"
#include "quant/registry.h"
#include "quant/rotation/rotation.h"

namespace tender::quant {
namespace {

template <class M>
class MethodBadInputTest : public MethodTest<M> {};
TYPED_TEST_SUITE(MethodBadInputTest, AsTypes<AllMethods>::type, MethodName);

TYPED_TEST(MethodBadInputTest, TenderCheck10AMissingReshapedOrRetypedPartIsRefused) {
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

TYPED_TEST(MethodBadInputTest, TenderCheck10ScalesThatAreNotFiniteOrNotAboveZeroAreRefused) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto whole = this->parts_of(*this->quantize(entry, options, problem));
    for (const float bad : {0.0F, -1.0F, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
      auto parts = whole;
      bool spoilt = false;
      for (auto& item : parts[1].items) {
        if (item.name.ends_with("_scales")) std::memcpy(item.bytes.data(), &bad, sizeof bad);
        // Blocks begin with a scale: a float32, or a float16 that may be 0 and below.
        const bool whole_float = options.value("weight_type", "").starts_with("symmetric");
        const std::uint16_t half = float_to_half(bad);
        if (item.name.ends_with("_blocks"))
          std::memcpy(item.bytes.data(), whole_float ? static_cast<const void*>(&bad) : &half,
                      whole_float ? sizeof bad : sizeof half);
        spoilt = spoilt || item.name.ends_with("_scales") ||
                 (item.name.ends_with("_blocks") && (whole_float || !std::isfinite(bad)));
      }
      if (!spoilt) continue;
      try {
        this->load(entry, parts);
        FAIL() << "scale " << bad << " was accepted";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), "QC_SCALE");
      }
    }
  });
}

TYPED_TEST(MethodBadInputTest,
           TenderCheck24AFlippedBitOfTheMetadataIsRefusedOrChangesNumbersWithoutHarm) {
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

TYPED_TEST(MethodBadInputTest, WrongShapesAreInvalidArguments) {
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

TYPED_TEST(MethodBadInputTest, WeightsThatAreNotFiniteAreRefusedWithTheirPlace) {
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

TYPED_TEST(MethodBadInputTest, ARowThatIsNotFiniteGivesNanInItsOwnResultAndNowhereElse) {
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
          // Without the row its chunk has other statistics, so that only NaN must not spread.
          if (m != 4 && site->inputs() == InputRounding::by_chunk) {
            for (const float value : y.row(m)) EXPECT_TRUE(std::isfinite(value)) << to_string(isa);
            continue;
          }
          if (m != 4) {
            EXPECT_TRUE(same_bits(y.row(m), expected.row(m))) << to_string(isa) << " row " << m;
            continue;
          }
          for (const float value : y.row(m)) EXPECT_FALSE(std::isfinite(value)) << to_string(isa);
        }
      }
  });
}

TYPED_TEST(MethodBadInputTest, ARowOfZerosGivesFiniteResults) {
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

}  // namespace
}  // namespace tender::quant

// The promises of a method (architecture 9.2), for every member of AllMethods in several settings.
// Numbers in the names are those of the checks of tender.md section 9.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "quant/memory_parts.h"
#include "quant/method_test_support.h"
#include "quant/options.h"
#include "quant/registry.h"
#include "quant/rotation/rotation.h"

namespace tender::quant {
namespace {

TYPED_TEST_SUITE(MethodTest, AsTypes<AllMethods>::type, MethodName);

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

TYPED_TEST(MethodTest, TenderCheck10LoadAfterSaveGivesTheSamePartsByteForByte) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto site = this->quantize(entry, options, problem);
    std::vector<MemoryParts> parts = this->parts_of(*site);
    const auto again = this->load(entry, parts);
    EXPECT_EQ(this->bytes_of(*again), this->bytes_of(*site));
    EXPECT_EQ(again->inputs(), site->inputs());
    EXPECT_LE(again->inputs(), entry.traits(options).inputs);
    EXPECT_EQ(again->method(), TypeParam::kName);
    ThreadPool pool(1);
    site->prepare(host_isa());
    again->prepare(host_isa());
    for (MemoryParts& each : parts)
      for (auto& item : each.items) std::ranges::fill(item.bytes, std::byte{0xa5});
    // It has what it needs.
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
            // Otherwise a value is nearer to its number than to 0, which is one, or it is given up;
            // off its bias it may be as far from 0 as the peak.
            const double own = std::abs(static_cast<double>(problem.rows(m, k)));
            const double off = traits.even_steps      ? step
                               : problem.shape.centre ? static_cast<double>(peak) + own
                                                      : own + step;
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
    const bool rotated = TypeParam::describe(input).ends_with(", rotated");
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

TYPED_TEST(MethodTest, RowsReadOutOfAPreparedSiteAreItsDequantizedWeights) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto site = this->quantize(entry, options, problem);
    if (!site->reads_rows()) return;
    std::vector<Matrix> expected;
    for (std::size_t l = 0; l < site->linears(); ++l) {
      expected.emplace_back(site->shape(l).out, kIn);
      site->dequantize(l, expected.back().view());
    }
    site->prepare(host_isa());
    std::vector<float> row(kIn);
    for (std::size_t l = 0; l < site->linears(); ++l)
      for (std::size_t n = 0; n < expected[l].rows(); ++n) {
        site->read_row(l, n, row);
        EXPECT_TRUE(same_bits(row, expected[l].row(n))) << "layer " << l << " output " << n;
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
    if (entry.traits(options).inputs == InputRounding::by_chunk) return;  // the next test
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

// The declared exception to the promise of the test above.
TYPED_TEST(MethodTest, RowsThatAreRoundedByTheirChunkGiveTheSameBitsInAnyBatchOfWholeChunks) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    if (entry.traits(options).inputs != InputRounding::by_chunk) return;
    const auto rows = entry.resolve(options).at("chunk_rows").template get<std::size_t>();
    ThreadPool pool(2);
    for (const Isa isa : kMasks) {
      const auto site = this->prepared(entry, options, problem, isa);
      ASSERT_EQ(site->inputs(), InputRounding::by_chunk);
      const Matrix whole = this->run(*site, problem.all(), pool);
      for (const std::size_t chunks : {1U, 2U})
        for (std::size_t begin = 0; begin < kRows; begin += chunks * rows) {
          const std::size_t count = std::min(chunks * rows, kRows - begin);
          const Matrix part = this->run(*site, problem.some(begin, count), pool);
          const auto same = whole.view().rows_from(begin, count);
          EXPECT_TRUE(same_bits(part.span(), {same.data(), part.span().size()}))
              << to_string(isa) << ", rows " << begin << " to " << begin + count;
        }
      if (rows >= kRows) continue;
      const Matrix alone = this->run(*site, problem.some(0, 1), pool);
      const auto beside = whole.view().rows_from(0, 1);
      EXPECT_FALSE(same_bits(alone.span(), {beside.data(), alone.span().size()}))
          << "a row alone is a chunk of its own";
    }
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

TYPED_TEST(MethodTest, TenderCheck10CalibrationIsWantedKeptAndIndependentOfTheOrderOfSequences) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const Problem other(problem.shape.centre, problem.shape.nonnegative, 8);
    const auto forth = entry.quantizer(options, problem.shape);
    forth->observe(problem.all());
    forth->observe(other.all());
    const auto back = entry.quantizer(options, problem.shape);
    back->observe(other.all());
    back->observe(problem.all());
    const Bytes expected = this->bytes_of(*this->finish(entry, options, *forth, problem));
    EXPECT_EQ(this->bytes_of(*this->finish(entry, options, *back, problem)), expected);

    for (const bool swapped : {false, true}) {
      MemoryParts one, two;
      const auto first = entry.quantizer(options, problem.shape);
      first->observe(swapped ? other.all() : problem.all());
      const auto second = entry.quantizer(options, problem.shape);
      second->observe(swapped ? problem.all() : other.all());
      second->save_calibration(two);
      first->merge_calibration(two);
      first->save_calibration(one);
      const auto merged = entry.quantizer(options, problem.shape);
      merged->load_calibration(one);
      EXPECT_EQ(this->bytes_of(*this->finish(entry, options, *merged, problem)), expected)
          << "merged";
    }

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
    EXPECT_EQ(this->bytes_of(*this->finish(entry, options, *loaded, problem)), expected);
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
        resolved.value("groups", 0) == 1 ||
        (entry.name == "tender" && !entry.traits(options).even_steps))
      return;  // where values are clipped it depends on the rows
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
                        {"activation_bits", resolved["activation_bits"] == 8 ? 8 : 4},
                        {"activation_granularity", "tensor"}};
    EXPECT_LE(error_of(*this->quantize(entry, options, problem)),
              error_of(*this->quantize(rtn, plain, problem)));
  });
}

}  // namespace
}  // namespace tender::quant

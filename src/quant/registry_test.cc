#include "quant/registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "kernels/gemm_f32/gemm_f32.h"
#include "quant/options.h"

namespace tender::quant {
namespace {

enum class Colour { red, green };
constexpr std::array<std::string_view, 2> kColours = {"red", "green"};

struct ToyOptions {
  int bits = 8;
  Colour colour = Colour::green;
  double share = 0.25;
  template <class Self, class Visitor>
  static void fields(Self& self, Visitor& visit) {
    visit.integer("weight_bits", self.bits, 2, 8, "bits of a code");
    visit.choice("colour", self.colour, kColours, "of the shed");
    visit.real("share", self.share, 0, 1, "of the work");
  }
};
void settle(ToyOptions& options) {
  if (options.bits == 7) refuse_option("toy", "weight_bits", "7", "any bits but 7");
}

std::string code_of(const Json& json) {
  try {
    read_options<ToyOptions>("toy", json);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    return error.code() + " " + error.details().item;
  }
  return "";
}

TEST(Options, DefaultsAreFilledIn) {
  const Json filled = write_options(read_options<ToyOptions>("toy", Json{{"weight_bits", 4}}));
  EXPECT_EQ(filled, (Json{{"weight_bits", 4}, {"colour", "green"}, {"share", 0.25}}));
  EXPECT_EQ(write_options(read_options<ToyOptions>("toy", Json())),
            (Json{{"weight_bits", 8}, {"colour", "green"}, {"share", 0.25}}));
  const Json tiny = write_options(read_options<ToyOptions>("toy", Json{{"share", 1e-5}}));
  EXPECT_EQ(Json::parse(to_text(tiny))["share"], 1e-5);
  EXPECT_EQ(write_options(read_options<ToyOptions>("toy", Json{{"share", 1}}))["share"], 1.0);
}

TEST(Options, UnknownNamesAndBadValuesAreRefusedByName) {
  EXPECT_EQ(code_of({{"weight_bits", 8}, {"colour", "red"}}), "");
  EXPECT_EQ(code_of({{"bits", 8}}), "OPTION_UNKNOWN bits");
  EXPECT_EQ(code_of({{"weight_bits", 1}}), "OPTION_VALUE weight_bits");
  EXPECT_EQ(code_of({{"weight_bits", 9}}), "OPTION_VALUE weight_bits");
  EXPECT_EQ(code_of({{"weight_bits", 18446744073709551615U}}), "OPTION_VALUE weight_bits");
  EXPECT_EQ(code_of({{"weight_bits", 4.0}}), "OPTION_VALUE weight_bits");
  EXPECT_EQ(code_of({{"weight_bits", "4"}}), "OPTION_VALUE weight_bits");
  EXPECT_EQ(code_of({{"weight_bits", 7}}), "OPTION_VALUE weight_bits");
  EXPECT_EQ(code_of({{"colour", "blue"}}), "OPTION_VALUE colour");
  EXPECT_EQ(code_of({{"colour", 1}}), "OPTION_VALUE colour");
  EXPECT_EQ(code_of({{"share", 1.5}}), "OPTION_VALUE share");
  EXPECT_EQ(code_of({{"share", -1e-9}}), "OPTION_VALUE share");
  EXPECT_EQ(code_of({{"share", "0.5"}}), "OPTION_VALUE share");
  EXPECT_EQ(code_of({{"share", std::numeric_limits<double>::quiet_NaN()}}), "OPTION_VALUE share");
  EXPECT_EQ(code_of(Json::array()), "OPTION_VALUE options");
}

TEST(Options, HelpIsMadeOfTheSameFields) {
  const auto options = describe_options<ToyOptions>();
  ASSERT_EQ(options.size(), 3U);
  EXPECT_EQ(options[0].name, "weight_bits");
  EXPECT_EQ(options[0].type, "integer");
  EXPECT_EQ(options[0].default_text, "8");
  EXPECT_EQ(options[0].description, "bits of a code; 2 to 8");
  EXPECT_EQ(options[1].choices, (std::vector<std::string>{"red", "green"}));
  EXPECT_EQ(options[1].default_text, "green");
  EXPECT_EQ(options[2].type, "number");
  EXPECT_EQ(options[2].default_text, "0.25");
  EXPECT_EQ(options[2].description, "of the work; 0 to 1");
}

TEST(Registry, AnUnknownMethodIsRefusedWithTheListOfThoseThatExist) {
  try {
    method("magic");
    FAIL() << "magic exists";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_EQ(error.code(), "METHOD_UNKNOWN");
  }
  try {
    method_of_checkpoint("magic", "config.json");
    FAIL() << "magic exists";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_EQ(error.code(), "QC_METHOD");
    EXPECT_EQ(error.details().file, "config.json");
  }
}

TEST(Registry, EveryMethodResolvesItsOwnDefaults) {
  for (const MethodEntry& entry : all_methods()) {
    const Json defaults = entry.resolve(Json::object());
    EXPECT_EQ(entry.resolve(defaults), defaults) << entry.name;
    EXPECT_EQ(defaults.size(), entry.options.size()) << entry.name;
    EXPECT_EQ(&method(entry.name), &entry);
  }
}

class FloatSiteTest : public ::testing::Test {
 protected:
  static Matrix random(std::size_t rows, std::size_t cols, std::uint64_t seed) {
    Rng rng(seed, "float site");
    Matrix m(rows, cols);
    for (float& value : m.span()) value = rng.normal();
    return m;
  }
  static Matrix run(const PackedSite& site, const Matrix& x, std::size_t linear,
                    std::size_t threads) {
    ThreadPool pool(threads);
    std::vector<std::int32_t> positions(x.rows());
    std::vector<Matrix> y;
    std::vector<SiteOutput> outputs;
    for (std::size_t l = 0; l < site.linears(); ++l) {
      y.emplace_back(x.rows(), site.shape(l).out);
      outputs.push_back({y.back().view(), {}});
    }
    site.matmul({x.view(), positions}, outputs, pool);
    return std::move(y[linear]);
  }
};

TEST_F(FloatSiteTest, AgreesWithFloat64WithinTheSummationBoundAndGivesItsWeightsBack) {
  const Matrix w0 = random(37, 20, 1);
  const Matrix w1 = random(5, 20, 2);
  const Matrix x = random(9, 20, 3);
  const std::array<MatrixView<const float>, 2> weights = {w0.view(), w1.view()};
  const auto site = float_site(weights);
  MatrixOf<double> exact(9, 37);
  const std::vector<std::int32_t> positions(9);
  site->reference({x.view(), positions}, 0, exact.view());
  Matrix back(5, 20);
  site->dequantize(1, back.view());
  EXPECT_TRUE(std::equal(back.span().begin(), back.span().end(), w1.span().begin()));
  site->prepare(host_isa());
  const Matrix y = run(*site, x, 0, 2);
  for (std::size_t m = 0; m < 9; ++m)
    for (std::size_t n = 0; n < 37; ++n) {
      double magnitude = 0;
      for (std::size_t k = 0; k < 20; ++k)
        magnitude += std::abs(static_cast<double>(x(m, k)) * static_cast<double>(w0(n, k)));
      // a chain of 20 fused steps: gamma_20 = 20u / (1 - 20u) (Higham 2002, section 3.1)
      EXPECT_NEAR(static_cast<double>(y(m, n)), exact(m, n),
                  20 * 0x1p-24 / (1 - 20 * 0x1p-24) * magnitude);
    }
}

TEST_F(FloatSiteTest, FilledRowByRowItHoldsTheSameWeights) {
  const Matrix w = random(37, 20, 4);
  const Matrix x = random(3, 20, 5);
  const std::array<MatrixView<const float>, 1> weights = {w.view()};
  const auto whole = float_site(weights);
  SiteShape shape;
  shape.in = 20;
  shape.outs = {37};
  const auto filled =
      float_site(shape, [&](std::size_t, std::size_t first, MatrixView<float> rows) {
        for (std::size_t r = 0; r < rows.rows(); ++r)
          std::copy_n(w.row(first + r).begin(), 20, rows.row(r).begin());
      });
  whole->prepare(host_isa());
  filled->prepare(host_isa());
  const Matrix a = run(*whole, x, 0, 1);
  const Matrix b = run(*filled, x, 0, 1);
  EXPECT_TRUE(std::equal(a.span().begin(), a.span().end(), b.span().begin()));
  EXPECT_EQ(filled->bytes(), 37U * 20 * 4);
}

TEST(RegistryTest, WeightsAndActivationsHaveFourOrEightBits) {
  for (const MethodEntry& entry : all_methods())
    for (const char* name : {"weight_bits", "activation_bits"})
      for (const int bits : {-1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 16}) {
        if (std::ranges::find(entry.options, name, &OptionInfo::name) == entry.options.end())
          continue;
        std::string code;
        try {
          entry.resolve({{name, bits}});
        } catch (const Error& error) {
          code = error.code();
          EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        }
        // For comparisons at equal bits, tender rounds rows to what lies between, too.
        const bool between = entry.name == "tender" && name == std::string("activation_bits");
        const bool taken = bits == 4 || bits == 8 || (between && bits > 4 && bits < 8);
        EXPECT_EQ(code, taken ? "" : "OPTION_VALUE") << entry.name << bits;
      }
}

}  // namespace
}  // namespace tender::quant

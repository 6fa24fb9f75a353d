#include "kernels/float_kernels.h"

#include <gtest/gtest.h>

#include <map>

#include "kernels/gemm_f32/gemm_f32.h"
#include "kernels/rows/rows.h"

namespace tender::kernels {
namespace {

TEST(FloatKernels, AreScalarOnACpuWithNothing) {
  const FloatKernels kernels = best_float_kernels(Isa::scalar);
  EXPECT_EQ(kernels.gemm->name, "scalar");
  EXPECT_EQ(kernels.rows->name, "scalar");
}

TEST(FloatKernels, EachFamilyHasOneChosenKernelAndAReasonForTheOthers) {
  for (const Isa allowed : {Isa::scalar, Isa::avx2, Isa::avx2 | Isa::avx512}) {
    std::map<std::string, int> chosen;
    for (const KernelChoice& choice : kernel_choices(Isa::avx2, allowed)) {
      chosen[choice.family] += choice.chosen ? 1 : 0;
      EXPECT_EQ(choice.chosen, choice.why.empty()) << choice.family << " " << choice.name;
    }
    EXPECT_EQ(chosen,
              (std::map<std::string, int>{
                  {"attention_f32", 1}, {"attention_i8", 1}, {"gemm_f32", 1}, {"rows", 1}}));
  }
}

}  // namespace
}  // namespace tender::kernels

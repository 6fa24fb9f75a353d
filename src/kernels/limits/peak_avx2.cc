#include "kernels/limits/limits.h"

namespace tender::kernels::isa {

// Twelve chains in three temporaries, as a product of bytes without a dot instruction is made.
void peak_avx2(std::size_t turns) {
  __asm__ volatile(
      "1:\n.irp r,0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vpmaddubsw %%ymm15, %%ymm14, %%ymm12\n"
      "vpmaddwd %%ymm15, %%ymm12, %%ymm12\n"
      "vpaddd %%ymm12, %%ymm\\r, %%ymm\\r\n.endr\n"
      "dec %0\njnz 1b\nvzeroupper\n"
      : "+r"(turns)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm12");
}

}  // namespace tender::kernels::isa

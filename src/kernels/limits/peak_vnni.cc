#include "kernels/limits/limits.h"

namespace tender::kernels::isa {

// 24 independent chains are enough for any latency; two rounds per turn.
void peak_vnni(std::size_t turns) {
  __asm__ volatile(
      "1:\n.rept 2\n"
      ".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n"
      "vpdpbusd %%zmm31, %%zmm30, %%zmm\\r\n.endr\n.endr\n"
      "dec %0\njnz 1b\nvzeroupper\n"
      : "+r"(turns)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19",
        "xmm20", "xmm21", "xmm22", "xmm23");
}

}  // namespace tender::kernels::isa

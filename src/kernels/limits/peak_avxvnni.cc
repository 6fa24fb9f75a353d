#include "kernels/limits/limits.h"

namespace tender::kernels::isa {

void peak_avxvnni(std::size_t turns) {
  __asm__ volatile(
      "1:\n.rept 4\n.irp r,0,1,2,3,4,5,6,7,8,9,10,11\n"
      "%{vex%} vpdpbusd %%ymm15, %%ymm14, %%ymm\\r\n.endr\n.endr\n"
      "dec %0\njnz 1b\nvzeroupper\n"
      : "+r"(turns)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11");
}

}  // namespace tender::kernels::isa

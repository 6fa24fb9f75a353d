#include <immintrin.h>

#include "kernels/gemm_i8/amx_configuration.h"
#include "kernels/limits/limits.h"

namespace tender::kernels::isa {

// Six chains; what tiles hold does not matter.
void peak_amx(std::size_t turns) {
  __asm__ volatile("" ::: "memory");
  _tile_loadconfig(&kTileConfiguration);
  for (std::size_t i = 0; i < turns; ++i) {
    _tile_dpbusd(0, 6, 7);
    _tile_dpbusd(1, 6, 7);
    _tile_dpbusd(2, 6, 7);
    _tile_dpbusd(3, 6, 7);
    _tile_dpbusd(4, 6, 7);
    _tile_dpbusd(5, 6, 7);
  }
  _tile_release();
}

}  // namespace tender::kernels::isa

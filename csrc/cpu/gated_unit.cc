#include "ops/gated_unit.h"

#include "cpu/pieces.h"

namespace moe {

void GatedUnit::run_cpu(const CpuContext& cpu) const {
  const int64_t I = out.dim(1);
  const Kernels& kernels = cpu.kernels;
  const Glu form = glu();
  cpu.parallel(x.dim(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float *gate = x.row<float>(t), *up = gate + I;
      for (int64_t i = 0; i < I; i += kPiece) {
        const int64_t n = std::min(kPiece, I - i);
        store_piece(kernels, out, t, i, n, [&](float* to) {
          std::copy_n(gate + i, n, to);
          kernels.glu(to, up + i, n, &form);
        });
      }
    }
  });
}

}  // namespace moe

#include "ops/rms_norm.h"

#include <cmath>

#include "cpu/context.h"

namespace moe {

void RmsNorm::run_cpu(const CpuContext& cpu) const {
  const int64_t T = x.dim(0), H = x.dim(1);
  cpu.parallel(T, 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* row = x.row<float>(t);
      const float mean = cpu.kernels.dot(row, row, H) / static_cast<float>(H);
      const float inverse = 1.f / std::sqrt(mean + eps);
      if (exact) cpu.kernels.scale_by(row, inverse, weight.as<float>(), H, exact.row<float>(t));
      if (out.dtype == DType::f32) {
        cpu.kernels.scale_by(row, inverse, weight.as<float>(), H, out.row<float>(t));
        continue;
      }
      constexpr int64_t kPiece = 256;
      float piece[kPiece];
      for (int64_t h = 0; h < H; h += kPiece) {
        const int64_t n = std::min(kPiece, H - h);
        cpu.kernels.scale_by(row + h, inverse, weight.as<float>() + h, n, piece);
        cpu.kernels.narrow(piece, n, &out.row<bf16>(t)[h].bits);
      }
    }
  });
}

}  // namespace moe

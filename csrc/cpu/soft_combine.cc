#include "ops/soft_combine.h"

#include "cpu/pieces.h"

namespace moe {

void SoftCombine::run_cpu(const CpuContext& cpu) const {
  const int64_t H = residual.dim(1), S = weights.dim(1), B = segment_count(segments);
  const int64_t P = S / experts, pieces = (H + kPiece - 1) / kPiece;
  const auto* segment = segments.as<int32_t>();
  // A slot's values are widened once for all tokens.
  cpu.parallel(B * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / pieces, first = i % pieces * kPiece, n = std::min(kPiece, H - first);
      for (int64_t t = segment[b]; t < segment[b + 1]; ++t)
        if (out.row<float>(t) != residual.row<float>(t))
          std::copy_n(residual.row<float>(t) + first, n, out.row<float>(t) + first);
      for (int64_t s = 0; s < S; ++s) {
        const int64_t row = (s / P * B + b) * P + s % P;
        for_pieces(cpu.kernels, expert_out, row, first, n,
                   [&](int64_t, const float* values, int64_t) {
                     for (int64_t t = segment[b]; t < segment[b + 1]; ++t)
                       cpu.kernels.add_scaled(values, weights.row<float>(t)[s], n,
                                              out.row<float>(t) + first);
                   });
      }
    }
  });
}

}  // namespace moe

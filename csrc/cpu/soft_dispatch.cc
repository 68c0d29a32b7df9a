#include "ops/soft_dispatch.h"

#include "cpu/pieces.h"

namespace moe {

void SoftDispatch::run_cpu(const CpuContext& cpu) const {
  const int64_t H = x.dim(1), S = weights.dim(1), B = segment_count(segments), P = S / experts;
  const int64_t pieces = (H + kPiece - 1) / kPiece;
  const auto* segment = segments.as<int32_t>();
  for (int64_t e = 0; e <= experts; ++e) offsets.as<int32_t>()[e] = static_cast<int32_t>(e * B * P);
  // A token's values are widened once for all slots.
  cpu.parallel(B * pieces, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(static_cast<size_t>(S * kPiece));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / pieces, first = i % pieces * kPiece, n = std::min(kPiece, H - first);
      std::fill(sums.begin(), sums.end(), 0.f);
      for (int64_t t = segment[b]; t < segment[b + 1]; ++t)
        for_pieces(cpu.kernels, x, t, first, n, [&](int64_t, const float* values, int64_t) {
          for (int64_t s = 0; s < S; ++s)
            cpu.kernels.add_scaled(values, weights.row<float>(t)[s], n, &sums[s * kPiece]);
        });
      for (int64_t s = 0; s < S; ++s)
        store_piece(cpu.kernels, out, (s / P * B + b) * P + s % P, first, n,
                    [&](float* to) { std::copy_n(&sums[s * kPiece], n, to); });
    }
  });
}

}  // namespace moe

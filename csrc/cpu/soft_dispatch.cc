#include "ops/soft_dispatch.h"

#include "cpu/mix_rows.h"

namespace moe {

void SoftDispatch::run_cpu(const CpuContext& cpu) const {
  const int64_t H = x.dim(1), S = weights.dim(1), B = segment_count(segments), P = S / experts;
  const int64_t pieces = (H + kPiece - 1) / kPiece, parts = (S + kMixedSums - 1) / kMixedSums;
  const auto* segment = segments.as<int32_t>();
  for (int64_t e = 0; e <= experts; ++e) offsets.as<int32_t>()[e] = static_cast<int32_t>(e * B * P);
  cpu.parallel(B * parts * pieces, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(static_cast<size_t>(kMixedSums * kPiece));
    MixedRows rows;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / pieces / parts, from = i / pieces % parts * kMixedSums;
      const int64_t m = std::min(kMixedSums, S - from);
      const int64_t first = i % pieces * kPiece, n = std::min(kPiece, H - first);
      std::fill(sums.begin(), sums.end(), 0.f);
      for (int64_t t = segment[b]; t < segment[b + 1]; t += kMixed) {
        rows.read(cpu.kernels, x, first, n, std::min<int64_t>(kMixed, segment[b + 1] - t),
                  [&](int64_t j) { return t + j; });
        rows.add(
            cpu.kernels, m, [&](int64_t s) { return &sums[s * kPiece]; },
            [&](int64_t s, int64_t j) { return weights.row<float>(t + j)[from + s]; });
      }
      for (int64_t s = from; s < from + m; ++s)
        store_piece(cpu.kernels, out, (s / P * B + b) * P + s % P, first, n,
                    [&](float* to) { std::copy_n(&sums[(s - from) * kPiece], n, to); });
    }
  });
}

}  // namespace moe

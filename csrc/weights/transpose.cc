#include "weights/transpose.h"

#include <cstring>

#include "core/check.h"

namespace moe {
namespace {

/// Square of values whose lines of both matrices stay in the first-level cache.
constexpr int64_t kTile = 32;

template <class Bits>
void transpose_rows(const std::byte* source, Bits* out, int64_t K, int64_t N, int64_t begin,
                    int64_t end) {
  for (int64_t k0 = 0; k0 < K; k0 += kTile)
    for (int64_t n = begin; n < end; ++n) {
      const std::byte* from = source + static_cast<size_t>(k0 * N + n) * sizeof(Bits);
      const int64_t last = std::min(K, k0 + kTile);
      for (int64_t k = k0; k < last; ++k, from += static_cast<size_t>(N) * sizeof(Bits))
        std::memcpy(&out[n * K + k], from, sizeof(Bits));
    }
}

}  // namespace

void transpose(const CpuContext& cpu, const Tensor& source, Tensor& out) {
  const Check check("transpose");
  check.rank("source", source, 2);
  check.dtype("source", source, {DType::f32, DType::bf16, DType::f16});
  const int64_t K = source.dim(0), N = source.dim(1);
  check.shape("out", out, {N, K});
  check.dtype("out", out, {source.dtype});
  check.contiguous("source", source);
  check.contiguous("out", out);
  out.slot->take_memory();
  const std::byte* from = source.as<std::byte>();
  cpu.parallel(N, kTile, [&](int64_t begin, int64_t end) {
    if (dtype_bytes(source.dtype) == 4)
      transpose_rows(from, out.as<uint32_t>(), K, N, begin, end);
    else
      transpose_rows(from, out.as<uint16_t>(), K, N, begin, end);
  });
}

}  // namespace moe

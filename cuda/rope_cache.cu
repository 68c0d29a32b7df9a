#include "ops/rope_cache.h"
#include "rows.cuh"

namespace moe {
namespace {

/// Rotated value j of a head: half-split pairs over the first `rotary` values.
template <class T>
__device__ float rotated(const T* head, const float* cos_sin, int rotary, int j) {
  const int half = rotary / 2;
  if (j >= rotary) return to_float(head[j]);
  if (j < half)
    return to_float(head[j]) * cos_sin[j] - to_float(head[j + half]) * cos_sin[half + j];
  return to_float(head[j]) * cos_sin[j - half] + to_float(head[j - half]) * cos_sin[j];
}

/// One block for a head of a token: N query heads, then G key heads with their values.
template <class T>
__global__ void rope_cache(Rows<T> q, Rows<const T> k, Rows<const T> v, const int32_t* positions,
                           const int32_t* slots, Rows<const float> table, int rotary, int N, int G,
                           int D, T* keys, T* values) {
  wait_for_grid();
  release_grid();
  const int t = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const float* cos_sin = table[positions[t]];
  if (head < N) {
    T* at = q[t] + head * D;
    const int half = rotary / 2;
    // In place: one thread has both values of a pair.
    for (int j = threadIdx.x; j < half; j += blockDim.x) {
      const float a = rotated(at, cos_sin, rotary, j), b = rotated(at, cos_sin, rotary, j + half);
      at[j] = from_f32<T>(a);
      at[j + half] = from_f32<T>(b);
    }
    return;
  }
  const int g = head - N, slot = slots[t];
  const int block = slot / static_cast<int>(kBlockTokens);
  const int column = slot % static_cast<int>(kBlockTokens);
  const int64_t base = (int64_t{block} * G + g) * D * kBlockTokens;
  for (int j = threadIdx.x; j < D; j += blockDim.x) {
    keys[base + j * kBlockTokens + column] = from_f32<T>(rotated(k[t] + g * D, cos_sin, rotary, j));
    values[base + column * D + j] = v[t][g * D + j];
  }
}

}  // namespace

void RopeCache::run_cuda(const CudaContext& cuda) const {
  const int64_t G = keys.dim(1), D = keys.dim(2), N = q.dim(1) / D;
  dispatch_activation(keys.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    cuda.launch(rope_cache<Value>, {blocks_for(q.dim(0), 1), static_cast<unsigned>(N + G)}, 64, 0,
                rows_of<Value>(q), rows_of<const Value>(k), rows_of<const Value>(v),
                positions.as<const int32_t>(), slots.as<const int32_t>(),
                rows_of<const float>(table), static_cast<int>(table.dim(1)), static_cast<int>(N),
                static_cast<int>(G), static_cast<int>(D), keys.as<Value>(), values.as<Value>());
  });
}

}  // namespace moe

#pragma once
// What the row-wise kernels share: conversions and reductions in a fixed order.

#include <ptx.cuh>

#include "context.h"
#include "core/tensor.h"

namespace moe {

template <class T>
__device__ __forceinline__ T from_f32(float value) {
  if constexpr (sizeof(T) == sizeof(float))
    return value;
  else
    return narrow(value);
}

/// A tensor's rows as kernels take them.
template <class T>
struct Rows {
  T* data;
  int64_t stride;

  __device__ __forceinline__ T* operator[](int64_t i) const { return data + i * stride; }
};

template <class T>
Rows<T> rows_of(const Tensor& tensor) {
  return {tensor ? tensor.as<T>() : nullptr, tensor.row_stride};
}

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int bits = 16; bits; bits >>= 1) value += __shfl_xor_sync(~0u, value, bits);
  return value;
}

__device__ __forceinline__ float warp_max(float value) {
  for (int bits = 16; bits; bits >>= 1) value = fmaxf(value, __shfl_xor_sync(~0u, value, bits));
  return value;
}

/// The sum over a block of whole warps, in every thread. `scratch` holds 32 values.
template <class T>
__device__ T block_sum(T value, T* scratch) {
  const unsigned warp = threadIdx.x / 32, warps = blockDim.x / 32;
  value = warp_sum(value);
  __syncthreads();  // whoever still reads the scratch of the sum before
  if (threadIdx.x % 32 == 0) scratch[warp] = value;
  __syncthreads();
  T total = T(0);
  for (unsigned w = 0; w < warps; ++w) total += scratch[w];
  return total;
}

__device__ inline float block_max(float value, float* scratch) {
  const unsigned warp = threadIdx.x / 32, warps = blockDim.x / 32;
  value = warp_max(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[warp] = value;
  __syncthreads();
  float best = scratch[0];
  for (unsigned w = 1; w < warps; ++w) best = fmaxf(best, scratch[w]);
  return best;
}

}  // namespace moe

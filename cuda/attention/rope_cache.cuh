#pragma once
// Rotation and the cache's layout, for the kernel of their own and for decode attention.

#include "device/rows.cuh"
#include "ops/rope_cache.h"

namespace moe {

template <class T>
struct RopeArgs {
  Rows<T> q;
  Rows<const T> k, v;
  const int32_t *positions, *slots;
  Rows<const float> table;
  int rotary, N, G, D, V;
  T *keys, *values;

  /// Value j < rotary of a head of token t as it is rotated: half-split pairs.
  template <class X>
  __device__ float turned(const X* head, int t, int j) const {
    const float* cos_sin = table[positions[t]];
    const int half = rotary / 2;
    // Without a choice of how products are contracted: two kernels give these bits.
    return j < half
               ? fmaf(-to_float(head[j + half]), cos_sin[half + j], to_float(head[j]) * cos_sin[j])
               : fmaf(to_float(head[j - half]), cos_sin[j], to_float(head[j]) * cos_sin[j - half]);
  }
  __device__ T rotated(const T* head, int t, int j) const {
    return j < rotary ? from_f32<T>(turned(head, t, j)) : head[j];
  }

  /// Pair j of a query head in place: one thread has both values.
  __device__ void rotate_query(int t, int n, int j) const {
    T* at = q[t] + n * D;
    const T first = rotated(at, t, j), second = rotated(at, t, j + rotary / 2);
    at[j] = first;
    at[j + rotary / 2] = second;
  }

  /// Head g's first row in token t's cache block, of 32, and the token's column there.
  __device__ int64_t row_of(int t, int g) const {
    return (int64_t{slots[t] / static_cast<int>(kBlockTokens)} * G + g) * kBlockTokens;
  }
  __device__ int column_of(int t) const { return slots[t] % static_cast<int>(kBlockTokens); }

  /// Writes value j of token t's key or value head g to the cache; `head` is the key before its
  /// rotation.
  __device__ void store_key(const T* head, int t, int g, int j) const {
    put_key(rotated(head, t, j), t, g, j);
  }
  __device__ void put_key(T value, int t, int g, int j) const {
    keys[row_of(t, g) * D + j * kBlockTokens + column_of(t)] = value;
  }
  __device__ void store_value(int t, int g, int j) const {
    values[(row_of(t, g) + column_of(t)) * V + j] = v[t][g * V + j];
  }
};

template <class T>
RopeArgs<T> rope_args(const RopeCache& op) {
  const int64_t G = op.keys.dim(1), D = op.keys.dim(2), V = op.values.dim(3);
  return {rows_of<T>(op.q),
          rows_of<const T>(op.k),
          rows_of<const T>(op.v),
          op.positions ? op.positions.as<const int32_t>() : nullptr,
          op.slots.as<const int32_t>(),
          rows_of<const float>(op.table),
          op.table ? static_cast<int>(op.table.dim(1)) : 0,
          op.q ? static_cast<int>(op.q.dim(1) / D) : 0,
          static_cast<int>(G),
          static_cast<int>(D),
          static_cast<int>(V),
          op.keys.as<T>(),
          op.values.as<T>()};
}

}  // namespace moe

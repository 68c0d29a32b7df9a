#pragma once
// What the two kernels for long runs share.

#include "attention.cuh"

namespace moe {

/// The tile's rows of one run and what they see.
struct Run {
  int begin, end;           // tokens
  int first_key, last_key;  // over all of them
};

/// The next long run in [t, end); begin == end: none is left.
__device__ __forceinline__ Run next_run(const AttentionArgs& args, int t, int end) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  while (t < end) {
    int stop = t + 1;
    while (stop < end && args.sequences[stop] == args.sequences[t]) ++stop;
    if (in_long_run(args, t)) {
      int first = args.starts[t], last = args.ends[t];
      for (int i = t + lane; i < stop; i += 32) {
        first = min(first, args.starts[i]);
        last = max(last, args.ends[i]);
      }
      for (int bits = 16; bits; bits >>= 1) {
        first = min(first, __shfl_xor_sync(~0u, first, bits));
        last = max(last, __shfl_xor_sync(~0u, last, bits));
      }
      return {t, stop, first, last};
    }
    t = stop;
  }
  return {end, end, 0, 0};
}

template <class T>
bool aligned(const Rows<T>& rows) {
  return reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.stride % 8 == 0;
}

/// The same on wgmma, for what attention_prefill() takes and no biases.
void attention_warpgroup(const CudaContext& cuda, const Attention& op, const AttentionArgs& args);

}  // namespace moe

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

/// A run of that token alone.
__device__ __forceinline__ Run alone(const AttentionArgs& args, int token) {
  return {token, token + 1, args.starts[token], args.ends[token]};
}

/// Bytes of a row of 16 DT values in shared memory: 16 more than they need, so that eight rows meet
/// in no bank.
constexpr int row_bytes(int DT) { return 32 * DT + 16; }

/// Starts to copy head n's queries of tokens `first` to `end` to rows in shared memory, by a block
/// that has a warp for 16 of them; zeros beyond `end` and the head's width.
template <int DT, int kQueries>
__device__ __forceinline__ void load_queries(const AttentionArgs& args, Rows<const bf16> q, int n,
                                             int first, int end, unsigned char* queries) {
  for (int i = static_cast<int>(threadIdx.x); i < kQueries * 2 * DT; i += 2 * kQueries) {
    const int row = i / (2 * DT), c = i % (2 * DT);
    const bool there = first + row < end && 8 * c < args.D;
    cp_async16(queries + row * row_bytes(DT) + c * 16,
               q[there ? first + row : 0] + (there ? n * args.D + 8 * c : 0), there ? 16 : 0);
  }
}

template <class T>
bool aligned(const Rows<T>& rows) {
  return reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.stride % 8 == 0;
}

/// The same on wgmma, for what attention_prefill() takes and no biases.
void attention_warpgroup(const CudaContext& cuda, const Attention& op, const AttentionArgs& args);

}  // namespace moe

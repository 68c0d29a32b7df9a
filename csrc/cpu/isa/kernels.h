#pragma once
// The kernels that are compiled once per instruction set. Plain C types only and no inline
// functions: a template that two of those units share would be one weak symbol, and the linker
// could give the AVX-512 copy to the portable table.

#include <stddef.h>
#include <stdint.h>

namespace moe {

struct Kernels {
  const char* name;

  /// out[m, 64] = x[m] (f32, k values; an even number for bf16) times one packed panel of `lines`
  /// lines. m is 1..max_rows. Each output is one chain of f32 multiply-adds with k ascending, so
  /// its bits do not depend on m.
  void (*gemm_f32)(const float* const* x, int m, const void* panel, int64_t lines, float* out);
  void (*gemm_bf16)(const float* const* x, int m, const void* panel, int64_t lines, float* out);
  /// The same with bf16 rows and the dot-product instructions; null where there are none.
  void (*gemm_bf16_dot)(const uint16_t* const* x, int m, const void* panel, int64_t lines,
                        float* out);
  int max_rows;

  /// out[j] = q . keys[:, j] for the 32 keys of a block, keys [d, 32] (f32, or bf16 if `half`).
  void (*key_scores)(const float* q, const void* keys, int half, int64_t d, float* out);
  /// acc[:] = acc[:] * scale + sum over n of p[n] * values[n, :], values [n, d].
  void (*add_values)(const float* p, int64_t n, const void* values, int half, int64_t d,
                     float scale, float* acc);

  /// x[i] = exp(x[i] - shift); returns their sum.
  float (*exp_sum)(float* x, int64_t n, float shift);
  float (*sum_squares)(const float* x, int64_t n);
  float (*max_value)(const float* x, int64_t n);
  /// out[i] = a * x[i] * w[i]
  void (*scale_by)(const float* x, float a, const float* w, int64_t n, float* out);
  /// out[i] += a * x[i]
  void (*add_scaled)(const float* x, float a, int64_t n, float* out);
  /// out[i] = silu(gate[i]) * up[i]; up null: silu(gate[i])
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  void (*widen)(const uint16_t* x, int64_t n, float* out);   // bf16 to f32
  void (*narrow)(const float* x, int64_t n, uint16_t* out);  // f32 to bf16, to nearest even
};

}  // namespace moe

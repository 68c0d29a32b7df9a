#pragma once
// The kernels that are compiled once per instruction set. Plain C types only and no inline
// functions: a template that two of those units share would be one weak symbol, and the linker
// could give the AVX-512 copy to the portable table.

#include <stddef.h>
#include <stdint.h>

#include "ops/glu.h"

namespace moe {

struct Kernels {
  const char* name;

  /// out[m, 64] = m <= 4 rows times one packed panel of `lines` lines. `bf16`: bf16 weights, and a
  /// row holds 2 * lines values; else f32 and as many values as lines. Each output is one chain of
  /// f32 multiply-adds with k ascending, here and in gemm_tiles, so its bits do not depend on m.
  void (*gemm_few)(const float* const* x, int m, const void* panel, int64_t lines, bool bf16,
                   float* out);
  /// The same for many rows: out[rows, 64]; a holds them in tiles of `height` <= 6,
  /// [tile][k][height].
  void (*gemm_tiles)(const float* a, int64_t rows, int64_t height, const void* panel, int64_t lines,
                     bool bf16, float* out);
  /// bf16 rows, m <= 6 of them, with the dot-product instructions; null where there are none.
  void (*gemm_dot)(const uint16_t* const* x, int m, const void* panel, int64_t lines, float* out);

  /// Attention of m queries to the 32 keys of a block, in three steps. keys [d, 32], values [32,
  /// d]: f32, or bf16 if `bf16`. Each result is one chain of multiply-adds, whatever m is. out[m,
  /// 32]: out[i, j] = q[i] . keys[:, j].
  void (*key_scores)(const float* const* q, int m, const void* keys, bool bf16, int64_t d,
                     float* out);
  /// Running softmax of m <= 16 rows of scores p [m, 32], of which row i sees [begin[i], end[i]):
  /// p = exp(scale p - best), best and total moved on, and keep what the sums so far are to be
  /// multiplied by. best starts at minus infinity, total at 0.
  void (*softmax_block)(float* p, int m, const int32_t* begin, const int32_t* end, float scale,
                        float* best, float* total, float* keep);
  /// acc[i] = acc[i] * scale[i] + sum over the first n keys of p[i, :] * values, p [m, 32]
  void (*add_values)(const float* p, int m, int64_t n, const void* values, bool bf16, int64_t d,
                     const float* scale, float* const* acc);

  /// x[i] = exp(x[i] - shift); returns their sum.
  float (*exp_sum)(float* x, int64_t n, float shift);
  float (*dot)(const float* x, const float* y, int64_t n);
  float (*max_value)(const float* x, int64_t n);
  /// out[i] = x[i], NaN as minus infinity
  void (*nan_to_minus_inf)(const float* x, int64_t n, float* out);
  /// out[i] = a * x[i] * w[i]
  void (*scale_by)(const float* x, float a, const float* w, int64_t n, float* out);
  /// out[i] += a * x[i]
  void (*add_scaled)(const float* x, float a, int64_t n, float* out);
  /// x[i] = glu(x[i], up[i]); up may be null
  void (*glu)(float* x, const float* up, int64_t n, const Glu* form);
  void (*sigmoid)(float* x, int64_t n);
  void (*tanh)(float* x, int64_t n);
  /// Rotates the half-split pairs of x [2 half] by cos_sin: half cosines, then half sines.
  void (*rotate)(float* x, const float* cos_sin, int64_t half);
  /// What the machine can do: sums n floats; does n rounds of independent multiply-adds and returns
  /// the operations done; the same with bf16 dot products, null where there are none.
  float (*read_all)(const float* x, int64_t n);
  double (*spin_f32)(int64_t n);
  double (*spin_dot)(int64_t n);

  void (*widen)(const uint16_t* x, int64_t n, float* out);   // bf16 to f32
  void (*narrow)(const float* x, int64_t n, uint16_t* out);  // f32 to bf16, to nearest even
};

}  // namespace moe

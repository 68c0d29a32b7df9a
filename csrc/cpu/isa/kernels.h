#pragma once
// The kernels that are compiled once per instruction set. Plain C types only and no inline
// functions: a template that two of those units share would be one weak symbol, and the linker
// could give the AVX-512 copy to the portable table.

#include <stddef.h>
#include <stdint.h>

#include "ops/glu.h"

namespace moe {

/// What the lines of a panel hold, and how many k a line has: weights/formats/dense.h, fp8.h and
/// mxfp4.h.
enum class Stored : uint8_t {
  f32,       // 1
  bf16,      // 2
  fp8,       // 4; a scale for each output behind the last line
  fp8_g128,  // 4; scales behind each 32 lines
  mxfp4,     // 8; scales behind each 4 lines
};

/// One row of activations for integer weights.
struct IntegerRow {
  const void* q;       // integers, in the form that wide_rows8 and wide_rows4 name
  const float* scale;  // of each group
  const int32_t* sum;  // of each group's integers
};

struct Kernels {
  const char* name;

  /// out[m, 64] = m <= 4 rows times one packed panel of `lines` lines; a row holds as many values
  /// as they. Weights of FP8 are code * scale, rounded to f32. Each output is one chain of f32
  /// multiply-adds with k ascending, here and in gemm_tiles, so its bits do not depend on m.
  void (*gemm_few)(const float* const* x, int m, const void* panel, int64_t lines, Stored stored,
                   float* out);
  /// The same for many rows: out[rows, 64]; a holds them in tiles of `height` <= 6,
  /// [tile][k][height].
  /// Filling the tiles and widening the panel pay from `tiled_rows` rows of a group on.
  int64_t tiled_rows, tiled_rows_fp8;
  void (*gemm_tiles)(const float* a, int64_t rows, int64_t height, const void* panel, int64_t lines,
                     Stored stored, float* out);
  /// bf16 rows, m <= 6 of them, with the dot-product instructions; null where there are none.
  void (*gemm_dot)(const uint16_t* const* x, int m, const void* panel, int64_t lines, float* out);

  /// out[rows, 64] = rows <= 96 times one packed panel of int8 or int4 weights: the sum over
  /// groups, ascending, of (exact integer sum) * (scale of the row's group * scale of the weights'
  /// group), product and sum rounded separately; equal bits on every instruction set. `by_group`:
  /// else int8 weights have one scale an output, multiplied last. `group`: 32 or 128. `zeros`: a
  /// zero point for each group and output, else 8. wide_rows: the form of rows, see quantize_row.
  bool wide_rows8, wide_rows4;
  void (*gemm_int8)(const IntegerRow* x, int rows, const void* panel, int64_t groups, bool by_group,
                    float* out);
  void (*gemm_int4)(const IntegerRow* x, int rows, const void* panel, int64_t groups, int group,
                    bool zeros, float* out);
  /// The same of weights/formats/mxfp4.h, in groups of 32; rows are those of int4. For bf16 rows.
  void (*gemm_mxfp4)(const IntegerRow* x, int rows, const void* panel, int64_t groups, float* out);
  /// n values, whole groups of 32 or 128: scale = max |x| / 127 of the group, q = x / scale to
  /// nearest even, sum = sum of q. A group of zeros, or of less than 2^-100, is 0; one with a value
  /// that is not finite has scale NaN. q is int8 in order; `wide`: int16, each four as 0 2 1 3.
  void (*quantize_row)(const float* x, int64_t n, int64_t group, bool wide, void* q, float* scale,
                       int32_t* sum);

  /// Attention of m queries to the 32 keys of a block, in three steps. keys [d, 32], values [32,
  /// d]: f32, or bf16 if `bf16`. Each result is one chain of multiply-adds, whatever m is. out[m,
  /// 32]: out[i, j] = q[i] . keys[:, j].
  void (*key_scores)(const float* const* q, int m, const void* keys, bool bf16, int64_t d,
                     float* out);
  /// The same of bf16 queries and keys with the dot-product instructions, a query's values of odd d
  /// followed by a zero; null where there are none.
  void (*key_scores_dot)(const uint16_t* const* q, int m, const uint16_t* keys, int64_t d,
                         float* out);
  /// Running softmax of m <= 16 rows of scores p [m, 32], of which row i sees [begin[i], end[i]):
  /// p = exp(scale p + bias - best), best and total moved on, and keep what the sums so far are to
  /// be multiplied by. best starts at minus infinity, total at 0. `bias` [m] of [32], or null.
  void (*softmax_block)(float* p, int m, const int32_t* begin, const int32_t* end, float scale,
                        const float* const* bias, float* best, float* total, float* keep);
  /// acc[i] = acc[i] * scale[i] + sum over the first n keys of p[i, :] * values, p [m, 32]; rows of
  /// values are `stride` apart.
  void (*add_values)(const float* p, int m, int64_t n, const void* values, bool bf16, int64_t d,
                     int64_t stride, const float* scale, float* const* acc);
  /// key_scores of keys [32, d] that lie in rows. Each result is the sum of one chain a lane.
  void (*row_scores)(const float* const* q, int m, const void* keys, bool bf16, int64_t d,
                     float* out);
  /// The same of bf16 queries and keys with the dot-product instructions; null where there are
  /// none.
  void (*row_scores_dot)(const uint16_t* const* q, int m, const uint16_t* keys, int64_t d,
                         float* out);

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
  void (*relu)(float* x, int64_t n);
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

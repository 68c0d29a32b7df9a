// Products with integer weights. A row's integers and scales come from its own values only, and
// sums of integers are exact: results do not depend on which rows are beside it, on tiles or on the
// instruction set.

#include "cpu/gemm_integer.h"

#include <algorithm>
#include <cstring>

#include "weights/formats/integer.h"
#include "weights/formats/mxfp4.h"

namespace moe {
namespace {

/// What the kernels of a format need to know.
struct Codes {
  WeightFormat id;
  int bits;
  int64_t group;
  bool by_group, zeros;  // of integers
};

constexpr Codes codes(const IntegerLayout& layout) {
  return {layout.id, layout.bits, layout.group, layout.by_group, layout.zeros};
}

template <Codes L>
class IntegerRows final : public GemmRows {
 public:
  IntegerRows(const Kernels& kernels, const GemmCall& call)
      : GemmRows(call, 1),
        kernels_(kernels),
        wide_(L.bits == 8 ? kernels.wide_rows8 : kernels.wide_rows4),
        groups_(groups(call.x.last())),
        row_bytes_(bytes_of_row(call.x.last())),
        rows_(call.scratch.as<std::byte>()) {}

  void prepare(int64_t begin, int64_t end) const override {
    const Tensor& x = call_.x;
    const int64_t k = x.last(), padded = groups_ * L.group;
    const bool as_is = x.dtype == DType::f32 && padded == k;
    for (int64_t r = begin; r < end; ++r) {
      const Row row = row_at(r);
      if (as_is) {
        quantize(x.row<float>(r), 0, k, row);
        continue;
      }
      for (int64_t at = 0; at < padded; at += kPiece) {
        const int64_t n = std::min(kPiece, padded - at), real = std::min(n, k - at);
        float piece[kPiece];
        if (x.dtype == DType::bf16)
          kernels_.widen(&x.row<bf16>(r)->bits + at, real, piece);
        else
          std::memcpy(piece, x.row<float>(r) + at, static_cast<size_t>(real) * sizeof(float));
        std::fill(piece + real, piece + n, 0.f);
        quantize(piece, at, n, row);
      }
    }
  }

  void multiply(int64_t g, int64_t first, int64_t count, const std::byte* panel,
                float* out) const override {
    IntegerRow rows[kMostRows];
    for (int64_t i = 0; i < count; ++i) {
      const Row row = row_at(call_.offsets[g] + first + i);
      rows[i] = {row.q, row.scale, row.sum};
    }
    const int n = static_cast<int>(count);
    if (L.id == WeightFormat::mxfp4)
      kernels_.gemm_mxfp4(rows, n, panel, groups_, out);
    else if (L.bits == 8)
      kernels_.gemm_int8(rows, n, panel, groups_, L.by_group, out);
    else
      kernels_.gemm_int4(rows, n, panel, groups_, L.group, L.zeros, out);
  }

  static size_t scratch_bytes(const Tensor& x, int64_t) {
    return static_cast<size_t>(x.rows()) * bytes_of_row(x.last());
  }

 private:
  static constexpr int64_t kPiece = 512;  // whole groups

  /// Of scratch: scales and sums, then integers of up to two bytes.
  struct Row {
    float* scale;
    int32_t* sum;
    std::byte* q;
  };

  static int64_t groups(int64_t k) { return (k + L.group - 1) / L.group; }
  static size_t bytes_of_row(int64_t k) {
    return static_cast<size_t>(groups(k)) * (sizeof(float) + sizeof(int32_t) + 2 * L.group);
  }

  Row row_at(int64_t r) const {
    std::byte* at = rows_ + static_cast<size_t>(r) * row_bytes_;
    auto* scale = reinterpret_cast<float*>(at);
    auto* sum = reinterpret_cast<int32_t*>(scale + groups_);
    return {scale, sum, reinterpret_cast<std::byte*>(sum + groups_)};
  }

  void quantize(const float* x, int64_t at, int64_t n, const Row& row) const {
    kernels_.quantize_row(x, n, L.group, wide_, row.q + at * (wide_ ? 2 : 1),
                          row.scale + at / L.group, row.sum + at / L.group);
  }

  const Kernels& kernels_;
  bool wide_;
  int64_t groups_;
  size_t row_bytes_;
  std::byte* rows_;
};

template <Codes L>
constexpr GemmFormat integer() {
  return {L.id, IntegerRows<L>::scratch_bytes,
          [](const Kernels& kernels, const GemmCall& call) -> std::unique_ptr<GemmRows> {
            return std::make_unique<IntegerRows<L>>(kernels, call);
          }};
}

}  // namespace

constexpr GemmFormat kGemmInt8 = integer<codes(kInt8)>(),
                     kGemmInt8G128 = integer<codes(kInt8G128)>(),
                     kGemmInt4G32 = integer<codes(kInt4G32)>(),
                     kGemmInt4G128 = integer<codes(kInt4G128)>(),
                     kGemmInt4G32Z = integer<codes(kInt4G32Z)>(),
                     kGemmInt4G128Z = integer<codes(kInt4G128Z)>();
constexpr GemmFormat kGemmMxfp4Integers =
    integer<Codes{WeightFormat::mxfp4, 4, Mxfp4Layout::kGroup, true, false}>();

}  // namespace moe

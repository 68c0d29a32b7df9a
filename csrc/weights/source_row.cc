#include "weights/source_row.h"

#include "weights/encoded_matrix.h"

namespace moe {

void SourceRow::read(int64_t begin, int64_t count, float* to) const {
  if (encoded) return encoded->read(row, begin, count, to);
  const std::byte* from = data + static_cast<size_t>(begin) * dtype_bytes(dtype);
  if (dtype == DType::f32) return void(std::memcpy(to, from, sizeof(float) * count));
  if (dtype == DType::bf16)
    for (int64_t i = 0; i < count; ++i) {
      uint16_t bits;
      std::memcpy(&bits, from + 2 * i, sizeof bits);
      to[i] = to_float(bf16{bits});
    }
  else
    for (int64_t i = 0; i < count; ++i) to[i] = load_float(from + 2 * i, dtype);
}

}  // namespace moe

#include "ops/gather_rows.h"

#include <cstring>

#include "cpu/context.h"

namespace moe {

void GatherRows::run_cpu(const CpuContext&) const {
  const size_t element = dtype_bytes(x.dtype);
  const size_t bytes = static_cast<size_t>(x.dim(1)) * element;
  for (int64_t r = 0; r < rows.dim(0); ++r)
    std::memcpy(
        out.as<std::byte>() + static_cast<size_t>(r) * bytes,
        x.as<std::byte>() + static_cast<size_t>(rows.as<int32_t>()[r] * x.row_stride) * element,
        bytes);
}

}  // namespace moe

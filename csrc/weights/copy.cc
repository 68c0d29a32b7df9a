#include "weights/copy.h"

#include <cstring>
#include <vector>

#include "core/check.h"
#include "core/device.h"
#include "core/os.h"
#include "weights/source_row.h"

namespace moe {

void copy_rows(const Tensor& source, Tensor& out) {
  const Check check("copy");
  check.shape("out", out, source.shape);
  check.dtype("out", out, {source.dtype});
  const size_t bytes = out.slot->bytes;
  out.slot->take_memory();
  Device* device = out.slot->device();
  if (!device) return void(std::memcpy(out.as<std::byte>(), source.as<std::byte>(), bytes));
  device->stream(out.as<std::byte>(), bytes, 1, [&](std::byte* to, size_t begin, size_t end) {
    std::memcpy(to, source.as<std::byte>() + begin, end - begin);
  });
}

void copy_to_f32(const std::vector<RowRun>& runs, Tensor& out, float scale) {
  const Check check("copy");
  check.dtype("out", out, {DType::f32});
  check.contiguous("out", out);
  int64_t n = 0;
  for (const RowRun& run : runs) {
    run.check(check);
    n += run.count * run.source.last();
  }
  check.that(n == out.shape.count(), "rows", "as many values as the output has", n);
  out.slot->take_memory();
  const auto widen = [&](float* to) {
    for (const RowRun& run : runs) {
      const DType dtype = run.source.dtype;
      for (int64_t i = 0; i < run.count; ++i) {
        const std::byte* row = run.row(i);
        for (int64_t k = 0; k < run.source.last(); ++k, row += dtype_bytes(dtype))
          *to++ = scale * load_float(row, dtype);
      }
    }
  };
  Device* device = out.slot->device();
  if (!device) return widen(out.as<float>());
  std::vector<float> values(static_cast<size_t>(n));
  widen(values.data());
  device->upload(out.as<float>(), values.data(), values.size() * sizeof(float));
}

void release_pages(const Tensor& source) {
  source.slot->verify();
  if (!source.slot->in_file) return;
  os::release_mapped(source.as<std::byte>(), source.bytes());
}

}  // namespace moe

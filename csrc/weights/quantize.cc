#include "weights/quantize.h"

#include <cmath>
#include <cstring>

#include "weights/format.h"
#include "weights/formats/integer.h"

namespace moe {
namespace {

const IntegerLayout& layout_of(WeightFormat format) {
  for (const IntegerLayout* layout : {&kInt8, &kInt4G32, &kInt4G128})
    if (layout->id == format) return *layout;
  fail(Code::dtype, "quantize: format must be int8, int4g32 or int4g128, got ",
       format_of(format).name);
}

std::shared_ptr<Buffer> memory(size_t bytes) {
  auto buffer = std::make_shared<Buffer>(0);
  buffer->reserve(std::max<size_t>(bytes, 1));
  return buffer;
}

void check_scales(const Quantized& rows, bool half, const std::string& name) {
  const std::byte* at = rows.scales->data();
  const std::byte* end = at + rows.scale_bytes;
  const DType dtype = half ? DType::f16 : DType::f32;
  for (; at < end; at += dtype_bytes(dtype))
    if (!std::isfinite(load_float(at, dtype)))
      fail(Code::checkpoint, name, ": weights must be finite and small enough for a scale, got ",
           load_float(at, dtype), " as a scale");
}

}  // namespace

Quantized quantize(const CpuContext& cpu, const RowRun& run, WeightFormat format,
                   const std::string& name) {
  const IntegerLayout& layout = layout_of(format);
  const Check check("quantize");
  check.that(!run.encoded, "source", "of plain values", "an encoded matrix");
  run.check(check);
  const int64_t K = run.width();
  if (layout.by_group && K % layout.group != 0)
    fail(Code::shape, "quantize: K must be a multiple of ", layout.group, ", got ", K);
  const auto row_values = static_cast<size_t>(K * layout.bits / 8);
  const size_t row_scales =
      layout.by_group ? static_cast<size_t>(layout.groups(K)) * sizeof(f16) : sizeof(float);
  Quantized out;
  out.value_bytes = row_values * static_cast<size_t>(run.count);
  out.scale_bytes = row_scales * static_cast<size_t>(run.count);
  out.values = memory(out.value_bytes);
  out.scales = memory(out.scale_bytes);
  cpu.parallel(run.count, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      quantize_row(layout, run.source_row(i), K,
                   out.values->data() + static_cast<size_t>(i) * row_values,
                   out.scales->data() + static_cast<size_t>(i) * row_scales);
  });
  check_scales(out, layout.by_group, name);
  return out;
}

}  // namespace moe

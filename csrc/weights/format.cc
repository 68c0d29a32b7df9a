#include "weights/format.h"

#include "weights/formats/dense.h"
#include "weights/formats/fp8.h"
#include "weights/formats/integer.h"
#include "weights/formats/mxfp4.h"

namespace moe {
namespace {

constexpr const Format* kFormats[] = {&kF32Format,      &kBf16Format,      &kInt8Format,
                                      &kInt8G128Format, &kInt4G32Format,   &kInt4G128Format,
                                      &kInt4G32ZFormat, &kInt4G128ZFormat, &kMxfp4Format,
                                      &kFp8Format,      &kFp8G128Format};

}  // namespace

const Format& format_of(WeightFormat id) {
  for (const Format* format : kFormats)
    if (format->id == id) return *format;
  fail(Code::unsupported, "weight: format must be in the table of formats, got number ",
       static_cast<int>(id));
}

WeightFormat read_format(const std::string& name) {
  std::string known;
  for (const Format* format : kFormats) {
    if (name == format->name) return format->id;
    known += (known.empty() ? "" : " | ") + std::string(format->name);
  }
  fail(Code::dtype, "weight: format must be ", known, ", got ", name);
}

}  // namespace moe

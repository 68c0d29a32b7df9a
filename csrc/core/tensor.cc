#include "core/tensor.h"

namespace moe {

std::string Shape::text() const {
  std::string out = "[";
  for (int i = 0; i < rank_; ++i) out += (i ? ", " : "") + std::to_string(dims_[i]);
  return out + "]";
}

Tensor make_empty_tensor(const Shape& shape, DType dtype, std::shared_ptr<Device> device) {
  Tensor tensor;
  tensor.slot = std::make_shared<Slot>();
  tensor.dtype = dtype;
  tensor.shape = shape;
  tensor.row_stride = tensor.last();
  tensor.slot->bytes = tensor.bytes();
  tensor.slot->buffer = std::make_shared<Buffer>(0, std::move(device));
  return tensor;
}

Tensor make_tensor(const Shape& shape, DType dtype, std::shared_ptr<Device> device) {
  Tensor tensor = make_empty_tensor(shape, dtype, std::move(device));
  tensor.slot->take_memory();
  return tensor;
}

}  // namespace moe
